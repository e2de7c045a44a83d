package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/cmd/tidemark/internal/broker"
)

// asMain makes the test binary behave as the real one.
const asMain = "TIDEMARK_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// tick is the time between two looks at what a test waits for.
const tick = 20 * time.Millisecond

// child is the binary running as a process of its own.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	// output is everything printed so far.
	mu     sync.Mutex
	output bytes.Buffer
}

// Write implements io.Writer.
func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.Write(p)
}

func (c *child) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.String()
}

// start runs the binary in dir with more variables in its environment.
func start(t *testing.T, dir string, env []string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := &child{t: t, cmd: exec.Command(self, args...)}
	c.cmd.Dir = dir
	c.cmd.Env = append(append(os.Environ(), asMain+"=1"), env...)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
	})
	return c
}

// waitFor waits until the child has printed something, and returns the groups.
func (c *child) waitFor(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	require.Eventually(c.t, func() bool {
		found = re.FindStringSubmatch(c.text())
		return found != nil
	}, patience, tick, "waiting for %q in:\n%s", pattern, lazy(c.text))
	return found
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(s))
}

// code waits until the child has ended and returns its exit code.
func (c *child) code() int {
	c.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(c.t, err)
		}
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		_ = c.cmd.Process.Signal(syscall.SIGQUIT)
		<-ended
		require.FailNow(c.t, "the process does not end", c.text())
		return 0
	}
}

// lazy is formatted when a message is printed, not when it is passed.
type lazy func() string

func (l lazy) String() string { return l() }

// kafka is a broker of a test.
type kafka struct {
	t      *testing.T
	addr   string
	client *kgo.Client
}

func startKafka(t *testing.T) *kafka {
	t.Helper()
	b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Partitions: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return dialKafka(t, b.Addr())
}

func dialKafka(t *testing.T, addr string) *kafka {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation())
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return &kafka{t: t, addr: addr, client: client}
}

func (k *kafka) ctx() context.Context {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	k.t.Cleanup(cancel)
	return ctx
}

func (k *kafka) produce(topic string, values ...string) {
	k.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	require.NoError(k.t, k.client.ProduceSync(k.ctx(), rs...).FirstErr())
}

// count writes the numbers from one up to another, one at a time, and returns the latter.
func (k *kafka) count(topic string, from, to int) int {
	k.t.Helper()
	for n := from; n < to; n++ {
		k.produce(topic, strconv.Itoa(n))
	}
	return to
}

// requireCounted fails unless a topic holds each of the numbers from one up to another
// once, as the first word of a record.
func (k *kafka) requireCounted(topic string, from, to int, why string) {
	k.t.Helper()
	var got, want []int
	for _, r := range k.read(topic, k.end(topic)) {
		v, err := strconv.Atoi(strings.Fields(string(r.Value))[0])
		require.NoError(k.t, err)
		got = append(got, v)
	}
	for n := from; n < to; n++ {
		want = append(want, n)
	}
	require.ElementsMatch(k.t, want, got, why)
}

// end returns the number of records ever written to a topic.
func (k *kafka) end(topic string) (n int64) {
	k.t.Helper()
	ends, err := kadm.NewClient(k.client).ListEndOffsets(k.ctx(), topic)
	require.NoError(k.t, err)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			n += o.Offset
		}
	})
	return n
}

// committed returns the sum of a group's offsets.
func (k *kafka) committed(group, topic string) (n int64) {
	k.t.Helper()
	offsets, err := kadm.NewClient(k.client).FetchOffsets(k.ctx(), group)
	require.NoError(k.t, err)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			n += o.At
		}
	})
	return n
}

// waitEnd waits until a topic holds n records.
func (k *kafka) waitEnd(topic string, n int64) {
	k.t.Helper()
	require.Eventually(k.t, func() bool { return k.end(topic) >= n }, patience, tick,
		"waiting for %d records in %s", n, topic)
	require.Equal(k.t, n, k.end(topic), "records in %s", topic)
}

// read returns the first n records of a topic, in no particular order.
func (k *kafka) read(topic string, n int64) []*kgo.Record {
	k.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(k.t, err)
	defer c.Close()
	var rs []*kgo.Record
	for ctx := k.ctx(); int64(len(rs)) < n; {
		fetched := c.PollFetches(ctx)
		require.NoError(k.t, fetched.Err())
		rs = append(rs, fetched.Records()...)
	}
	return rs
}

// write writes a file into a new folder and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
