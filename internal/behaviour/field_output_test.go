package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// generated writes messages of a foreign input, "0" first.
func generated(out, generate, extra string) string {
	return fmt.Sprintf(`
input: { generate: { %s, mapping: 'root = (count(%q) - 1).string()' } }
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    %s
`, generate, out, out, extra)
}

// sizes returns how many records each produce request had.
func sizes(t *testing.T, seen *requests[*kmsg.ProduceRequest]) (ns []int) {
	t.Helper()
	for _, b := range batches(t, seen) {
		ns = append(ns, int(b.NumRecords))
	}
	return ns
}

// writes returns how many records were written at each moment of virtual time: the client may
// send what is written together in two requests.
func writes(t *testing.T, seen *requests[*kmsg.ProduceRequest]) (ns []int) {
	t.Helper()
	last := int64(-1)
	for _, b := range batches(t, seen) {
		if b.FirstTimestamp != last {
			ns = append(ns, 0)
		}
		ns[len(ns)-1] += int(b.NumRecords)
		last = b.FirstTimestamp
	}
	return ns
}

func batches(t *testing.T, seen *requests[*kmsg.ProduceRequest]) (bs []kmsg.RecordBatch) {
	t.Helper()
	for _, r := range seen.list() {
		var b kmsg.RecordBatch
		require.NoError(t, b.ReadFrom(r.Topics[0].Partitions[0].Records))
		bs = append(bs, b)
	}
	return bs
}

func TestFieldsOfOutputBatching(t *testing.T) {
	for yaml, want := range map[string][]int{
		"batching: { count: 4 }":                                {4, 4, 4},
		"batching: { byte_size: 3 }":                            {3, 3, 3},
		"batching: { period: 2500ms }":                          {3, 2, 3, 2},
		"batching: { check: 'content() == \"4\"', period: 1h }": {5},
	} {
		t.Run(yaml, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				out := kafkatest.Topic(t, e, 1)
				seen := observe(e, kmsg.NewPtrProduceRequest())
				start(t, e, generated(out, "interval: 1s", yaml))
				time.Sleep(12100 * time.Millisecond) // virtual
				require.GreaterOrEqual(t, len(writes(t, seen)), len(want))
				require.Equal(t, want, writes(t, seen)[:len(want)])
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		out := kafkatest.Topic(t, e, 1)
		start(t, e, generated(out, "interval: '', count: 3", "batching: { count: 3, processors: [ { archive: { format: lines } } ] }")).ended()
		require.Equal(t, []string{"0\n1\n2"}, values(t, e, out)[0])
	})
}

func TestFieldMaxInFlight(t *testing.T) {
	for most, wide := range map[int]bool{1: false, 8: true} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			out := kafkatest.Topic(t, e, 1)
			seen := observe(e, kmsg.NewPtrProduceRequest())
			hold := e.Hold(t, kmsg.Produce)
			defer hold.Release() // or else a failure could not stop the stream
			s := start(t, e, generated(out, "interval: '', count: 40", fmt.Sprintf("max_in_flight: %d", most)))
			hold.Await(t, 1, patience)
			time.Sleep(time.Second) // virtual: the others wait behind it
			hold.Release()
			s.ended()
			largest := 0
			for _, n := range sizes(t, seen) {
				largest = max(largest, n)
			}
			require.Equal(t, wide, largest > 1, "%d records in one request", largest)
			require.LessOrEqual(t, largest, most)
		})
	}
}

// While the brokers answer nothing, what is acknowledged tells what is waited for.
func TestFieldsDeliveryAndFlush(t *testing.T) {
	for yaml, want := range map[string]struct{ emitted, committed int64 }{
		"delivery: at_least_once": {39, 0},
		"delivery: none":          {39, 40},
		"flush: auto":             {39, 0},
		"flush: on_checkpoint":    {39, 0},
		"flush: on_ack":           {9, 0},
	} {
		t.Run(yaml, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 40)
				hold := e.Hold(t, kmsg.Produce)
				defer hold.Release() // or else a failure could not stop the stream
				_, m := startMeasured(t, e, copyYAML(in, out, "g", "max_batch_records: 10")+"    "+yaml+"\n")
				time.Sleep(20 * time.Second) // virtual
				emitted, _ := m.get("tidemark_current_offset")
				require.Equal(t, want.emitted, emitted)
				require.Equal(t, want.committed, kafkatest.Committed(t, e, "g", in)[0].Offset)
				hold.Release()
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 40)})
			})
		})
	}
}

func TestFieldFlushOnCheckpointWarnsOfUncoveredMessages(t *testing.T) {
	for flush, warns := range map[string]bool{"auto": false, "on_checkpoint": true} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			out := kafkatest.Topic(t, e, 1)
			s := start(t, e, generated(out, "interval: '', count: 3", "flush: "+flush))
			s.ended()
			require.Equal(t, []int64{3}, kafkatest.Ends(t, e, out))
			require.Equal(t, warns, strings.Contains(s.logs.String(), "level=WARN"))
		})
	}
}

func TestFieldMetadataIncludePrefixes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Value: []byte("v"), Headers: []kgo.RecordHeader{
			{Key: "trace_id", Value: []byte("1")}, {Key: "other", Value: []byte("2")},
		}})
		start(t, e, fanYAML(in, out, "")+"    metadata: { include_prefixes: [ trace_ ] }\n")
		kafkatest.Eventually(t, patience, "it is written", func() bool { return len(values(t, e, out)[0]) == 1 })
		require.Equal(t, []kgo.RecordHeader{{Key: "trace_id", Value: []byte("1")}}, kafkatest.ReadCommitted(t, e, out)[0][0].Headers)
	})
}
