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

const counting = "{ type: tumbling, size: 10s, aggregate: { n: { count: {} } } }"

// When the watermark passes a window's end, then exactly that window's result is emitted
// once, and the last window stays open while no later record comes.
func TestWM03_AWindowFiresOnceWhenTheWatermarkPassesItsEnd(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, windowing{
			topics: in, directory: directory, output: to(out), window: counting,
			assigner: "{ timestamp: this.t, max_out_of_orderness: 2s, idle_timeout: 5s }",
			pipeline: `{ processors: [ { mapping: 'root = @window_start_ms.string() + " " + this.n.string()' } ] }`,
		}.yaml())
		require.Empty(t, feed(t, e, in, out, `{"t":1000}`, `{"t":9000}`, `{"t":11999}`), "2s behind the last record is within the window")
		require.Equal(t, []string{"0 2"}, feed(t, e, in, out, `{"t":12000}`))
		require.Equal(t, []string{"0 2", "10000 3"}, feed(t, e, in, out, `{"t":19999}`, `{"t":25000}`))
		time.Sleep(10 * time.Minute) // virtual: the partition is idle
		require.Len(t, feed(t, e, in, out), 2, "a window whose end no record has passed stays open, and none leaves twice")
		require.NoError(t, s.stop())
		require.Len(t, lines(kafkatest.ReadCommitted(t, e, out)[0]), 2)
	})
}

// Windows fire without new records when what holds them back is idle.
func TestIdlenessFiresWindows(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := kafkatest.Topic(t, e, 2), kafkatest.Topic(t, e, 1)
		s, m := startMeasured(t, e, windowing{
			topics: in, directory: directory, output: to(out), window: counting, assigner: "{ timestamp: this.t, idle_timeout: 30s }",
		}.yaml())
		kafkatest.Produce(t, e, stamped(in, 1, `{"t":1000}`)...)
		require.Empty(t, feed(t, e, in, out, `{"t":1000}`, `{"t":25000}`), "the other partition is at 1000")
		time.Sleep(25 * time.Second) // virtual
		require.Empty(t, feed(t, e, in, out, `{"t":26000}`))
		time.Sleep(10 * time.Second) // virtual
		require.Equal(t, []string{`{"n":2}`}, feed(t, e, in, out), "and now it is idle")
		n, _ := m.get("tidemark_partitions_idle")
		require.Equal(t, int64(1), n)
		require.NoError(t, s.stop())
	})
}

// A partition that is taken out of the subscription between two runs no longer holds the
// combined watermark back. What was in its windows is still there.
func TestWM04_APartitionThatIsNotReadAnyMoreHoldsNobodyBack(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		a, out := topics(t, e, 1)
		b := kafkatest.Topic(t, e, 1)
		w := windowing{topics: a + ", " + b, directory: directory, output: to(out), window: counting}
		s := start(t, e, w.yaml())
		produce(t, e, b, `{"t":1000}`)
		require.Empty(t, feed(t, e, a, out, `{"t":2000}`, `{"t":25000}`), "the partition of the other topic is at 1000")
		require.NoError(t, s.stop())
		w.topics = a
		s = start(t, e, w.yaml())
		time.Sleep(2 * time.Second) // virtual
		require.Equal(t, []string{`{"n":2}`}, feed(t, e, a, out), "of both topics, without any record")
		require.Equal(t, []string{`{"n":2}`, `{"n":2}`}, feed(t, e, a, out, `{"t":29000}`, `{"t":30000}`), "and so it goes on")
		require.NoError(t, s.stop())
	})
}

// both is a stream with two inputs of the same job.
func (w windowing) both(first, second string) windowing {
	w.topics = first
	w.inputs = "input:\n  broker:\n    inputs:\n      -\n" + strings.Replace(w.source("        "), "kafka_checkpointed:", "label: one\n        kafka_checkpointed:", 1)
	w.topics = second
	w.inputs += "      -\n" + strings.Replace(w.source("        "), "kafka_checkpointed:", "label: two\n        kafka_checkpointed:", 1)
	return w
}

// An input that has nothing to read does not hold back the combined watermark, once it has
// been idle for long enough.
func TestID02_AnInputThatReadsNothingHoldsNobodyBack(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		empty := kafkatest.Topic(t, e, 3)
		s, m := startMeasured(t, e, windowing{
			directory: directory, output: to(out), window: counting, assigner: "{ timestamp: this.t, idle_timeout: 20s }",
		}.both(in, empty).yaml())
		idle := func(label string) int64 {
			n, _ := m.get("tidemark_partitions_idle", "path", "root.input.broker.inputs."+label+".processors.0")
			return n
		}
		require.Empty(t, feed(t, e, in, out, `{"t":1000}`, `{"t":25000}`), "of the other one nothing is known yet")
		for range 15 {
			time.Sleep(2 * time.Second) // virtual
			produce(t, e, in, `{"t":25000}`)
		}
		time.Sleep(2 * time.Second) // virtual
		require.Equal(t, []int64{0, 3}, []int64{idle("0"), idle("1")})
		require.Equal(t, []string{`{"n":1}`}, feed(t, e, in, out))
		require.NoError(t, s.stop())
	})
}

// A subtask without a partition would hold Flink's watermark back unless it is marked as
// idle. Here a reader without one, such as a shard in which there is none, is not asked at
// all: the others fire without any idle timeout. (More members of a group than partitions
// there cannot be, because windows need a store, which is one process's.)
func TestID03_AReaderWithoutPartitionsHoldsNobodyBack(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		w := windowing{directory: directory, output: to(out), window: strings.Replace(counting, "{ ", "{ scope: partition, ", 1)}
		// Which of the two shards has the only partition of the second topic, its name
		// decides; the one of the two inputs that has it not reads nothing.
		other := kafkatest.Topic(t, e, 1)
		w = w.both(in, other)
		first, second, _ := strings.Cut(w.inputs, "label: two")
		fired := 0
		for shard := range 2 {
			w.directory = fmt.Sprintf("%s/%d", directory, shard)
			w.inputs = first + "label: two" + strings.Replace(second, "start_from:", fmt.Sprintf("shard: { index: %d, count: 2 }\n          start_from:", shard), 1)
			w.inputs = strings.ReplaceAll(w.inputs, directory+`"`, w.directory+`"`)
			s := start(t, e, w.yaml())
			before := len(lines(kafkatest.ReadCommitted(t, e, out)[0]))
			fired += len(feed(t, e, in, out, `{"t":1000}`, `{"t":25000}`)) - before
			require.NoError(t, s.stop())
			kafkatest.DeleteTopic(t, e, in)
			kafkatest.CreateTopic(t, e, in, 1)
		}
		require.Equal(t, 1, fired, "with the shard that has no partition, and not with the one that has one of which nothing is known")
	})
}

// Of two inputs one may be far ahead of the other, and its partitions of each other: no
// record is late that is not late, and every window has all that is its.
func TestInputsFarApartMakeNobodyLate(t *testing.T) {
	directory := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := kafkatest.Random(t)
		e := kafkatest.Virtual(t)
		ahead, out := kafkatest.Topic(t, e, 2), kafkatest.Topic(t, e, 1)
		behind := kafkatest.Topic(t, e, 2)
		all := clicks(r, 4, 400, true)
		want := offline(all, aligned(1000, 1000, 0))
		// The one that is ahead is there from the beginning, the other comes bit by bit.
		kafkatest.Produce(t, e, written(ahead, all[:2])...)
		rest := written(behind, all[2:])
		slices.SortStableFunc(rest, func(a, b *kgo.Record) int { return int(b.Partition - a.Partition) })
		w := windowing{
			directory: directory, output: to(out), assigner: "{ timestamp: this.t, max_out_of_orderness: 1200ms }",
			window:   "{ type: tumbling, size: 1s, key: this.u, " + everything + " }",
			pipeline: `{ processors: [ { mapping: 'root = {"w": ` + whose + `, "r": this}' } ] }`,
		}.both(ahead, behind)
		s, m := startMeasured(t, e, w.yaml())
		for len(rest) > 0 {
			n := min(1+r.IntN(60), len(rest))
			kafkatest.Produce(t, e, rest[:n]...)
			rest = rest[n:]
			time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond) // virtual
		}
		for p := range int32(2) { // Event time goes on, and all windows fire.
			for _, topic := range []string{ahead, behind} {
				kafkatest.Produce(t, e, stamped(topic, p, `{"t":1000000,"u":"end","v":1,"f":1}`)...)
			}
		}
		kafkatest.Eventually(t, time.Minute, "all windows are there", func() bool { return kafkatest.Ends(t, e, out)[0] >= int64(len(want)) })
		require.NoError(t, s.stop())
		late, _ := m.get("tidemark_late_records")
		require.Zero(t, late)
		got := named(t, kafkatest.ReadCommitted(t, e, out)[0])
		for name, cs := range want {
			require.JSONEq(t, computed(cs), string(got[name]), name)
		}
		require.Len(t, got, len(want))
	})
}
