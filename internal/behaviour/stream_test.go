package behaviour

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/buffer"
	"github.com/tidemarkhq/tidemark/cache"
	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/output"
	"github.com/tidemarkhq/tidemark/processor"
)

// patience bounds every wait; in virtual time it costs nothing.
const patience = 30 * time.Second

// dialer is what a cluster in virtual time needs.
type dialer interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// stream is a running Benthos stream.
type stream struct {
	t    testing.TB
	s    *service.Stream
	done chan error
	logs *logs
	once sync.Once
	err  error
}

// logs collects what a stream logs.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environment has our components, dialling the cluster.
func environment(t testing.TB, e kafkatest.Endpoint) *service.Environment {
	t.Helper()
	var dial func(ctx context.Context, network, host string) (net.Conn, error)
	if d, ok := e.(dialer); ok {
		dial = d.Dial
	}
	env := service.NewEnvironment()
	require.NoError(t, input.Register(env, dial))
	require.NoError(t, output.Register(env, dial))
	require.NoError(t, processor.RegisterPeriodic(env))
	require.NoError(t, processor.RegisterPunctuated(env))
	require.NoError(t, buffer.Register(env))
	require.NoError(t, cache.Register(env))
	return env
}

// build builds a stream from YAML in which $SEEDS stands for the brokers.
func build(t testing.TB, e kafkatest.Endpoint, yaml string, logw io.Writer) (*service.Stream, error) {
	t.Helper()
	return buildIn(t, environment(t, e), e, yaml, logw)
}

func buildIn(
	t testing.TB, env *service.Environment, e kafkatest.Endpoint, yaml string, logw io.Writer,
) (*service.Stream, error) {
	t.Helper()
	yaml = strings.ReplaceAll(yaml, "$SEEDS", fmt.Sprintf("[%q]", strings.Join(e.Seeds(), ",")))
	b := env.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(logw, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err := b.SetYAML(yaml + "\nhttp: { enabled: false }\n"); err != nil {
		return nil, err
	}
	return b.Build()
}

// start builds and runs a stream; it is stopped at the end of the test.
func start(t testing.TB, e kafkatest.Endpoint, yaml string) *stream {
	t.Helper()
	return startIn(t, environment(t, e), e, yaml)
}

// startMeasured is start with the stream's metrics at hand.
func startMeasured(t testing.TB, e kafkatest.Endpoint, yaml string) (*stream, *gathered) {
	t.Helper()
	env, g := measured(t, e)
	return startIn(t, env, e, yaml+"\nmetrics: { gathered: {} }\n"), g
}

// measured is environment with a metrics exporter called gathered.
func measured(t testing.TB, e kafkatest.Endpoint) (*service.Environment, *gathered) {
	t.Helper()
	g := &gathered{values: map[string]int64{}}
	env := environment(t, e)
	require.NoError(t, env.RegisterMetricsExporter("gathered", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return g, nil }))
	return env, g
}

func startIn(t testing.TB, env *service.Environment, e kafkatest.Endpoint, yaml string) *stream {
	t.Helper()
	s := &stream{t: t, done: make(chan error, 1), logs: &logs{}}
	var err error
	s.s, err = buildIn(t, env, e, yaml, s.logs)
	require.NoError(t, err)
	go func() { s.done <- s.s.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = s.stop()
		if t.Failed() {
			t.Logf("logs of the stream:\n%s", tail(s.logs.String(), 60))
		}
	})
	return s
}

// stop stops the stream in order and returns how that ended.
func (s *stream) stop() error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.err = s.s.Stop(ctx)
		<-s.done
	})
	return s.err
}

// ended waits until the stream ends by itself.
func (s *stream) ended() {
	s.t.Helper()
	select {
	case err := <-s.done:
		s.once.Do(func() {})
		require.NoError(s.t, err)
	case <-time.After(patience):
		s.t.Fatalf("the stream did not end by itself")
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// values returns the values of a topic, by partition.
func values(t testing.TB, e kafkatest.Endpoint, topic string) [][]string {
	t.Helper()
	var all [][]string
	for _, rs := range kafkatest.ReadCommitted(t, e, topic) {
		vs := []string{}
		for _, r := range rs {
			vs = append(vs, string(r.Value))
		}
		all = append(all, vs)
	}
	return all
}

// numbers returns, by source partition, the numbers of Fill's values that a topic
// holds, in the order of the topic's partitions.
func numbers(t testing.TB, e kafkatest.Endpoint, topic string) map[int32][]int64 {
	t.Helper()
	got := map[int32][]int64{}
	for _, rs := range kafkatest.ReadCommitted(t, e, topic) {
		for _, r := range rs {
			p, n := kafkatest.Number(t, r)
			got[p] = append(got[p], n)
		}
	}
	return got
}

// span returns from, from+1, …, to-1.
func span(from, to int64) []int64 {
	ns := make([]int64, 0, to-from)
	for n := from; n < to; n++ {
		ns = append(ns, n)
	}
	return ns
}

// awaitNumbers waits until a topic holds exactly these numbers, by partition.
func awaitNumbers(t testing.TB, e kafkatest.Endpoint, topic string, want map[int32][]int64) {
	t.Helper()
	kafkatest.Until(t, patience, func() error {
		got := numbers(t, e, topic)
		for p, ns := range want {
			if len(got[p]) < len(ns) {
				return fmt.Errorf("partition %d: %d of %d records in the output", p, len(got[p]), len(ns))
			}
		}
		return nil
	})
	require.Equal(t, want, numbers(t, e, topic))
}

// samePartition keeps records in the partition they came from.
const samePartition = "partitioner: manual\n    partition: ${! meta(\"kafka_partition\") }"

// produce writes one value per call to partition 0.
func produce(t testing.TB, e kafkatest.Endpoint, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		kafkatest.Produce(t, e, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
}
