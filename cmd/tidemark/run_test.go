package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// copyOf is a pipeline that copies a topic.
func copyOf(k *kafka, from, to string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topics: [ %[2]s ]
    consumer_group: %[2]s-group
    start_from: earliest
    checkpoint: { interval: 100ms }
output:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topic: %[3]s
`, k.addr, from, to)
}

const noHTTP = "http: { enabled: false }\n"

func TestRunStopsWithAFinalCheckpoint(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		k := startKafka(t)
		k.produce("in", "a", "b", "c")
		path := write(t, "copy.yaml", noHTTP+copyOf(k, "in", "out"))
		c := start(t, "", nil, "run", path)
		k.waitEnd("out", 3)
		c.signal(s)
		require.Zero(t, c.code(), c.text())

		// What was done is not done again.
		k.produce("in", "d")
		c = start(t, "", nil, "run", path)
		k.waitEnd("out", 4)
		c.signal(s)
		require.Zero(t, c.code(), c.text())
		assert.EqualValues(t, 4, k.end("out"))
	}
}

// A fatal error makes the process end with code 1 within ten seconds, whatever
// else keeps the stream alive.
func TestFatalErrorEndsTheRun(t *testing.T) {
	k := startKafka(t)
	k.produce("in", "a")
	// A client that asks for a topic creates it on this broker; the input must not.
	missing := copyOf(k, "missing", "out")
	foreign := strings.Replace(missing, "input:\n  kafka", "input:\n  broker:\n    inputs:\n    - generate: { interval: 50ms, mapping: root = 1 }\n    - kafka", 1)
	foreign = indent(foreign, "    - kafka", "output:")
	for name, conf := range map[string]string{"alone": missing, "beside a foreign input": foreign} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			c := start(t, "", nil, "run", write(t, "copy.yaml", noHTTP+conf))
			assert.Equal(t, 1, c.code(), c.text())
			assert.Less(t, time.Since(begun), 10*time.Second)
			assert.Contains(t, c.text(), "missing")
			assert.NotContains(t, c.text(), "goroutine ", "it must stop in order")
		})
	}
}

// indent moves the lines between two lines four columns to the right.
func indent(text, from, to string) string {
	var out []string
	inside := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, to) {
			inside = false
		}
		if inside {
			line = "    " + line
		}
		if strings.HasPrefix(line, from) {
			inside = true
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestStreamsMode(t *testing.T) {
	k := startKafka(t)
	k.produce("in-a", "1", "2")
	k.produce("in-b", "1", "2", "3")
	port := freePort(t)
	root := write(t, "root.yaml", fmt.Sprintf("http: { address: 127.0.0.1:%d }\n", port))
	dir := t.TempDir()
	for _, s := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, s+".yaml"), []byte(copyOf(k, "in-"+s, "out-"+s)), 0o600))
	}
	c := start(t, "", nil, "streams", "-o", root, dir)
	k.waitEnd("out-a", 2)
	k.waitEnd("out-b", 3)

	// An update goes on where the build before it was, under the same name.
	api := fmt.Sprintf("http://127.0.0.1:%d/streams/", port)
	request(t, http.MethodPut, api+"a", copyOf(k, "in-a", "out-other"))
	k.produce("in-a", "3")
	k.waitEnd("out-other", 1)
	assert.EqualValues(t, 2, k.end("out-a"))

	// A stream that fails leaves the others alone; the exit code tells of it.
	request(t, http.MethodPost, api+"c", copyOf(k, "missing", "out-c"))
	c.waitFor(`missing`)
	request(t, http.MethodDelete, api+"a", "")
	k.produce("in-b", "4")
	k.waitEnd("out-b", 4)
	c.signal(os.Interrupt)
	assert.Equal(t, 1, c.code(), c.text())
}

func TestStreamsModeEndsWithZero(t *testing.T) {
	k := startKafka(t)
	k.produce("in", "1", "2")
	root := write(t, "root.yaml", noHTTP)
	c := start(t, "", nil, "streams", "--no-api", "-o", root, write(t, "a.yaml", copyOf(k, "in", "out")))
	k.waitEnd("out", 2)
	c.signal(os.Interrupt)
	assert.Zero(t, c.code(), c.text())
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func request(t *testing.T, method, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode, "%s %s", method, url)
}

// A changed configuration takes over where the old one stopped.
func TestReload(t *testing.T) {
	k := startKafka(t)
	path := write(t, "copy.yaml", noHTTP+copyOf(k, "in", "out"))
	k.produce("in", "0")
	c := start(t, "", nil, "run", "-w", path)
	k.waitEnd("out", 1)

	// Records keep coming, before, while and after the new one takes over.
	written := int64(1)
	produce := func() {
		k.produce("in", fmt.Sprint(written))
		written++
	}
	for range 50 {
		produce()
	}
	require.NoError(t, os.WriteFile(path, []byte(noHTTP+copyOf(k, "in", "other")), 0o600))
	require.Eventually(t, func() bool {
		produce()
		return k.end("other") > 0
	}, patience, tick)
	for range 50 {
		produce()
	}
	require.Eventually(t, func() bool { return k.end("out")+k.end("other") >= written }, patience, tick)
	seen := map[string]int{}
	for _, topic := range []string{"out", "other"} {
		for _, r := range k.read(topic, k.end(topic)) {
			seen[string(r.Value)]++
		}
	}
	for i := range written {
		assert.Equal(t, 1, seen[fmt.Sprint(i)], "record %d", i)
	}
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
}

// An output among the resources outlives the build that wrote to it: the checkpoints
// of the next one wait for it all the same.
func TestReloadKeepsAnOutputAmongTheResources(t *testing.T) {
	k := startKafka(t)
	through := kafkatest.NewProxy(t, kafkatest.At(k.addr))
	config := func(mark string) []byte {
		return fmt.Appendf(nil, `%s
input:
  kafka_checkpointed:
    seed_brokers: [ %s ]
    topics: [ in ]
    consumer_group: g
    start_from: earliest
    checkpoint: { interval: 100ms }
pipeline: { processors: [ { mapping: 'root = content() + " %s"' } ] }
output: { resource: out }
output_resources:
  - label: out
    kafka_checkpointed: { seed_brokers: [ %s ], topic: out }
`, noHTTP, k.addr, mark, through.Seeds()[0])
	}
	path := write(t, "copy.yaml", string(config("0")))
	n := 0
	produce := func(more int) { n = k.count("in", n, n+more) }
	produce(10)
	c := start(t, "", nil, "run", "-w", path)
	k.waitEnd("out", 10)
	for build := range 3 {
		require.NoError(t, os.WriteFile(path, config(strconv.Itoa(build+1)), 0o600))
		require.Eventually(t, func() bool {
			produce(1)
			end := k.end("out")
			return end > 0 && strings.HasSuffix(string(k.read("out", end)[end-1].Value), strconv.Itoa(build+1))
		}, patience, tick)
		require.Eventually(t, func() bool { return k.committed("g", "in") == int64(n) }, patience, tick)
		hold := through.HoldRequests(kmsg.Produce)
		before := k.committed("g", "in")
		produce(5)
		hold.Await(t, 1, patience)
		require.Never(t, func() bool { return k.committed("g", "in") > before }, 10*tick, tick, "what is not delivered is not committed")
		hold.Release()
		require.Eventually(t, func() bool { return k.committed("g", "in") == int64(n) }, patience, tick)
	}
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	k.requireCounted("out", 0, n, "each once")
	require.NotContains(t, c.text(), "level=error")
}

// The output of the old build is blocked when the new one comes: nothing that it
// still holds is lost, and it commits nothing any more.
func TestReloadWithABlockedOutput(t *testing.T) {
	const settings = "shutdown_timeout: 4s\n"
	for name, play := range map[string]reloading{"file": reloadFile(t, settings), "streams": reloadStream(t, settings)} {
		t.Run(name, func(t *testing.T) {
			k := startKafka(t)
			blocked := kafkatest.NewProxy(t, kafkatest.At(k.addr))
			config := func(k, to, topic string) string {
				return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %s ]
    topics: [ in ]
    consumer_group: g
    start_from: earliest
    checkpoint: { interval: 100ms, shutdown_timeout: 2s }
output:
  kafka_checkpointed:
    seed_brokers: [ %s ]
    topic: %s
`, k, to, topic)
			}
			n := 0
			produce := func(more int) { n = k.count("in", n, n+more) }
			produce(10)
			c := play.start(t, config(k.addr, blocked.Seeds()[0], "out"))
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(c.text())
				}
			})
			k.waitEnd("out", 10)
			require.Eventually(t, func() bool { return k.committed("g", "in") == 10 }, patience, tick)
			hold := blocked.HoldRequests(kmsg.Produce)
			produce(20)
			hold.Await(t, 1, patience)

			play.reload(t, config(k.addr, k.addr, "other"))
			k.waitEnd("other", 20)
			hold.Release()
			produce(5)
			k.waitEnd("other", 25)
			c.signal(os.Interrupt)
			require.Zero(t, c.code(), c.text())
			require.EqualValues(t, 35, k.committed("g", "in"))
			k.requireCounted("other", 10, 35, "the new build goes on at the last checkpoint")
		})
	}
}

// reloading is a way to run a pipeline and to change it.
type reloading struct {
	start  func(t *testing.T, config string) *child
	reload func(t *testing.T, config string)
}

// reloadFile runs one pipeline that follows its file.
func reloadFile(t *testing.T, settings string) reloading {
	path := filepath.Join(t.TempDir(), "copy.yaml")
	save := func(t *testing.T, config string) {
		require.NoError(t, os.WriteFile(path, []byte(noHTTP+settings+config), 0o600))
	}
	return reloading{
		start: func(t *testing.T, config string) *child {
			save(t, config)
			return start(t, "", nil, "run", "-w", path)
		},
		reload: save,
	}
}

// reloadStream runs a stream that the API replaces.
func reloadStream(t *testing.T, settings string) reloading {
	port := freePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/streams/a", port)
	return reloading{
		start: func(t *testing.T, config string) *child {
			root := write(t, "root.yaml", fmt.Sprintf("%shttp: { address: 127.0.0.1:%d }\n", settings, port))
			return start(t, "", nil, "streams", "-o", root, write(t, "a.yaml", config))
		},
		reload: func(t *testing.T, config string) { request(t, http.MethodPut, url, config) },
	}
}

// The endpoint of the binary's own exporter shows the pipeline's metrics.
func TestMetricsEndpoint(t *testing.T) {
	k := startKafka(t)
	k.produce("in", "a", "b", "c")
	port := freePort(t)
	c := start(t, "", nil, "run", write(t, "copy.yaml", fmt.Sprintf("http: { address: 127.0.0.1:%d }\n", port)+copyOf(k, "in", "out")))
	k.waitEnd("out", 3)
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	require.Eventually(t, func() bool {
		res, err := http.Get(url)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return err == nil && sum(string(text), "tidemark_records_out") == 3 && sum(string(text), "tidemark_last_checkpoint_id") > 0
	}, patience, tick)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
}

// sum adds the series of a metric up.
func sum(text, name string) (total float64) {
	for _, line := range strings.Split(text, "\n") {
		if series, value, ok := strings.Cut(line, " "); ok && strings.HasPrefix(series, name+"{") {
			v, _ := strconv.ParseFloat(value, 64)
			total += v
		}
	}
	return total
}

// A broker that is not there yet is waited for.
func TestRunWaitsForTheBroker(t *testing.T) {
	port := freePort(t)
	k := &kafka{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port)}
	c := start(t, "", nil, "run", write(t, "copy.yaml", noHTTP+copyOf(k, "in", "out")))
	c.waitFor(k.addr)
	b := start(t, "", nil, "broker", "--listen", k.addr, "--data", "")
	b.waitFor("listening")
	k = dialKafka(t, k.addr)
	require.NoError(t, k.client.ProduceSync(k.ctx(), &kgo.Record{Topic: "in", Value: []byte("a")}).FirstErr())
	k.waitEnd("out", 1)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	b.signal(os.Interrupt)
	require.Zero(t, b.code(), b.text())
}
