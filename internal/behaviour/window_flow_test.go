package behaviour

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// dawdler is a processor that takes its time, by the clock of the bubble.
type dawdler struct{}

func (dawdler) Close(context.Context) error { return nil }

// ProcessBatch lets the bubble's time pass.
func (d dawdler) ProcessBatch(_ context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	time.Sleep(d.pause(b)) // virtual
	return []service.MessageBatch{b}, nil
}

// pause is long for every third window, by its time: then the ones behind it would pass.
func (d dawdler) pause(b service.MessageBatch) time.Duration {
	start, _ := b[0].MetaGetMut("window_start_ms")
	ms, _ := start.(int64)
	return time.Duration(ms/1000%3) * 40 * time.Millisecond
}

// dawdling is an environment with the processor.
func dawdling(t testing.TB, e kafkatest.Endpoint) *service.Environment {
	t.Helper()
	env := environment(t, e)
	require.NoError(t, env.RegisterBatchProcessor("dawdle", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) { return dawdler{}, nil }))
	return env
}

// Results of one key leave in the order of their windows, whatever the threads do.
func TestWindowsKeepTheirOrderWithSeveralThreads(t *testing.T) {
	for name, tc := range map[string]struct{ window, processors string }{
		"messages":   {"type: tumbling, size: 1s, key: this.u", "{ archive: { format: json_array } }, "},
		"aggregates": {"type: tumbling, size: 1s, key: this.u, aggregate: { n: { count: {} } }", ""},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				s := startIn(t, dawdling(t, e), e, windowing{
					topics: in, directory: directory, window: "{ " + tc.window + " }", output: to(out),
					pipeline: "{ threads: 4, processors: [ " + tc.processors + "{ dawdle: {} }, { mapping: 'root = " + whose + "' } ] }",
				}.yaml())
				const windows = 60
				for i := range windows {
					at := i * 1000
					kafkatest.Produce(t, e, stamped(in, 0, fmt.Sprintf(`{"t":%d,"u":"a"}`, at), fmt.Sprintf(`{"t":%d,"u":"b"}`, at+1))...)
					time.Sleep(10 * time.Millisecond) // virtual: several windows are under way
				}
				kafkatest.Produce(t, e, stamped(in, 0, fmt.Sprintf(`{"t":%d,"u":"c"}`, windows*1000))...)
				kafkatest.Eventually(t, time.Minute, "all are there", func() bool { return kafkatest.Ends(t, e, out)[0] >= 2*windows })
				require.NoError(t, s.stop())
				next := map[string]int{}
				for _, line := range lines(kafkatest.ReadCommitted(t, e, out)[0]) {
					var u string
					var start, end int
					_, err := fmt.Sscan(line, &u, &start, &end)
					require.NoError(t, err)
					require.Equal(t, next[u], start, "key %s", u)
					next[u] = start + 1000
				}
				require.Equal(t, map[string]int{"a": windows * 1000, "b": windows * 1000}, next)
			})
		})
	}
}

// A result that can never be delivered and that nothing in the pipeline routes stops the
// stream; otherwise it would come again for ever. Where something routes it, all goes on.
func TestAResultThatCanNeverBeDelivered(t *testing.T) {
	const window = `{ type: tumbling, size: 10s, aggregate: { all: { fold: { init: 'root = ""', add: 'root = this.state + this.message.v' } } } }`
	large := func(at int) string { return fmt.Sprintf(`{"t":%d,"v":%q}`, at, strings.Repeat("x", 3000)) }
	for name, routed := range map[string]bool{"stops": false, "fallback": true} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				dead := kafkatest.Topic(t, e, 1)
				narrow := to(out, "max_message_bytes: 2KiB")
				w := windowing{topics: in, directory: directory, window: window, output: narrow}
				if routed {
					w.output = "  fallback:\n    -\n    " + strings.ReplaceAll(narrow, "\n", "\n    ") +
						"\n    - { kafka_checkpointed: { seed_brokers: $SEEDS, topic: " + dead + " } }\n"
				}
				kafkatest.Produce(t, e, stamped(in, 0, large(1000), `{"t":11000,"v":"small"}`, `{"t":21000,"v":""}`)...)
				s := start(t, e, w.yaml())
				if !routed {
					began := time.Now()
					select {
					case <-s.done:
						s.once.Do(func() {})
					case <-time.After(time.Hour): // virtual
						t.Fatal("the stream does not end by itself")
					}
					require.Less(t, time.Since(began), time.Minute)
					require.Contains(t, s.logs.String(), "Stream stopped for good")
					require.Contains(t, s.logs.String(), "cannot be delivered: 1 of 2 messages were not written")
					require.Contains(t, s.logs.String(), "max_message_bytes allows 2048")
					require.Len(t, s.said("Going back to checkpoint"), 1, "it comes once more: something may have been in the way")
					return
				}
				kafkatest.Eventually(t, time.Minute, "both are there", func() bool {
					return kafkatest.Ends(t, e, out)[0] == 1 && kafkatest.Ends(t, e, dead)[0] == 1
				})
				require.NoError(t, s.stop())
				require.Equal(t, []string{`{"all":"small"}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]))
				require.Empty(t, s.said("Going back"))
			})
		})
	}
}

// A message that has failed goes where reject_errored is told to send it.
func TestFailedResultsAreRouted(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		dead := kafkatest.Topic(t, e, 1)
		flow := func(topic string) string { return "kafka_checkpointed: { seed_brokers: $SEEDS, topic: " + topic + " }" }
		w := windowing{
			topics: in, directory: directory,
			window: `{ type: tumbling, size: 10s, aggregate: { s: { sum: this.v.number() }, n: { count: {} } } }`,
			output: "  fallback: [ { reject_errored: { " + flow(out) + " } }, { " + flow(dead) + " } ]\n",
		}
		s := start(t, e, w.yaml())
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":1000,"v":"NaN"}`, `{"t":2000,"v":1}`, `{"t":11000,"v":2}`, `{"t":21000,"v":2}`)...)
		kafkatest.Eventually(t, time.Minute, "both are there", func() bool {
			return kafkatest.Ends(t, e, out)[0] == 1 && kafkatest.Ends(t, e, dead)[0] == 1
		})
		require.NoError(t, s.stop())
		require.Equal(t, []string{`{"n":1,"s":2}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]))
		require.Equal(t, []string{`{"n":2,"s":null}`}, lines(kafkatest.ReadCommitted(t, e, dead)[0]), "a sum may be none, and the count is right")
	})
}

// Windows survive any number of stops, in memory and in the store.
func TestWindowsSurviveRestarts(t *testing.T) {
	for name, kind := range kindsOfWindows {
		for _, keys := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s, %d keys in memory", name, keys), func(t *testing.T) {
				r := kafkatest.Random(t)
				all := clicks(r, 2, 200, true)
				want := offline(all, kind.spans)
				directory := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := kafkatest.Topic(t, e, 2), kafkatest.Topic(t, e, 1)
					w := windowing{
						topics: in, directory: directory, assigner: "{ timestamp: this.t, max_out_of_orderness: 1200ms, idle_timeout: 10m }", output: to(out),
						window:   fmt.Sprintf("{ %s, key: this.u, max_keys_in_memory: %d, %s }", kind.conf, keys, everything),
						pipeline: `{ processors: [ { mapping: 'root = {"w": ` + whose + `, "r": this}' } ] }`,
					}
					for from := 0; from < 200; from += 50 {
						s := start(t, e, w.yaml())
						kafkatest.Produce(t, e, written(in, [][]click{all[0][from : from+50], all[1][from : from+50]})...)
						time.Sleep(time.Duration(r.IntN(2500)) * time.Millisecond) // virtual: some are read, some not
						require.NoError(t, s.stop())
					}
					w.input = "stop_at: latest"
					s := start(t, e, w.yaml())
					s.ended()
					got := named(t, kafkatest.ReadCommitted(t, e, out)[0])
					for name, cs := range want {
						require.JSONEq(t, computed(cs), string(got[name]), name)
					}
					require.Len(t, got, len(want))
				})
			})
		}
	}
}
