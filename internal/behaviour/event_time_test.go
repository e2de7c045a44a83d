package behaviour

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// judged are the records with the given event times, in the order of one partition, as
// timed writes them: an event time that comes down never lowers the watermark.
func judged(times ...int) (in, want []string) {
	reached, started := 0, false
	for _, at := range times {
		late := started && at < reached
		if !started || at > reached {
			reached, started = at, true
		}
		v := fmt.Sprintf(`{"t":%d}`, at)
		in, want = append(in, v), append(want, fmt.Sprintf("%s %d %d %v", v, at, reached, late))
	}
	return in, want
}

// awaitLines waits until a partition holds exactly these lines, by number.
func awaitLines(t *testing.T, e kafkatest.Endpoint, topic string, partition int, want []string) {
	t.Helper()
	kafkatest.Eventually(t, patience, fmt.Sprintf("%d records are there", len(want)), func() bool {
		return kafkatest.Ends(t, e, topic)[partition] >= int64(len(want))
	})
	require.Equal(t, want, lines(kafkatest.ReadCommitted(t, e, topic)[partition]))
}

func TestWM02_PartitionsDaysApartMakeNoneOfThemLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		const day = 24 * 3600 * 1000
		for p, n := range []int{2, 3, 4, 5} {
			for i := range n {
				kafkatest.Produce(t, e, stamped(in, int32(p), fmt.Sprintf(`{"t":%d}`, (10-3*p)*day+i))...)
			}
		}
		head, tail, _ := strings.Cut(copyYAML(in, out, "g", "start_from: earliest"), "output:\n")
		s, m := startMeasured(t, e, head+`  processors: [ { watermark_periodic: { timestamp: this.t } } ]
pipeline: { processors: [ { mapping: 'root = if @late { deleted() }' } ] }
output:
`+tail)
		read := func() int64 { n, _ := m.get("tidemark_records_in"); return n }
		kafkatest.Eventually(t, patience, "all are read", func() bool { return read() == 14 })
		require.NoError(t, s.stop())
		require.Equal(t, []int64{2, 3, 4, 5}, kafkatest.Ends(t, e, out), "nothing is dropped")
		late, _ := m.get("tidemark_late_records")
		require.Zero(t, late)
	})
}

// Late records are counted, by topic.
func TestLateRecordsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":5}`, `{"t":4}`, `{"t":"soon"}`, `{"t":6}`)...)
		kafkatest.Produce(t, e, stamped(in, 1, `{"t":9}`, `{"t":8}`, `{"t":9}`)...)
		s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t }"))
		kafkatest.Eventually(t, patience, "all are there", func() bool { return slices.Equal(kafkatest.Ends(t, e, out), []int64{4, 3}) })
		require.NoError(t, s.stop())
		late, _ := m.get("tidemark_late_records", "topic", in)
		require.Equal(t, int64(2), late)
		bad, _ := m.get("tidemark_bad_records", "topic", in)
		require.Equal(t, int64(1), bad)
	})
}

// Without the field timestamp the record's own timestamp is the event time.
func TestTheTimestampOfTheRecordIsItsEventTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		rs := stamped(in, 0, "a", "b", "c")
		for i, ms := range []int64{1000, 999, 1001} {
			rs[i].Timestamp = time.UnixMilli(ms)
		}
		kafkatest.Produce(t, e, rs...)
		s := start(t, e, timed(in, out, "watermark_periodic: {}"))
		awaitLines(t, e, out, 0, []string{"a 1000 1000 false", "b 999 1000 true", "c 1001 1001 false"})
		require.NoError(t, s.stop())
	})
}

// In the pipeline the batches of a partition pass several threads, in order.
func TestWatermarksInThePipelineWithSeveralThreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		r := kafkatest.Random(t)
		want := make([][]string, 3)
		for p := range want {
			times := make([]int, 200)
			for i := range times {
				times[i] = p*1_000_000 + 10*i - r.IntN(25)
			}
			var values []string
			values, want[p] = judged(times...)
			kafkatest.Produce(t, e, stamped(in, int32(p), values...)...)
		}
		yaml := strings.Replace(copyYAML(in, out, "g", "start_from: earliest\n    ordering: partition\n    max_batch_records: 3"), "output:\n", `
pipeline:
  threads: 4
  processors:
    - sleep: { duration: '${! 1 + random_int() % 5 }ms' }
    - watermark_periodic: { timestamp: this.t }
    - mapping: 'root = content().string() + " " + @event_time_ms.string() + " " + @watermark_ms.string() + " " + @late.string()'
output:
`, 1)
		s := start(t, e, yaml)
		for p := range want {
			awaitLines(t, e, out, p, want[p])
		}
		require.NoError(t, s.stop())
	})
}

// A rewind takes watermarks back with positions: what was late is late again, and what
// was on time stays on time.
func TestWatermarksOfARewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		values, want := judged(10, 9, 10, 20, 15, 30, 25, 29, 31, 31, 12)
		s := start(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t }")+"    record_delivery_timeout: 20s\n")
		const covered = 3
		kafkatest.Produce(t, e, stamped(in, 0, values[:covered]...)...)
		kafkatest.Eventually(t, patience, "a checkpoint is complete", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == covered })
		outage := e.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: out, Err: kerr.NotLeaderForPartition, Count: -1})
		for _, v := range values[covered:] { // a batch each, which the output acknowledges
			kafkatest.Produce(t, e, stamped(in, 0, v)...)
			time.Sleep(50 * time.Millisecond) // virtual
		}
		kafkatest.Eventually(t, time.Minute, "the stream goes back", func() bool { return len(s.said("Going back to checkpoint")) > 0 })
		outage.Remove()
		kafkatest.Eventually(t, time.Minute, "all are committed", func() bool {
			return kafkatest.Committed(t, e, "g", in)[0].Offset == int64(len(values))
		})
		require.NoError(t, s.stop())
		awaitLines(t, e, out, 0, want)
	})
}

// With a store, and with the marks of a group that hands a partition over, watermarks are
// where positions are.
func TestWatermarksAreWherePositionsAre(t *testing.T) {
	values, want := judged(10, 9, 10, 20, 15, 20, 30, 29)
	for name, extra := range map[string]string{
		"store":          "checkpoint: { store: { directory: %s } }",
		"group":          "assignment: group\n    checkpoint: { job: %.0sj }",
		"group, static":  "assignment: static\n    checkpoint: { job: %.0sj }",
		"no checkpoints": "checkpoint: { interval: 0%.0ss }\n    commit_period: 1s",
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				yaml := timed(in, out, "watermark_periodic: { timestamp: this.t }")
				yaml = strings.Replace(yaml, "start_from: earliest", "start_from: earliest\n    "+fmt.Sprintf(extra, directory), 1)
				for i := 0; i < len(values); i += 2 {
					s := start(t, e, yaml)
					kafkatest.Produce(t, e, stamped(in, 0, values[i:i+2]...)...)
					awaitLines(t, e, out, 0, want[:i+2])
					require.NoError(t, s.stop())
				}
			})
		})
	}
}

// A member of a group that takes a partition over judges its records as the one before
// would have.
func TestWatermarksAreHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		yaml := timed(in, out, "watermark_periodic: { timestamp: this.t }")
		values, want := judged(100, 50, 100, 90, 200, 150, 100, 199, 200, 201)
		n := 0
		more := func() {
			for p := range int32(4) {
				kafkatest.Produce(t, e, stamped(in, p, values[n:n+2]...)...)
			}
			n += 2
			for p := range 4 {
				awaitLines(t, e, out, p, want[:n])
			}
		}
		first := start(t, e, yaml)
		more()
		second := start(t, e, yaml)
		time.Sleep(time.Minute) // virtual: the group settles
		more()
		require.NoError(t, first.stop())
		more()
		start(t, e, yaml)
		time.Sleep(time.Minute) // virtual
		more()
		require.NoError(t, second.stop())
		more()
	})
}

// Each partition follows the rules of the processor that its records pass.
func TestProcessorsOfASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		strict, out := topics(t, e, 1)
		loose := kafkatest.Topic(t, e, 1)
		yaml := timed(strict+", "+loose, out, fmt.Sprintf(`switch:
        - check: '@kafka_topic == %q'
          processors: [ { label: strict, watermark_periodic: { timestamp: this.t, idle_timeout: 5s } } ]
        - processors: [ { label: loose, watermark_periodic: { timestamp: this.t, max_out_of_orderness: 10ms, idle_timeout: 5m } } ]`, strict))
		s, m := startMeasured(t, e, yaml)
		kafkatest.Produce(t, e, stamped(strict, 0, `{"t":100}`)...)
		awaitLines(t, e, out, 0, []string{`{"t":100} 100 100 false`})
		kafkatest.Produce(t, e, stamped(loose, 0, `{"t":100}`, `{"t":95}`)...)
		awaitLines(t, e, out, 0, []string{`{"t":100} 100 100 false`, `{"t":100} 100 90 false`, `{"t":95} 95 90 false`})
		idle := func(label string) int64 { n, _ := m.get("tidemark_partitions_idle", "label", label); return n }
		time.Sleep(20 * time.Second) // virtual
		require.Equal(t, []int64{1, 0}, []int64{idle("strict"), idle("loose")})
		time.Sleep(7 * time.Minute) // virtual
		require.Equal(t, []int64{1, 1}, []int64{idle("strict"), idle("loose")})
		kafkatest.Produce(t, e, stamped(strict, 0, `{"t":95}`)...)
		time.Sleep(2 * time.Second) // virtual
		require.Equal(t, []int64{0, 1}, []int64{idle("strict"), idle("loose")})
		require.NoError(t, s.stop())
		require.Equal(t, `{"t":95} 95 100 true`, lines(kafkatest.ReadCommitted(t, e, out)[0])[3])
	})
}

// A topic that was deleted and made anew is another log: event time begins anew with it.
func TestWatermarksOfATopicMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t }"))
		_, old := judged(1001, 1002, 1003)
		values, want := judged(1, 2, 3, 4, 5, 4)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":1001}`, `{"t":1002}`, `{"t":1003}`)...)
		awaitLines(t, e, out, 0, old)
		kafkatest.DeleteTopic(t, e, in)
		kafkatest.CreateTopic(t, e, in, 1)
		for _, v := range values {
			kafkatest.Produce(t, e, stamped(in, 0, v)...)
		}
		time.Sleep(time.Minute) // virtual
		awaitLines(t, e, out, 0, append(old, want...))
		require.NoError(t, s.stop())
	})
}

// A resource belongs to no stream, so nothing could follow its partitions.
func TestWatermarkProcessorsAreNoResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":1}`)...)
		s := start(t, e, timed(in, out, "resource: times")+"\nprocessor_resources: [ { label: times, watermark_periodic: {} } ]\n")
		time.Sleep(5 * time.Second) // virtual
		require.Contains(t, s.logs.String(), "cannot be a resource")
		require.NoError(t, s.stop())
	})
}
