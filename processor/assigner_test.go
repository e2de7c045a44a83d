package processor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// counted is a metrics exporter that keeps the values of counters, as name topic.
type counted struct {
	mu     sync.Mutex
	values map[string]int64
}

type counter struct {
	c   *counted
	key string
}

func (c counter) Incr(n int64) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.c.values[c.key] += n
}
func (counter) Set(int64)    {}
func (counter) Timing(int64) {}

func (c *counted) NewCounterCtor(name string, keys ...string) service.MetricsExporterCounterCtor {
	return func(values ...string) service.MetricsExporterCounter {
		for i, k := range keys {
			if k == "topic" {
				return counter{c, name + " " + values[i]}
			}
		}
		return counter{c, name}
	}
}

func (c *counted) NewTimerCtor(string, ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return counter{c, ""} }
}

func (c *counted) NewGaugeCtor(string, ...string) service.MetricsExporterGaugeCtor {
	return func(...string) service.MetricsExporterGauge { return counter{c, ""} }
}

func (*counted) Close(context.Context) error { return nil }

// ran is what came of messages.
type ran struct {
	// lines are the messages with what was said of them, in order.
	lines  []string
	counts map[string]int64
	logs   string
}

// run passes batches through a processor of a stream with another input than ours.
func run(t *testing.T, processor string, batches ...service.MessageBatch) ran {
	t.Helper()
	env := service.NewEnvironment()
	require.NoError(t, RegisterPeriodic(env))
	require.NoError(t, RegisterPunctuated(env))
	c := &counted{values: map[string]int64{}}
	require.NoError(t, env.RegisterMetricsExporter("counted", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return c, nil }))
	b := env.NewStreamBuilder()
	var logs bytes.Buffer
	b.SetLogger(slog.New(slog.NewTextHandler(&logs, nil)))
	b.SetThreads(1)
	require.NoError(t, b.AddProcessorYAML(processor))
	require.NoError(t, b.SetMetricsYAML("counted: {}"))
	produce, err := b.AddBatchProducerFunc()
	require.NoError(t, err)
	var r ran
	require.NoError(t, b.AddBatchConsumerFunc(func(_ context.Context, batch service.MessageBatch) error {
		for _, m := range batch {
			r.lines = append(r.lines, describe(m))
		}
		return nil
	}))
	s, err := b.Build()
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	for _, batch := range batches {
		require.NoError(t, produce(t.Context(), batch))
	}
	require.NoError(t, s.Stop(t.Context()))
	<-done
	c.mu.Lock()
	defer c.mu.Unlock()
	r.counts, r.logs = c.values, logs.String()
	return r
}

// describe gives the value of a message, its event time, watermark and lateness, and its
// error.
func describe(m *service.Message) string {
	value, _ := m.AsBytes()
	line := string(value)
	for _, name := range []string{"event_time_ms", "watermark_ms", "late"} {
		if v, ok := m.MetaGetMut(name); ok {
			line += fmt.Sprintf(" %v", v)
		} else {
			line += " -"
		}
	}
	if err := m.GetError(); err != nil {
		line += " " + err.Error()
	}
	return line
}

// messages makes messages; their metadata alternates between names and values.
func messages(metadata []any, values ...string) (batch service.MessageBatch) {
	for _, v := range values {
		m := service.NewMessage([]byte(v))
		for i := 0; i < len(metadata); i += 2 {
			m.MetaSetMut(metadata[i].(string), metadata[i+1])
		}
		batch = append(batch, m)
	}
	return batch
}

func in(topic string, partition any) []any {
	return []any{"kafka_topic", topic, "kafka_partition", partition}
}

const byT = "watermark_periodic: { timestamp: this.t }"

// Each partition has a watermark of its own, whatever the type of its number, and what is
// in no partition is in one together.
func TestMessagesOfOtherInputs(t *testing.T) {
	batch := messages(in("a", 0), `{"t":10}`)
	batch = append(batch, messages(in("a", 1), `{"t":5}`)...)
	batch = append(batch, messages(in("b", 0), `{"t":1}`)...)
	batch = append(batch, messages(nil, `{"t":3}`)...)
	r := run(t, byT, batch,
		messages(in("a", "0"), `{"t":9}`),
		messages(in("a", int32(1)), `{"t":6}`),
		messages(in("a", int64(1)), `{"t":5}`),
		messages(in("b", 0), `{"t":2}`),
		messages(nil, `{"t":2}`, `{"t":4}`),
		messages([]any{"kafka_topic", "a"}, `{"t":8}`),
	)
	require.Equal(t, []string{
		`{"t":10} 10 10 false`, `{"t":5} 5 5 false`, `{"t":1} 1 1 false`, `{"t":3} 3 3 false`,
		`{"t":9} 9 10 true`,
		`{"t":6} 6 6 false`,
		`{"t":5} 5 6 true`,
		`{"t":2} 2 2 false`,
		`{"t":2} 2 3 true`, `{"t":4} 4 4 false`,
		`{"t":8} 8 10 true`,
	}, r.lines)
	require.Equal(t, int64(3), r.counts["tidemark_late_records a"])
	require.Equal(t, int64(1), r.counts["tidemark_late_records "])
	require.Zero(t, r.counts["tidemark_late_records b"])
}

func TestTimestampsOfOtherInputs(t *testing.T) {
	batch := messages([]any{"kafka_timestamp_ms", 1234}, "x")
	batch = append(batch, messages([]any{"kafka_timestamp_ms", "1235"}, "y")...)
	batch = append(batch, messages(nil, "z")...)
	r := run(t, "watermark_periodic: {}", batch)
	require.Equal(t, []string{"x 1234 1234 false", "y 1235 1235 false"}, r.lines[:2])
	require.Contains(t, r.lines[2], "z - - - assigning an event time: there is no timestamp")
	require.Contains(t, r.lines[2], "set the field timestamp")
}

func TestFieldOnBadTimestamp(t *testing.T) {
	values := []string{`{"t":10}`, `{"t":"soon"}`, `{"x":1}`, `nonsense`, `{"t":11}`}
	for _, what := range []string{"fail", "skip"} {
		t.Run(what, func(t *testing.T) {
			r := run(t, "watermark_periodic: { timestamp: this.t, on_bad_timestamp: "+what+" }",
				messages(in("a", 0), values...), messages(in("a", 0), "x"), messages(in("a", 0), `{"t":10}`))
			require.Equal(t, int64(4), r.counts["tidemark_bad_records a"])
			require.Equal(t, int64(1), r.counts["tidemark_late_records a"])
			good := []string{`{"t":10} 10 10 false`, `{"t":11} 11 11 false`, `{"t":10} 10 11 true`}
			if what == "skip" {
				require.Equal(t, good, r.lines, "a batch of bad ones alone is acknowledged")
				return
			}
			require.Len(t, r.lines, 7)
			found := []string{r.lines[0], r.lines[4], r.lines[6]}
			require.Equal(t, good, found)
			for i, want := range map[int]string{1: `"soon" is no timestamp`, 2: "there is no timestamp", 3: "nonsense", 5: "x"} {
				require.Contains(t, r.lines[i], " - - - assigning an event time: ")
				require.Contains(t, r.lines[i], want)
			}
		})
	}
}

// The first and the last number that there is stand for none and end.
func TestNumbersThatAreNoEventTimes(t *testing.T) {
	for _, ms := range []string{"-9223372036854775808", "9223372036854775807", "9223372036854775808", "1e400"} {
		for _, processor := range []string{
			byT, `watermark_periodic: { timestamp: "this.t + 0" }`, "watermark_punctuated: { timestamp: this.one, watermark: this.t }",
		} {
			r := run(t, processor, messages(in("a", 0), `{"t":`+ms+`,"one":1}`))
			require.Equal(t, int64(1), r.counts["tidemark_bad_records a"], "%s of %s", processor, ms)
			require.Contains(t, r.lines[0], " - - - assigning an event time: ")
		}
	}
}

// A watermark that cannot be read is as bad as an event time; one that is not there is
// none.
func TestFieldWatermark(t *testing.T) {
	r := run(t, "watermark_punctuated: { timestamp: this.t, watermark: this.w }", messages(in("a", 0),
		`{"t":5,"w":3}`, `{"t":2}`, `{"t":6,"w":null}`, `{"t":7,"w":"soon"}`, `{"t":7,"w":2}`, `{"t":7,"w":7.9}`, `{"t":6}`))
	require.Equal(t, []string{
		`{"t":5,"w":3} 5 3 false`, `{"t":2} 2 3 true`, `{"t":6,"w":null} 6 3 false`, r.lines[3],
		`{"t":7,"w":2} 7 3 false`, `{"t":7,"w":7.9} 7 7 false`, `{"t":6} 6 7 true`,
	}, r.lines)
	require.Contains(t, r.lines[3], `assigning an event time: the watermark that it carries: "soon" is no timestamp`)
	r = run(t, `watermark_punctuated: { timestamp: this.t, watermark: 'root = if this.kind == "beat" { this.t }' }`, messages(nil,
		`{"t":5}`, `{"t":6,"kind":"beat"}`, `{"t":4}`))
	require.Equal(t, []string{`{"t":5} 5 - false`, `{"t":6,"kind":"beat"} 6 6 false`, `{"t":4} 4 6 true`}, r.lines)
}

func TestFieldMaxOutOfOrderness(t *testing.T) {
	r := run(t, "watermark_periodic: { timestamp: this.t, max_out_of_orderness: 3ms }",
		messages(nil, `{"t":10}`, `{"t":7}`, `{"t":6}`, `{"t":12}`, `{"t":8}`))
	require.Equal(t, []string{`{"t":10} 10 7 false`, `{"t":7} 7 7 false`, `{"t":6} 6 7 true`, `{"t":12} 12 9 false`, `{"t":8} 8 9 true`}, r.lines)
}

func TestTheDoubtAboutUnitsIsSaidOnce(t *testing.T) {
	seconds := []string{`{"t":1782900000}`, `{"t":1782900001}`}
	r := run(t, byT, messages(in("a", 0), seconds...), messages(in("b", 1), seconds...))
	require.Equal(t, 1, strings.Count(r.logs, "Is it in another unit?"), r.logs)
	require.Contains(t, r.logs, "1782900000")
	require.Contains(t, r.logs, "1970-01-21T15:15:00Z")
	require.Len(t, r.lines, 4, "and they pass")
	r = run(t, byT, messages(nil, `{"t":1782900000123}`, `{"t":5}`))
	require.NotContains(t, r.logs, "unit")
}

// The assigner gets the timestamp of the record; what it cannot tell is a bad timestamp.
func TestFieldTimestampAssigner(t *testing.T) {
	name := "test." + strings.ToLower(rand.Text())
	require.NoError(t, RegisterTimestampAssigner(name, func(p checkpoint.Partition) TimestampAssigner {
		return timestamps(func(m *service.Message, kafka watermark.Time) (watermark.Time, error) {
			switch value, _ := m.AsBytes(); string(value) {
			case "none":
				return watermark.None, nil
			case "end":
				return watermark.End, nil
			case "bad":
				return 5, errors.New("it is torn")
			}
			if kafka == watermark.None {
				return 1, nil
			}
			return kafka + watermark.Time(p.ID), nil
		})
	}))
	at := append(in("a", 100), "kafka_timestamp_ms", 10)
	r := run(t, "watermark_periodic: { timestamp_assigner: "+name+" }",
		append(messages(at, "x"), messages(nil, "y", "none", "end", "bad")...))
	require.Equal(t, []string{
		"x 110 110 false", "y 1 1 false",
		"none - - - assigning an event time: there is no timestamp", "end - - - assigning an event time: there is no timestamp",
		"bad - - - assigning an event time: it is torn",
	}, r.lines)
}

// stamper takes each event time for a watermark.
type stamper struct{}

func (stamper) Observe(_ *service.Message, t watermark.Time) watermark.Time { return t }
func (stamper) Resume(watermark.Time)                                       {}

func TestFieldGenerator(t *testing.T) {
	name := "test." + strings.ToLower(rand.Text())
	require.NoError(t, RegisterGenerator(name, func(checkpoint.Partition) watermark.Generator {
		return watermark.BoundedOutOfOrderness(2 * time.Millisecond)
	}))
	require.NoError(t, RegisterPunctuatedGenerator(name, func(checkpoint.Partition) PunctuatedGenerator { return stamper{} }))
	r := run(t, "watermark_periodic: { timestamp: this.t, generator: "+name+" }", messages(nil, `{"t":10}`, `{"t":7}`))
	require.Equal(t, []string{`{"t":10} 10 8 false`, `{"t":7} 7 8 true`}, r.lines)
	r = run(t, "watermark_punctuated: { timestamp: this.t, generator: "+name+" }", messages(nil, `{"t":10}`, `{"t":7}`))
	require.Equal(t, []string{`{"t":10} 10 10 false`, `{"t":7} 7 10 true`}, r.lines)
}

// forgetful says of each message what it has, whatever came before.
type forgetful struct{ at watermark.Time }

func (f *forgetful) Observe(t watermark.Time)  { f.at = t }
func (f *forgetful) Watermark() watermark.Time { return f.at }
func (f *forgetful) Resume(watermark.Time)     {}

// What a generator says below what it has said counts for nothing.
func TestWatermarksNeverFall(t *testing.T) {
	name := "test." + strings.ToLower(rand.Text())
	require.NoError(t, RegisterGenerator(name, func(checkpoint.Partition) watermark.Generator { return &forgetful{watermark.None} }))
	r := run(t, "watermark_periodic: { timestamp: this.t, generator: "+name+" }", messages(nil, `{"t":10}`, `{"t":7}`, `{"t":8}`))
	require.Equal(t, []string{`{"t":10} 10 10 false`, `{"t":7} 7 10 true`, `{"t":8} 8 10 true`}, r.lines)
	c, err := read(t, NamePeriodic, "generator: "+name)
	require.NoError(t, err)
	g := c.generator(checkpoint.Partition{})
	g.Resume(20)
	require.Equal(t, watermark.Time(20), g.Watermark(), "also of one that cannot resume")
}
