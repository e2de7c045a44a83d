package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dumped is what `checkpoint show -o json` prints, without where that is from.
func dumped(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var d map[string]any
	require.NoError(t, json.Unmarshal([]byte(tidemark(t, append([]string{"checkpoint", "show", "-o", "json"}, args...)...)), &d))
	for _, p := range d["positions"].([]any) {
		for _, of := range []string{"checkpoint", "held_by", "given_up", "keys", "bytes"} {
			delete(p.(map[string]any), of)
		}
	}
	delete(d, "place")
	delete(d, "store")
	return d
}

// visible returns the values of a topic's committed records, in order.
func (k *kafka) visible(topic string) (values []string) {
	k.t.Helper()
	ends, err := kadm.NewClient(k.client).ListCommittedOffsets(k.ctx(), topic)
	require.NoError(k.t, err)
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	require.NoError(k.t, err)
	defer c.Close()
	for ctx := k.ctx(); len(left) > 0; {
		fetched := c.PollFetches(ctx)
		require.NoError(k.t, fetched.Err())
		for _, r := range fetched.Records() {
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	slices.Sort(values)
	return values
}

// waitVisible waits until a topic has n committed records.
func (k *kafka) waitVisible(topic string, n int) {
	k.t.Helper()
	require.Eventually(k.t, func() bool { return len(k.visible(topic)) >= n }, patience, tick, "waiting for %d records in %s", n, topic)
	require.Len(k.t, k.visible(topic), n)
}

// From a topic to a folder to another topic: the job goes on each time, and has forgotten
// nothing.
func TestCheckpointsInATopic(t *testing.T) {
	k := startKafka(t)
	root := t.TempDir()
	exactly := func(yaml string) string { return noHTTP + yaml + "    delivery: exactly_once\n" }
	path := write(t, "dedupe.yaml", exactly(keepingIn(k, "topic: kept, partitions: 4", "")))
	refused(t, `there is no topic "kept"`, "checkpoint", "list", "--config", path)
	k.produce("in", "a", "b", "a")
	c := start(t, "", nil, "run", path)
	defer func() { t.Log(c.text()) }()
	k.waitVisible("out", 2)

	// While it runs it can be read, and not be deleted.
	assert.Regexp(t, `(?m)^orders +topic kept, all partitions$`, tidemark(t, "checkpoint", "list", "--config", path))
	refused(t, `"tidemark-orders-0-of-1": stop the job`, "checkpoint", "delete", "--topic", "kept", "--brokers", k.addr, "--all", "--yes")
	running := filepath.Join(root, "running.savepoint")
	text := tidemark(t, "checkpoint", "export", "--config", path, "--to", running)
	assert.Contains(t, text, `warning: the job was not stopped in good order, "tidemark-orders-0-of-1" may be at work with it`)
	assert.Contains(t, text, "2 partitions, 2 values of state")
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	from := []string{"--topic", "kept", "--brokers", k.addr}
	text = tidemark(t, append([]string{"checkpoint", "show"}, from...)...)
	assert.Regexp(t, `(?m)^input:in/[01] +\d+ +- +\d+ +- +\d+ +0 +0 B +tidemark-orders-0-of-1 \(given up\)$`, text)
	assert.Regexp(t, `(?m)^seen +1 +2 +\d+ B$`, text)
	file, dir := filepath.Join(root, "0.savepoint"), filepath.Join(root, "store")
	text = tidemark(t, append([]string{"checkpoint", "export", "--to", file}, from...)...)
	assert.NotContains(t, text, "warning")
	assert.Equal(t, dumped(t, from...), dumped(t, "--file", file))

	// To a folder, where the job goes on.
	tidemark(t, "checkpoint", "import", "--from", file, "--directory", dir)
	assert.Equal(t, dumped(t, from...), dumped(t, "--directory", dir))
	k.produce("in", "a", "c", "b")
	c = start(t, "", nil, "run", write(t, "folder.yaml", noHTTP+keeping(k, dir, "")))
	k.waitVisible("out", 3)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())

	// And to another topic, which is made for it, by the pipeline that goes on there.
	moved := write(t, "moved.yaml", exactly(keepingIn(k, "topic: moved, partitions: 7", "")))
	next := filepath.Join(root, "1.savepoint")
	tidemark(t, "checkpoint", "export", "--directory", dir, "--to", next)
	text = tidemark(t, "checkpoint", "import", "--from", next, "--config", moved)
	assert.Regexp(t, `^Imported checkpoint \d+ of job orders into topic moved, for all partitions: 2 partitions, 3 values of state`, text)
	assert.Equal(t, dumped(t, "--directory", dir), dumped(t, "--config", moved))
	refused(t, `it has job "orders"`, "checkpoint", "import", "--from", next, "--config", moved)
	k.produce("in", "c", "d", "a")
	c = start(t, "", nil, "run", moved)
	k.waitVisible("out", 4)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	assert.Equal(t, []string{"a", "b", "c", "d"}, k.visible("out"))

	// Several jobs in one topic are told apart.
	tidemark(t, "checkpoint", "import", "--from", next, "--config", moved, "--job", "copy")
	at := []string{"--topic", "moved", "--brokers", k.addr}
	refused(t, `holds the jobs ["copy" "orders"]`, append([]string{"checkpoint", "list"}, at...)...)
	refused(t, "confirm it with --yes", append([]string{"checkpoint", "delete", "--all", "--job", "copy"}, at...)...)
	tidemark(t, append([]string{"checkpoint", "delete", "--all", "--yes", "--job", "copy"}, at...)...)
	assert.Contains(t, tidemark(t, append([]string{"checkpoint", "list"}, at...)...), "orders")
	refused(t, `of job "copy" in topic "moved"`, append([]string{"checkpoint", "list", "--job", "copy"}, at...)...)
}

// Whatever goes wrong, what a pipeline keeps secret stays so.
func TestCheckpointCommandShowsNoSecrets(t *testing.T) {
	k := startKafka(t)
	t.Setenv("KAFKA_PASSWORD", "hunter2")
	conf := strings.Replace(keepingIn(k, "topic: kept", ""), "topics: [ in ]",
		"topics: [ in ]\n    sasl: [ { mechanism: SCRAM-SHA-512, username: u, password: '${KAFKA_PASSWORD}' } ]", 1)
	c := start(t, "", []string{"KAFKA_PASSWORD=hunter2"}, "checkpoint", "list", "--config", write(t, "secret.yaml", conf))
	require.Equal(t, 1, c.code(), c.text())
	assert.Contains(t, c.text(), "sasl", "it was used")
	assert.NotContains(t, c.text(), "hunter2")
	broken := strings.Replace(conf, "mechanism: SCRAM-SHA-512", "mechanism: GSSAPI", 1)
	c = start(t, "", []string{"KAFKA_PASSWORD=hunter2"}, "checkpoint", "list", "--config", write(t, "broken.yaml", broken))
	require.Equal(t, 1, c.code(), c.text())
	assert.NotContains(t, c.text(), "hunter2")
}

// Two processes, each asked in its own way, write a part each; the parts make one job.
func TestSavepointsOfAllProcessesOfAJob(t *testing.T) {
	k := startKafka(t)
	root, port := t.TempDir(), freePort(t)
	yaml := func(index, count int, store, more string) string {
		return noHTTP + fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]s ]
    topics: [ in ]
    start_from: earliest
    shard: { index: %[2]d, count: %[3]d }
    checkpoint: { interval: 100ms, job: parts, store: { topic: %[4]s }%[5]s }
output:
  kafka_checkpointed: { seed_brokers: [ %[1]s ], topic: out, delivery: exactly_once }
`, k.addr, index, count, store, more)
	}
	for i := range 20 {
		k.produce("in", fmt.Sprint(i))
	}
	to := fmt.Sprintf(", savepoint_directory: %q", root)
	first := start(t, "", []string{fmt.Sprintf("TIDEMARK_CONTROL_ADDRESS=127.0.0.1:%d", port)}, "run", write(t, "0.yaml", yaml(0, 2, "kept", to)))
	second := start(t, "", nil, "run", write(t, "1.yaml", yaml(1, 2, "kept", to)))
	k.waitVisible("out", 20)
	// Whose shard has no partition has written nothing of that.
	for _, c := range []*child{first, second} {
		c.waitFor("Input type kafka_checkpointed is now active")
	}
	status, answer := requestSavepoint(t, port)
	require.Equal(t, http.StatusOK, status)
	require.True(t, answer.Savepoints[0].State)
	second.signal(savepointSignal(t))
	other := second.waitFor(`Savepoint of checkpoint \d+ written to (\S+\.savepoint)`)[1]
	for _, c := range []*child{first, second} {
		c.signal(os.Interrupt)
		require.Zero(t, c.code(), c.text())
	}

	moved := write(t, "moved.yaml", yaml(0, 1, "moved", ""))
	refused(t, "is missing: give it too (--from)", "checkpoint", "import", "--config", moved, "--from", other)
	text := tidemark(t, "checkpoint", "import", "--config", moved, "--from", other, "--from", answer.Savepoints[0].File)
	assert.Contains(t, text, "for all partitions: 2 partitions")
	for i := range 5 {
		k.produce("in", fmt.Sprint("after ", i))
	}
	c := start(t, "", nil, "run", moved)
	k.waitVisible("out", 25)
	c.signal(os.Interrupt)
	require.Zero(t, c.code(), c.text())
	assert.Len(t, k.visible("out"), 25, "nothing came twice")
}
