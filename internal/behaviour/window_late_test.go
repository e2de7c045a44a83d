package behaviour

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// say writes what a message is and says: its content, and what the window says of it.
const say = `{ processors: [ { mapping: 'root = content().string() + " " + (@window_start_ms | "-").string() + " again=" + (@window_again | false).string() + " late=" + (@late | false).string()' } ] }`

// feed writes records to partition 0, each when the one before has had its effect, and
// returns what is in the output then. It is called in a bubble.
func feed(t testing.TB, e kafkatest.Endpoint, in, out string, values ...string) []string {
	t.Helper()
	for _, v := range values {
		produce(t, e, in, v)
		time.Sleep(2 * time.Second) // virtual: longer than whatever looks around
	}
	return lines(kafkatest.ReadCommitted(t, e, out)[0])
}

// A window that has fired fires again, whole, with what comes within allowed_lateness;
// what comes later leaves as a late message, or is dropped, and is counted.
func TestAllowedLateness(t *testing.T) {
	for late, tail := range map[string][]string{"emit": {`{"t":3000} - again=false late=true`}, "drop": {}} {
		t.Run(late, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				s, m := startMeasured(t, e, windowing{
					topics: in, directory: directory, pipeline: say, output: to(out),
					window: "{ type: tumbling, size: 10s, allowed_lateness: 5s, late: " + late + ", aggregate: { n: { count: {} } } }",
				}.yaml())
				lateOnes := func() int64 { n, _ := m.get("tidemark_late_records", "path", "root.buffer", "topic", in); return n }
				got := feed(t, e, in, out, `{"t":1000}`, `{"t":10000}`)
				require.Equal(t, []string{`{"n":1} 0 again=false late=false`}, got)
				got = feed(t, e, in, out, `{"t":2000}`)
				require.Equal(t, []string{`{"n":2} 0 again=true late=false`}, got[1:], "with all that it has")
				got = feed(t, e, in, out, `{"t":14999}`, `{"t":9999}`)
				require.Equal(t, []string{`{"n":3} 0 again=true late=false`}, got[2:], "until allowed_lateness is over")
				require.Zero(t, lateOnes())
				got = feed(t, e, in, out, `{"t":15000}`, `{"t":3000}`)
				require.Equal(t, tail, got[3:])
				require.Equal(t, int64(1), lateOnes())
				require.NoError(t, s.stop())
				require.Len(t, lines(kafkatest.ReadCommitted(t, e, out)[0]), 3+len(tail))
			})
		})
	}
}

// The messages of a window that fires again are all of them, as often as it does.
func TestAllowedLatenessOfMessages(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		yaml := windowing{
			topics: in, directory: directory, output: to(out), window: "{ type: session, gap: 1s, allowed_lateness: 5s }",
			pipeline: `{ processors: [ { archive: { format: lines } }, { mapping: 'root = content().string().replace_all("\n", " ") + " again=" + (@window_again | false).string()' } ] }`,
		}.yaml()
		s := start(t, e, yaml)
		got := feed(t, e, in, out, `{"t":1000}`, `{"t":3500}`)
		require.Equal(t, []string{`{"t":1000} again=false`}, got)
		require.NoError(t, s.stop(), "also over a restart")
		s = start(t, e, yaml)
		got = feed(t, e, in, out, `{"t":1500}`)
		require.Equal(t, []string{`{"t":1000} {"t":1500} again=true`}, got[1:])
		got = feed(t, e, in, out, `{"t":2500}`)
		require.Empty(t, got[2:], "the sessions have become one, which is not over yet")
		got = feed(t, e, in, out, `{"t":4500}`)
		require.Empty(t, got[2:], "a record at its end is still of it")
		got = feed(t, e, in, out, `{"t":6000}`)
		require.Equal(t, []string{`{"t":1000} {"t":3500} {"t":1500} {"t":2500} {"t":4500} again=true`}, got[2:])
		require.NoError(t, s.stop())
	})
}

// Messages without an event time, without a key or with a value that cannot be added leave
// by themselves, marked as failed, and keep nobody from going on.
func TestFailedMessagesLeaveTheirWindows(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, windowing{
			topics: in, directory: directory, output: to(out),
			window: `{ type: tumbling, size: 10s, key: this.u.uppercase(), aggregate: { s: { sum: this.v }, low: { min: this.v },
      f: { fold: { init: 'root = 0', add: 'root = this.state + this.message.w' } } } }`,
			pipeline: `{ processors: [ { catch: [ { mapping: 'root = content().string() + " failed: " + error()' } ] } ] }`,
		}.yaml())
		rs := stamped(in, 0,
			`{"t":1000,"u":"a","v":1,"w":1}`,
			`{"u":"a","v":2,"w":1}`,
			`{"t":1001,"u":5,"v":2,"w":1}`,
			`{"t":1002,"v":2,"w":1}`,
			`{"t":1003,"u":"a","v":"x","w":1}`,
			`{"t":1004,"u":"a","v":2,"w":"x"}`,
			`{"t":1005,"u":"a","v":3,"w":1}`,
		)
		kafkatest.Produce(t, e, rs...)
		got := feed(t, e, in, out, `{"t":20000,"u":"a","v":0,"w":0}`)
		require.NoError(t, s.stop())
		require.Len(t, got, 6)
		slices.Sort(got[:5]) // Threads may take them in any order.
		for i, words := range [][2]string{
			{`{"t":1001,"u":5,"v":2,"w":1}`, "the key of the message"},
			{`{"t":1002,"v":2,"w":1}`, "the key of the message"},
			{`{"t":1003,"u":"a","v":"x","w":1}`, "expected a number, got string"},
			{`{"t":1004,"u":"a","v":2,"w":"x"}`, "add: "},
			{`{"u":"a","v":2,"w":1}`, "assigning an event time"},
		} {
			require.True(t, strings.HasPrefix(got[i], words[0]+" failed: "), got[i])
			require.Contains(t, got[i], words[1])
		}
		require.Equal(t, `{"f":2,"low":1,"s":4}`, got[5], "each is in all aggregates or in none")
	})
}

// A number that JSON does not have cannot be kept. Its message fails, not the checkpoint.
func TestWhatCannotBeKeptDoesNotStopCheckpoints(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		yaml := windowing{
			topics: in, directory: directory, output: to(out),
			window:   `{ type: session, gap: 10s, aggregate: { low: { min: this.v.number() }, last: { last: '[ this.v.number() ]' } } }`,
			pipeline: `{ processors: [ { catch: [ { mapping: 'root = error()' } ] } ] }`,
		}.yaml()
		s := start(t, e, yaml)
		got := feed(t, e, in, out, `{"t":1000,"v":1}`, `{"t":1001,"v":"NaN"}`, `{"t":1002,"v":"+Inf"}`)
		require.Len(t, got, 2)
		require.Contains(t, got[0], "NaN is no number of JSON, so it cannot be kept")
		require.Contains(t, got[1], "+Inf is no number of JSON, so it cannot be kept")
		require.NoError(t, s.stop())
		require.Empty(t, s.said("Going back"))
		s = start(t, e, yaml)
		require.JSONEq(t, `{"last":[1],"low":1}`, feed(t, e, in, out, `{"t":50000,"v":2}`)[2])
		require.NoError(t, s.stop())
	})
}

// What comes from another input would be taken out of its window by a crash.
func TestMessagesOfOtherInputsAreInNoWindow(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		w := windowing{
			topics: in, input: "stop_at: latest", directory: directory, window: "{ type: tumbling, size: 10s }", output: to(out),
			pipeline: `{ processors: [ { catch: [ { mapping: 'root = content().string() + " failed: " + error()' } ] } ] }`,
		}
		produce(t, e, in, `{"t":1000}`)
		w.inputs = "input:\n  broker:\n    inputs:\n      -\n" + w.source("        ") +
			`      - generate: { mapping: "root.t = 2000\nmeta event_time_ms = 2000", count: 1, interval: '' }` + "\n"
		s := start(t, e, w.yaml())
		s.ended()
		got := lines(kafkatest.ReadCommitted(t, e, out)[0])
		slices.Sort(got)
		require.Len(t, got, 2)
		require.Equal(t, `{"t":1000}`, got[0])
		require.Contains(t, got[1], `{"t":2000} failed: the message is not from an input kafka_checkpointed`)
	})
}

// Messages leave a window with the key, headers and timestamp of their own records, and a
// tombstone as one; results have those of their window.
func TestRecordsOfWindows(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		w := windowing{
			topics: in, input: "metadata: [ none ]", directory: directory, assigner: "{ max_out_of_orderness: 1s }",
			window: "{ type: tumbling, size: 10s, key: '\"of the window\"' }", output: to(out),
		}
		yaml := w.yaml()
		s := start(t, e, yaml)
		rs := []*kgo.Record{
			{Key: []byte("a\xff"), Value: []byte("x"), Timestamp: time.UnixMilli(1000), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("\xfe")}, {Key: "h"}}},
			{Key: nil, Value: nil, Timestamp: time.UnixMilli(2000)},
			{Key: []byte{}, Value: []byte{}, Timestamp: time.UnixMilli(1500)},
		}
		for _, r := range rs {
			r.Topic = in
		}
		kafkatest.Produce(t, e, rs...)
		time.Sleep(3 * time.Second) // virtual: there is a checkpoint
		require.NoError(t, s.stop())
		s = start(t, e, yaml)
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Timestamp: time.UnixMilli(11_000), Value: []byte("end")})
		time.Sleep(2 * time.Second) // virtual
		require.NoError(t, s.stop())
		got := kafkatest.ReadCommitted(t, e, out)[0]
		require.Len(t, got, len(rs))
		for i, r := range rs {
			require.Equal(t, fmt.Sprintf("%#v %#v %v", r.Key, r.Value, r.Headers), fmt.Sprintf("%#v %#v %v", got[i].Key, got[i].Value, got[i].Headers))
			require.Equal(t, r.Timestamp.UnixMilli(), got[i].Timestamp.UnixMilli())
		}
	})
}
