package behaviour

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// clusters are two Kafkas, with different ports on one network: seeds and records are
// those of the first.
type clusters struct {
	*kafkatest.Cluster
	other *kafkatest.Cluster
}

func (c clusters) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if slices.Contains(c.other.Seeds(), address) {
		return c.other.Dial(ctx, network, address)
	}
	return c.Cluster.Dial(ctx, network, address)
}

// merged is a stream of two inputs in a broker. Each gets what is said of it, and both
// together the processors.
func merged(first, second, out, processors string) string {
	return fmt.Sprintf(`
input:
  broker:
    inputs:
      - label: a
        kafka_checkpointed: { %s, start_from: earliest }
      - label: a_topic
        kafka_checkpointed: { %s, start_from: earliest }
  processors: [ %s ]
pipeline: { processors: [ { mapping: 'root = @kafka_topic + "/" + @kafka_partition.string() + "/" + content().string()' } ] }
output:
  kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s, key: '${! @kafka_topic }' }
`, first, second, processors, out)
}

// emitted counts what was written, by what stands before the record.
func emitted(t *testing.T, e kafkatest.Endpoint, out string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, rs := range kafkatest.ReadCommitted(t, e, out) {
		for _, v := range lines(rs) {
			n[v[:strings.LastIndexByte(v, '/')]]++
		}
	}
	return n
}

const drifting = "watermark_periodic: { timestamp: this.t, max_drift: 10s, idle_timeout: 0s }"

// An input that is ahead waits for the other one, whether one processor assigns the event
// times of both, or each has its own.
func TestAnInputThatIsAheadWaitsForTheOther(t *testing.T) {
	for name, own := range map[string]bool{"one processor": false, "one each": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				far, near := topics(t, e, 1)
				out := kafkatest.Topic(t, e, 1)
				yaml := merged("seed_brokers: $SEEDS, consumer_group: g, topics: [ "+far+" ]", "seed_brokers: $SEEDS, consumer_group: h, topics: [ "+near+" ]", out, drifting)
				if own {
					yaml = strings.Replace(yaml, "  processors: [ "+drifting+" ]\n", "", 1)
					yaml = strings.ReplaceAll(yaml, "start_from: earliest }\n", "start_from: earliest }\n        processors: [ "+drifting+" ]\n")
				}
				kafkatest.Produce(t, e, stamped(near, 0, `{"t":0}`)...)
				s := start(t, e, yaml)
				for i := range 40 {
					kafkatest.Produce(t, e, stamped(far, 0, fmt.Sprintf(`{"t":%d}`, i*1000))...)
					time.Sleep(time.Second) // virtual
				}
				got := emitted(t, e, out)
				require.Equal(t, 1, got[near+"/0"])
				require.InDelta(t, 12, got[far+"/0"], 1, "a look around may come a little later")
				kafkatest.Produce(t, e, stamped(near, 0, `{"t":20000}`)...)
				time.Sleep(5 * time.Second) // virtual
				require.Greater(t, emitted(t, e, out)[far+"/0"], 30, "it goes on when the other has come nearer")
				kafkatest.Produce(t, e, stamped(near, 0, `{"t":40000}`)...)
				time.Sleep(5 * time.Second) // virtual
				require.Equal(t, map[string]int{near + "/0": 3, far + "/0": 40}, emitted(t, e, out))
				require.NoError(t, s.stop())
			})
		})
	}
}

// Two clusters have the same topics, with the same partitions, and names that begin alike.
func TestAL03_OnlyThePartitionThatIsAheadStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := kafkatest.Virtual(t), kafkatest.Virtual(t, kfake.Ports(9192))
		e := clusters{one, two}
		for _, c := range []kafkatest.Endpoint{one, two} {
			kafkatest.CreateTopic(t, c, "a", 2)
			kafkatest.CreateTopic(t, c, "a-topic", 2)
		}
		out := kafkatest.Topic(t, one, 1)
		yaml := merged("seed_brokers: $SEEDS, topics: [ a, a-topic ]",
			fmt.Sprintf("seed_brokers: [ %q ], topics: [ a, a-topic ]", strings.Join(two.Seeds(), ",")), out, drifting)
		// The message says which cluster it is of.
		yaml = strings.Replace(yaml, "root = @kafka_topic", "root = this.c + \":\" + @kafka_topic", 1)
		s := start(t, e, yaml)
		for i := range 30 {
			for c, cluster := range []kafkatest.Endpoint{one, two} {
				for _, topic := range []string{"a", "a-topic"} {
					for p := range int32(2) {
						at := i * 100
						if c == 1 && topic == "a" && p == 1 {
							at += 3_600_000
						}
						kafkatest.Produce(t, cluster, stamped(topic, p, fmt.Sprintf(`{"t":%d,"c":"%d"}`, at, c))...)
					}
				}
			}
			time.Sleep(time.Second) // virtual
		}
		got := emitted(t, e, out)
		require.LessOrEqual(t, got["1:a/1"], 3, "this one is ahead")
		delete(got, "1:a/1")
		require.Equal(t, map[string]int{
			"0:a/0": 30, "0:a/1": 30, "0:a-topic/0": 30, "0:a-topic/1": 30, "1:a/0": 30, "1:a-topic/0": 30, "1:a-topic/1": 30,
		}, got)
		require.NoError(t, s.stop())
	})
}

// A partition that is ahead and has been read to its end does not wait, nor does anybody
// wait for one that has finished; and the run ends.
func TestAL02_APartitionThatHasFinishedIsLeftAlone(t *testing.T) {
	for name, values := range map[string][][]string{
		"the fast one finishes first": {{`{"t":3600000}`}, {`{"t":0}`, `{"t":1}`, `{"t":2}`}},
		"the slow one finishes first": {{`{"t":3600000}`, `{"t":3600001}`, `{"t":7200000}`}, {`{"t":0}`}},
		"one is empty":                {{`{"t":0}`, `{"t":3600000}`, `{"t":7200000}`}, nil},
		"both are held by turns":      {{`{"t":0}`, `{"t":30000}`, `{"t":50000}`}, {`{"t":20000}`, `{"t":40000}`, `{"t":60000}`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				want := 0
				for p, vs := range values {
					want += len(vs)
					if len(vs) > 0 {
						kafkatest.Produce(t, e, stamped(in, int32(p), vs...)...)
					}
				}
				yaml := timed(in, out, drifting+"\n    - sleep: { duration: 1s }")
				s := start(t, e, strings.Replace(yaml, "start_from: earliest", "start_from: earliest\n    stop_at: latest\n    max_batch_records: 1", 1))
				s.ended()
				ends := kafkatest.Ends(t, e, out)
				require.EqualValues(t, want, ends[0]+ends[1])
				require.Empty(t, s.said("level=ERROR"))
			})
		})
	}
}

// The topic of a partition that waits is deleted, and made anew: the stream goes on.
func TestAL02_APartitionThatIsRemovedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		far, near := topics(t, e, 1)
		out := kafkatest.Topic(t, e, 1)
		// An input each: a fake cluster answers fetches for a deleted topic beside another without end.
		yaml := merged("seed_brokers: $SEEDS, consumer_group: g, discovery_interval: 1s, topics: [ "+far+" ]",
			"seed_brokers: $SEEDS, consumer_group: h, topics: [ "+near+" ]", out, drifting)
		s := start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(near, 0, `{"t":0}`)...)
		for i := range 5 {
			kafkatest.Produce(t, e, stamped(far, 0, fmt.Sprintf(`{"t":%d}`, 3_600_000+i))...)
			time.Sleep(time.Second) // virtual
		}
		require.Less(t, emitted(t, e, out)[far+"/0"], 3, "the far one waits")
		kafkatest.DeleteTopic(t, e, far)
		for i := range 30 {
			kafkatest.Produce(t, e, stamped(near, 0, fmt.Sprintf(`{"t":%d}`, i*1000))...)
			time.Sleep(time.Second) // virtual
		}
		require.Equal(t, 31, emitted(t, e, out)[near+"/0"], "the near one goes on")
		require.Empty(t, s.said("level=ERROR"))
		require.NoError(t, s.stop())
	})
}

// A partition that waits is taken over by another member of the group, which has nothing
// to compare it with.
func TestAL02_APartitionThatIsTakenOverIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := timed(in, out, drifting)
		first := start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":0}`)...)
		for i := range 5 {
			kafkatest.Produce(t, e, stamped(in, 1, fmt.Sprintf(`{"t":%d}`, 3_600_000+i))...)
			time.Sleep(time.Second) // virtual
		}
		require.Less(t, kafkatest.Ends(t, e, out)[1], int64(3), "the far one waits")
		second := start(t, e, yaml)
		kafkatest.Eventually(t, 2*time.Minute, "it was taken over", func() bool { return kafkatest.Ends(t, e, out)[1] == 5 })
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":1}`)...)
		kafkatest.Eventually(t, patience, "the near one goes on", func() bool { return kafkatest.Ends(t, e, out)[0] == 2 })
		for _, s := range []*stream{first, second} {
			require.Empty(t, s.said("level=ERROR"))
			require.NoError(t, s.stop())
		}
	})
}
