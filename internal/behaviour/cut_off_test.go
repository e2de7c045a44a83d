package behaviour

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// stuck lets nothing pass while on, in time of a bubble.
type stuck struct{ on *atomic.Bool }

func (o stuck) ProcessBatch(ctx context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	for o.on.Load() {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return []service.MessageBatch{b}, nil
}

func (stuck) Close(context.Context) error { return nil }

// A stop that does not wait cuts off a record that dedupe has seen and that was not
// delivered. The next run delivers it.
func TestWhatAHardStopCutsOffIsNotTakenForSeen(t *testing.T) {
	for _, patience := range []time.Duration{4 * time.Second, 12 * time.Second, 20 * time.Second} {
		t.Run(patience.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				env := environment(t, e)
				var on atomic.Bool
				require.NoError(t, env.RegisterBatchProcessor("stuck", service.NewConfigSpec(),
					func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) {
						return stuck{&on}, nil
					}))
				yaml := strings.Replace(deduped(t, in, out, "", "{}", ""), "cache_resources:", "    - stuck: {}\ncache_resources:", 1)
				s := startIn(t, env, e, yaml)
				produce(t, e, in, "a")
				awaitValues(t, e, out, "a")
				time.Sleep(3 * time.Second)
				on.Store(true)
				produce(t, e, in, "b")
				time.Sleep(500 * time.Millisecond)
				s.once.Do(func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					s.err = s.s.Stop(ctx)
				})
				time.Sleep(5 * time.Second)
				on.Store(false)
				time.Sleep(5 * time.Second)
				s = startIn(t, env, e, yaml)
				time.Sleep(10 * time.Second)
				require.Contains(t, values(t, e, out)[0], "b")
				require.NoError(t, s.stop())
			})
		})
	}
}

// read_until ends its input without regard to what is under way, also at an orderly stop.
func TestWhatReadUntilCutsOffIsNotTakenForSeen(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		t.Run(fmt.Sprint(wrapped), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				input := fmt.Sprintf("kafka_checkpointed: { seed_brokers: $SEEDS, topics: [ %s ], start_from: earliest, checkpoint: { store: { directory: %q }, job: d } }",
					in, t.TempDir())
				if wrapped {
					input = "read_until: { check: 'content() == \"never\"', input: { " + input + " } }"
				}
				yaml := fmt.Sprintf(`
input: { %s }
pipeline:
  processors:
    - dedupe: { cache: seen, key: '${! content() }' }
    - sleep: { duration: 1s }
cache_resources: [ { label: seen, checkpointed: {} } ]
output: { kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s } }
`, input, out)
				s := start(t, e, yaml)
				produce(t, e, in, "a")
				time.Sleep(3 * time.Second)
				produce(t, e, in, "b")
				time.Sleep(500 * time.Millisecond)
				_ = s.stop()
				require.Equal(t, wrapped, strings.Contains(s.logs.String(), "was closed while the pipeline still had 1 batches of it"))
				s = start(t, e, yaml)
				time.Sleep(10 * time.Second)
				require.NoError(t, s.stop())
				require.Contains(t, values(t, e, out)[0], "b")
			})
		})
	}
}

// Inputs in sequence are builds of their own; windows belong to the first. That ends the
// stream, rather than redeliver for ever.
func TestInputsInSequenceCannotShareWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		a, b := topics(t, e, 1)
		out := kafkatest.Topic(t, e, 1)
		kafkatest.Produce(t, e, stamped(a, 0, `{"t":1000}`, `{"t":2000}`, `{"t":31000}`)...)
		kafkatest.Produce(t, e, stamped(b, 0, `{"t":51000}`, `{"t":52000}`, `{"t":81000}`)...)
		dir := t.TempDir()
		in := func(label, topic string) string {
			return fmt.Sprintf("{ label: %s, kafka_checkpointed: { seed_brokers: $SEEDS, topics: [ %s ], stop_at: latest, start_from: earliest, "+
				"checkpoint: { interval: 1s, store: { directory: %q } , job: w } } }", label, topic, dir)
		}
		s := start(t, e, fmt.Sprintf(`
input:
  sequence:
    inputs: [ %s, %s ]
  processors:
    - watermark_periodic: { timestamp: this.t }
buffer:
  event_time_window: { type: tumbling, size: 10s, aggregate: { n: { count: {} } } }
output:
  kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s }
`, in("first", a), in("second", b), out))
		s.ended()
		require.Contains(t, s.logs.String(), "inputs in sequence cannot share windows")
		require.Equal(t, []string{`{"n":2}`, `{"n":1}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]))
	})
}
