package output

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// gauges is a metrics exporter that remembers.
type gauges struct {
	mu     sync.Mutex
	values map[string]float64
}

func newGauges() *gauges { return &gauges{values: map[string]float64{}} }

// series is one of them, with a fixed set of labels.
type series struct {
	g    *gauges
	name string
}

func (g *gauges) series(name string, keys []string) func(...string) *series {
	return func(values ...string) *series {
		full := name
		for i := range keys {
			full += fmt.Sprintf(" %s=%s", keys[i], values[i])
		}
		return &series{g, full}
	}
}

func (s *series) change(fn func(float64) float64) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	s.g.values[s.name] = fn(s.g.values[s.name])
}

func (s *series) Incr(n int64)         { s.change(func(v float64) float64 { return v + float64(n) }) }
func (s *series) Timing(n int64)       { s.Incr(n) }
func (s *series) Set(n int64)          { s.SetFloat64(float64(n)) }
func (s *series) SetFloat64(n float64) { s.change(func(float64) float64 { return n }) }

func (g *gauges) NewCounterCtor(name string, keys ...string) service.MetricsExporterCounterCtor {
	with := g.series(name, keys)
	return func(values ...string) service.MetricsExporterCounter { return with(values...) }
}

func (g *gauges) NewTimerCtor(name string, keys ...string) service.MetricsExporterTimerCtor {
	with := g.series(name, keys)
	return func(values ...string) service.MetricsExporterTimer { return with(values...) }
}

func (g *gauges) NewGaugeCtor(name string, keys ...string) service.MetricsExporterGaugeCtor {
	with := g.series(name, keys)
	return func(values ...string) service.MetricsExporterGauge { return with(values...) }
}

func (g *gauges) Close(context.Context) error { return nil }

// run runs a stream of Benthos's own input and ours as the output, to its end.
func run(t *testing.T, c *kafkatest.Cluster, g *gauges, yaml string) {
	t.Helper()
	require.NoError(t, build(t, c, g, yaml).Run(within(t, time.Minute)))
}

func build(t *testing.T, c *kafkatest.Cluster, g *gauges, yaml string) *service.Stream {
	t.Helper()
	env := service.GlobalEnvironment().Clone()
	require.NoError(t, Register(env, c.Dial))
	require.NoError(t, env.RegisterMetricsExporter("remembered", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return g, nil }))
	b := env.NewStreamBuilder()
	yaml = strings.ReplaceAll(yaml, "$SEED", c.Seeds()[0])
	require.NoError(t, b.SetYAML(yaml+"\nmetrics:\n  remembered: {}\nlogger:\n  level: ERROR\n"))
	stream, err := b.Build()
	require.NoError(t, err)
	return stream
}

func TestStreamOfAForeignInput(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	g := newGauges()
	run(t, c, g, `
input:
  generate: { count: 25, interval: "", batch_size: 5, mapping: 'root = "v%d".format(count("a"))' }
output:
  kafka_checkpointed:
    seed_brokers: [ $SEED ]
    topic: `+topic)
	got := topicValues(t, c, topic)
	require.Len(t, got, 25)
}

// labelled sums the series of a name, or those of them with a label; Benthos adds
// labels of its own.
func (g *gauges) labelled(name, label string) (sum float64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for full, v := range g.values {
		if strings.HasPrefix(full+" ", name+" ") && (label == "" || strings.Contains(full+" ", " "+label+" ")) {
			sum, ok = sum+v, true
		}
	}
	return sum, ok
}

func TestMT04_RecordsOutIsExact(t *testing.T) {
	c := kafkatest.Fake(t)
	kafkatest.CreateTopic(t, c, "even", 1)
	kafkatest.CreateTopic(t, c, "odd", 2)
	g := newGauges()
	run(t, c, g, `
input:
  generate: { count: 100, interval: "", batch_size: 10, mapping: 'root = counter()' }
output:
  drop_on:
    error: true
    output:
      kafka_checkpointed:
        seed_brokers: [ $SEED ]
        topic: '${! if content().string() == "7" || content().string() == "50" { "missing" } else if content().number() % 2 == 0 { "even" } else { "odd" } }'
`)
	even, odd := kafkatest.Ends(t, c, "even"), kafkatest.Ends(t, c, "odd")
	require.EqualValues(t, 98, even[0]+odd[0]+odd[1])
	for _, tc := range []struct {
		name, label string
		want        float64
	}{
		{"tidemark_records_out", "topic=even", 49}, {"tidemark_records_out", "topic=odd", 49},
		{"tidemark_bytes_out", "topic=even", 95}, {"tidemark_bytes_out", "topic=odd", 94},
		{"tidemark_producer_errors", "topic=missing", 2},
	} {
		v, ok := g.labelled(tc.name, tc.label)
		require.True(t, ok, "%s %s is not there: %v", tc.name, tc.label, g.values)
		require.InDelta(t, tc.want, v, 0, "%s %s", tc.name, tc.label)
	}
	_, ok := g.labelled("tidemark_records_out", "topic=missing")
	require.False(t, ok, "what was not written counts nowhere")
}

func TestMT05_SendTime(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	hold := c.Hold(t, kmsg.Produce)
	g := newGauges()
	stream := build(t, c, g, `
input:
  generate: { count: 1, interval: "", mapping: 'root = "x"' }
output:
  kafka_checkpointed:
    seed_brokers: [ $SEED ]
    topic: `+topic)
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(t.Context()) }()
	hold.Await(t, 1, time.Minute)
	v, ok := g.labelled("tidemark_send_time_ms", "")
	require.True(t, ok && v == 0, "before the first record: %v %v", v, ok)
	hold.Release()
	require.NoError(t, <-ended)
	v, _ = g.labelled("tidemark_send_time_ms", "")
	require.Positive(t, v)
}

func TestMT06_ClientMetricsCanBeSwitchedOff(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	for _, on := range []bool{true, false} {
		g := newGauges()
		run(t, c, g, fmt.Sprintf(`
input:
  generate: { count: 1, interval: "", mapping: 'root = "x"' }
output:
  kafka_checkpointed:
    seed_brokers: [ $SEED ]
    topic: %s
    client_metrics: %v`, topic, on))
		_, own := g.labelled("tidemark_records_out", "topic="+topic)
		require.True(t, own)
		_, clients := g.labelled("tidemark_client_clients", "")
		require.Equal(t, on, clients)
	}
}
