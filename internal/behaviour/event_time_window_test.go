package behaviour

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// windowing is a stream with windows; what is not set has the value of fill.
type windowing struct {
	// topics as a list in YAML has them; input has more fields of the input.
	topics, input string
	directory     string
	assigner      string
	window        string
	pipeline      string
	output        string
	// inputs replaces the input altogether.
	inputs string
}

// source is one input with its assigner.
func (w windowing) source(indent string) string {
	text := fmt.Sprintf(`kafka_checkpointed:
  seed_brokers: $SEEDS
  topics: [ %s ]
  start_from: earliest
  checkpoint: { store: { directory: %q }, job: w }
  %s
processors:
  - watermark_periodic: %s
`, w.topics, w.directory, w.input, cmp.Or(w.assigner, "{ timestamp: this.t, max_out_of_orderness: 0s }"))
	return indent + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+indent) + "\n"
}

func (w windowing) yaml() string {
	in := cmp.Or(w.inputs, "input:\n"+w.source("  "))
	pipeline := ""
	if w.pipeline != "" {
		pipeline = "pipeline: " + w.pipeline + "\n"
	}
	return in + "buffer:\n  event_time_window: " + w.window + "\n" + pipeline + "output:\n" + w.output
}

// to is our output, with more fields in one line each.
func to(topic string, more ...string) string {
	return "  kafka_checkpointed:\n    seed_brokers: $SEEDS\n    topic: " + topic + "\n    " + strings.Join(more, "\n    ") + "\n"
}

// click is a record of the tests that compare with an offline computation.
type click struct {
	T int64   `json:"t"`
	U string  `json:"u"`
	V int64   `json:"v"`
	F float64 `json:"f"`
}

// clicks are n records for each partition, at most a second out of order, each user's in
// one partition unless spread.
func clicks(r *rand.Rand, partitions, n int, spread bool) [][]click {
	all := make([][]click, partitions)
	taken := map[int64]bool{}
	v := int64(0)
	for p := range all {
		for i := range n {
			at := int64(i*50+1000) - r.Int64N(1000)
			if r.IntN(15) == 0 {
				at += 200 // a gap now and then, for sessions
			}
			for taken[at] {
				at++ // first and last are then the same, whoever comes first
			}
			taken[at] = true
			u := r.IntN(4)
			if !spread {
				u = u*partitions + p
			}
			v++
			all[p] = append(all[p], click{at, fmt.Sprintf("u%d", u), v, float64(v) / 8})
		}
	}
	return all
}

func (c click) json() string {
	b, _ := json.Marshal(c)
	return string(b)
}

// written are clicks as records of a topic.
func written(topic string, all [][]click) (rs []*kgo.Record) {
	for p, cs := range all {
		for _, c := range cs {
			rs = append(rs, &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte(c.json())})
		}
	}
	return rs
}

// offline sorts clicks into windows of users: by "user start end".
func offline(all [][]click, spans func(times []int64) [][2]int64) map[string][]click {
	users := map[string][]click{}
	for _, p := range all {
		for _, c := range p {
			users[c.U] = append(users[c.U], c)
		}
	}
	got := map[string][]click{}
	for u, cs := range users {
		slices.SortFunc(cs, func(a, b click) int { return cmp.Compare(a.T, b.T) })
		var times []int64
		for _, c := range cs {
			times = append(times, c.T)
		}
		for _, s := range spans(times) {
			name := fmt.Sprintf("%s %d %d", u, s[0], s[1])
			for _, c := range cs {
				if s[0] <= c.T && c.T < s[1] {
					got[name] = append(got[name], c)
				}
			}
			if len(got[name]) == 0 {
				delete(got, name)
			}
		}
	}
	return got
}

func aligned(size, slide, offset int64) func([]int64) [][2]int64 {
	return func(times []int64) (spans [][2]int64) {
		for start := offset - 20*slide; start <= times[len(times)-1]; start += slide {
			spans = append(spans, [2]int64{start, start + size})
		}
		return spans
	}
}

func sessions(gap int64) func([]int64) [][2]int64 {
	return func(times []int64) (spans [][2]int64) {
		for _, at := range times {
			if last := len(spans) - 1; last >= 0 && at <= spans[last][1] {
				spans[last][1] = at + gap
				continue
			}
			spans = append(spans, [2]int64{at, at + gap})
		}
		return spans
	}
}

var kindsOfWindows = map[string]struct {
	conf  string
	spans func([]int64) [][2]int64
}{
	"tumbling":          {"type: tumbling, size: 1s", aligned(1000, 1000, 0)},
	"tumbling, shifted": {"type: tumbling, size: 1s, offset: -300ms", aligned(1000, 1000, -300)},
	"sliding":           {"type: sliding, size: 1s, slide: 300ms", aligned(1000, 300, 0)},
	"session":           {"type: session, gap: 250ms", sessions(250)},
}

// whose is how the tests name a window.
const whose = `@window_key + " " + @window_start_ms.string() + " " + @window_end_ms.string()`

// named are results by the window they name, each of which leaves once.
func named(t testing.TB, rs []*kgo.Record) map[string]json.RawMessage {
	t.Helper()
	got := map[string]json.RawMessage{}
	for _, r := range rs {
		var doc struct {
			W string
			R json.RawMessage
		}
		require.NoError(t, json.Unmarshal(r.Value, &doc), string(r.Value))
		require.NotContains(t, got, doc.W, "a window leaves once")
		got[doc.W] = doc.R
	}
	return got
}

// inWindows runs a bounded stream over clicks and returns what is in its windows.
func inWindows(t *testing.T, all [][]click, window, pipeline string) (got map[string]json.RawMessage) {
	t.Helper()
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := kafkatest.Topic(t, e, len(all)), kafkatest.Topic(t, e, 1)
		kafkatest.Produce(t, e, written(in, all)...)
		s, m := startMeasured(t, e, windowing{
			topics: in, input: "stop_at: latest", directory: directory, assigner: "{ timestamp: this.t, max_out_of_orderness: 1200ms }",
			window: window, pipeline: pipeline, output: to(out),
		}.yaml())
		s.ended()
		got = named(t, kafkatest.ReadCommitted(t, e, out)[0])
		late, _ := m.get("tidemark_late_records")
		require.Zero(t, late)
		n, _ := m.get("tidemark_windows_fired")
		require.Len(t, got, int(n))
	})
	return got
}

// Whatever the windows, each has exactly the messages that an offline computation says.
func TestWindowsOfMessages(t *testing.T) {
	for name, kind := range kindsOfWindows {
		t.Run(name, func(t *testing.T) {
			all := clicks(kafkatest.Random(t), 3, 300, true)
			want := offline(all, kind.spans)
			got := map[string][]click{}
			for w, text := range inWindows(t, all, "{ "+kind.conf+", key: this.u }",
				`{ processors: [ { archive: { format: json_array } }, { mapping: 'root = {"w": `+whose+`, "r": this}' } ] }`) {
				var cs []click
				require.NoError(t, json.Unmarshal(text, &cs))
				slices.SortFunc(cs, func(a, b click) int { return cmp.Compare(a.T, b.T) })
				got[w] = cs
			}
			require.Equal(t, want, got)
		})
	}
}

// everything is each aggregate there is.
const everything = `aggregate: {
      n: { count: {} }, sum: { sum: this.v }, exact: { sum: this.f }, low: { min: this.v }, high: { max: this.f }, mean: { avg: this.v },
      first: { first: this.v }, last: { last: this }, all: { fold: {
        init: 'root = []', add: 'root = this.state.append(this.message.v)', merge: 'root = this.first.concat(this.second)',
        emit: 'root = this.state.sort()' } } }`

// numbers are what aggregates are computed of.
func (c click) numbers() click { return c }

// computed is what everything says of a window with these records, in the order of time.
func computed[T interface{ numbers() click }](cs []T) string {
	var sum int64
	var exact float64
	first := cs[0].numbers()
	low, high := first.V, first.F
	var vs []int64
	for _, c := range cs {
		c := c.numbers()
		sum, exact = sum+c.V, exact+c.F
		low, high = min(low, c.V), max(high, c.F)
		vs = append(vs, c.V)
	}
	slices.Sort(vs)
	b, _ := json.Marshal(map[string]any{
		"n": len(cs), "sum": sum, "exact": exact, "low": low, "high": high, "mean": float64(sum) / float64(len(cs)),
		"first": first.V, "last": cs[len(cs)-1], "all": vs,
	})
	return string(b)
}

// Whatever the windows, each has exactly the aggregates that an offline computation says.
// A user is in one partition, or in any of them.
func TestWindowsOfAggregates(t *testing.T) {
	for name, kind := range kindsOfWindows {
		for scope, spread := range map[string]bool{"partition": false, "process": true} {
			t.Run(name+", "+scope, func(t *testing.T) {
				all := clicks(kafkatest.Random(t), 3, 300, spread)
				want := offline(all, kind.spans)
				got := inWindows(t, all, "{ "+kind.conf+", key: this.u, scope: "+scope+", "+everything+" }",
					`{ processors: [ { mapping: 'root = {"w": `+whose+`, "r": this}' } ] }`)
				for w, cs := range want {
					require.JSONEq(t, computed(cs), string(got[w]), w)
				}
				require.Len(t, got, len(want))
			})
		}
	}
}
