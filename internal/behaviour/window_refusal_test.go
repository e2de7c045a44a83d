package behaviour

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

const countAll = "aggregate: { n: { count: {} } }"

// Windows that would be of keys of which others have records too are refused with the
// field and the remedy, before a broker is contacted. It is no bubble: where a buffer is
// refused, Benthos leaves the input that it has made already to itself.
func TestScopesOfWindowsRefused(t *testing.T) {
	const process = "{ type: tumbling, size: 10s, scope: process }"
	for name, tc := range map[string]struct {
		w      windowing
		change [2]string
		words  []string
	}{
		"process with a shard": {
			windowing{topics: "in", input: "shard: { index: 0, count: 2 }", window: process}, [2]string{},
			[]string{"keeps state of the whole process", "reads shard 0 of 2", "set scope to partition"},
		},
		"process with named partitions": {
			windowing{topics: "'in:0'", window: process}, [2]string{},
			[]string{"keeps state of the whole process", "reads named partitions", "set scope to partition"},
		},
		"process with shares of a group": {
			windowing{topics: "in", window: process}, [2]string{"checkpoint:", "consumer_group: g # "},
			[]string{"keeps state of the whole process", "shares partitions out by a consumer group", "set scope to partition"},
		},
		"another input": {
			windowing{inputs: "input: { generate: { mapping: 'root = {}', count: 1 } }\n", window: "{ type: tumbling, size: 10s }"}, [2]string{},
			[]string{"event_time_window: the stream has no input kafka_checkpointed", "system_window"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.w.directory, tc.w.output = t.TempDir(), "  drop: {}\n"
			s, err := build(t, kafkatest.At("127.0.0.1:1"), strings.Replace(tc.w.yaml(), tc.change[0], tc.change[1], 1), &logs{})
			require.NoError(t, err)
			err = s.Run(t.Context())
			for _, words := range tc.words {
				require.ErrorContains(t, err, words)
			}
		})
	}
}

// Windows that no checkpoint would keep are refused.
func TestWindowsWithoutCheckpointsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ was, is, words string }{
		"no store":          {"checkpoint: { store", "consumer_group: g\n    checkpoint: { interval: 1s } # ", "there is no store for it: set checkpoint.store.directory"},
		"nothing":           {"checkpoint: { store", "# ", "checkpoints are off: set checkpoint.interval"},
		"no checkpoints":    {"checkpoint: { store", "consumer_group: g\n    checkpoint: { interval: 0s } # ", "checkpoints are off: set checkpoint.interval"},
		"shares of a group": {"checkpoint: { store", "consumer_group: g\n    assignment: group # ", "there is no store for it: set checkpoint.store.directory"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				kafkatest.Produce(t, e, stamped(in, 0, `{"t":1000}`, `{"t":50000}`)...)
				yaml := windowing{topics: in, directory: "unused", window: "{ type: tumbling, size: 10s }", output: to(out)}.yaml()
				require.Contains(t, yaml, tc.was)
				s := start(t, e, strings.Replace(yaml, tc.was, tc.is, 1))
				s.ended()
				require.Contains(t, s.logs.String(), "Stream stopped for good")
				require.Contains(t, s.logs.String(), tc.words)
				require.Equal(t, []int64{0, 0}, kafkatest.Ends(t, e, out), "nothing is emitted")
			})
		})
	}
}

// Without the field scope, a process that reads all partitions has windows across them,
// and one that does not has those of each.
func TestDefaultScope(t *testing.T) {
	for input, want := range map[string][]string{
		"":                                 {`{"n":4}`},
		"shard: { index: 0, count: 1 }":    {`{"n":4}`},
		"# $IN:0 $IN:1":                    {`{"n":2}`, `{"n":2}`},
		"shard: { index: $ALL, count: 2 }": {`{"n":2}`},
	} {
		t.Run(input, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := kafkatest.Topic(t, e, 2), kafkatest.Topic(t, e, 1)
				for p := range int32(2) {
					kafkatest.Produce(t, e, stamped(in, p, `{"t":1000}`, `{"t":2000}`)...)
				}
				w := windowing{topics: in, input: "stop_at: latest\n  " + input, directory: directory, window: "{ type: tumbling, size: 10s, " + countAll + " }", output: to(out)}
				if strings.HasPrefix(input, "#") {
					w.topics = "'" + in + ":0', '" + in + ":1'"
				}
				shards := []string{"0"}
				if strings.Contains(input, "$ALL") {
					shards = []string{"0", "1"} // Which of them has which partitions is decided by the topic's name.
				}
				var got []string
				for _, shard := range shards {
					w.directory = directory + "/" + shard
					s := start(t, e, strings.ReplaceAll(w.yaml(), "$ALL", shard))
					s.ended()
				}
				for _, r := range kafkatest.ReadCommitted(t, e, out)[0] {
					got = append(got, string(r.Value))
				}
				if len(shards) == 2 {
					want = []string{`{"n":2}`, `{"n":2}`}
				}
				require.Equal(t, want, got)
			})
		})
	}
}

// The windows of a checkpoint can be read only with what they were kept with.
func TestChangedWindowsRefused(t *testing.T) {
	const sums = "aggregate: { n: { count: {} }, s: { sum: this.v } }"
	for name, tc := range map[string]struct {
		was, is string
		words   []string
	}{
		"scope":            {"scope: process, " + sums, "scope: partition, " + sums, []string{"have the scope process, and the configuration asks for partition: set scope to process"}},
		"scope, back":      {"scope: partition, " + sums, sums, []string{"have the scope partition, and the configuration asks for process: set scope to partition"}},
		"aggregate more":   {sums, "aggregate: { n: { count: {} }, s: { sum: this.v }, m: { max: this.v } }", []string{"aggregates (n count, s sum)", "aggregates (m max, n count, s sum)", "restore the configuration"}},
		"aggregate fewer":  {sums, "aggregate: { n: { count: {} } }", []string{"aggregates (n count, s sum)", "of aggregates (n count)"}},
		"aggregate other":  {sums, "aggregate: { n: { count: {} }, s: { avg: this.v } }", []string{"s sum", "s avg"}},
		"aggregate named":  {sums, "aggregate: { n: { count: {} }, t: { sum: this.v } }", []string{"s sum", "t sum"}},
		"aggregates gone":  {sums, "", []string{"aggregates (n count, s sum)", "offset 0s, of messages:"}},
		"size":             {sums, "type: tumbling, size: 20s, " + sums, []string{"has tumbling windows of 10s", "asks for tumbling windows of 20s"}},
		"type":             {sums, "type: session, gap: 20s, " + sums, []string{"asks for sessions with a gap of 20s"}},
		"aggregates begun": {"", sums, []string{"offset 0s, of messages, and the configuration asks for tumbling windows of 10s, offset 0s, of aggregates"}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				w := windowing{topics: in, directory: directory, output: to(out)}
				w.window = "{ type: tumbling, size: 10s, " + tc.was + " }"
				was := w.yaml()
				s := start(t, e, was)
				require.Empty(t, feed(t, e, in, out, `{"t":1000,"v":5}`))
				require.NoError(t, s.stop())

				if w.window = "{ type: tumbling, size: 10s, " + tc.is + " }"; strings.HasPrefix(tc.is, "type") {
					w.window = "{ " + tc.is + " }"
				}
				s = start(t, e, w.yaml())
				select {
				case <-s.done:
					s.once.Do(func() {})
				case <-time.After(5 * time.Minute): // virtual
					t.Error("the stream does not end by itself")
				}
				for _, words := range tc.words {
					require.Contains(t, s.logs.String(), words)
				}
				require.Empty(t, lines(kafkatest.ReadCommitted(t, e, out)[0]))
				_ = s.stop()

				s = start(t, e, was)
				require.Len(t, feed(t, e, in, out, `{"t":20000,"v":5}`), 1, "with the configuration restored nothing is lost")
				require.NoError(t, s.stop())
			})
		})
	}
}
