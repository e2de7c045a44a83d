package behaviour

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// sumsYAML sums up the clicks of each user in windows of a second, exactly once, with state
// in a topic.
func sumsYAML(in, out, store, more string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
    session_timeout: 10s
    checkpoint: { job: w, interval: 500ms, store: { topic: %s, partitions: 4 } }
    %s
  processors:
    - watermark_periodic: { timestamp: this.t, max_out_of_orderness: 1s, idle_timeout: 0s }
buffer:
  event_time_window:
    type: tumbling
    size: 1s
    key: this.u
    aggregate: { n: { count: {} }, sum: { sum: this.v } }
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    delivery: exactly_once
`, in, store, more, out)
}

// sums are the results that clicks lead to, as "user count sum", sorted.
func sums(all [][]click) []string {
	type window struct {
		user string
		at   int64
	}
	n, sum := map[window]int{}, map[window]int64{}
	for _, cs := range all {
		for _, c := range cs {
			w := window{c.U, c.T / 1000}
			n[w]++
			sum[w] += c.V
		}
	}
	var results []string
	for w := range n {
		results = append(results, fmt.Sprintf("%s %d %d", w.user, n[w], sum[w]))
	}
	slices.Sort(results)
	return results
}

// summed reads results as sums has them. The key of a result is its user; the one that
// closes the others is left out.
func summed(t *testing.T, e kafkatest.Endpoint, topic string) []string {
	t.Helper()
	var results []string
	for _, rs := range kafkatest.ReadCommitted(t, e, topic) {
		for _, r := range rs {
			var got struct{ N, Sum int64 }
			require.NoError(t, json.Unmarshal(r.Value, &got))
			results = append(results, fmt.Sprintf("%s %d %d", r.Key, got.N, got.Sum))
		}
	}
	slices.Sort(results)
	return results
}

// State moves along with its partition: from one process to three, which die, and to two.
func TestStateMovesWithPartitionsOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		const partitions, each = 6, 120
		in, out := topics(t, e, partitions)
		yaml := sumsYAML(in, out, kafkatest.Unique(t), "consumer_group: g")
		all := clicks(kafkatest.Random(t), partitions, 3*each, false)
		env := environment(t, e)
		feed := func(third int) {
			for i := range each {
				var rs []*kgo.Record
				for p, cs := range all {
					c := cs[third*each+i]
					rs = append(rs, &kgo.Record{Topic: in, Partition: int32(p), Value: []byte(c.json())})
				}
				kafkatest.Produce(t, e, rs...)
				time.Sleep(20 * time.Millisecond) // virtual
			}
		}
		var streams []*stream
		var proxies []*kafkatest.Proxy
		join := func(n int) {
			for range n {
				p := kafkatest.NewProxy(t, e)
				proxies = append(proxies, p)
				streams = append(streams, startIn(t, env, p, yaml))
			}
		}
		join(1)
		feed(0)
		join(2) // partitions move in good order
		feed(1)
		proxies[0].Down() // and without a word
		proxies[1].Down()
		join(1)
		feed(2)
		for p := range partitions {
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: int32(p), Value: []byte(click{T: 3_600_000, U: "end"}.json())})
		}
		want := sums(all)
		kafkatest.Until(t, 2*time.Minute, func() error {
			if got := summed(t, e, out); len(got) < len(want) {
				return fmt.Errorf("%d of %d results", len(got), len(want))
			}
			return nil
		})
		require.Equal(t, want, summed(t, e, out))
		for i := range 2 {
			_ = streams[i].stop()
		}
		require.NoError(t, streams[2].stop())
		require.NoError(t, streams[3].stop())
		require.Equal(t, want, summed(t, e, out))
		require.Empty(t, openTransactions(t, e))
	})
}

// A member stands still while another one takes its partition, fires a window of it and
// leaves. Then it is given the partition again while it goes back to its last checkpoint:
// what it remembers of the window must not lead to a second result.
func TestExactlyOnceWindowsOfAPartitionThatComesBackAreNotThoseOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		store := kafkatest.Unique(t)
		yaml := strings.Replace(sumsYAML(in, out, store, "consumer_group: g"), "key: this.u", "key: this.u\n    late: drop", 1)
		env := environment(t, e)
		feed := func(cs ...click) {
			for _, c := range cs {
				kafkatest.Produce(t, e, &kgo.Record{Topic: in, Value: []byte(c.json())})
			}
		}
		results := func(want ...string) {
			t.Helper()
			kafkatest.Until(t, patience, func() error {
				if got := summed(t, e, out); !slices.Equal(got, want) {
					return fmt.Errorf("results are %q, not %q", got, want)
				}
				return nil
			})
		}
		p := kafkatest.NewProxy(t, e)
		frozen := startIn(t, env, p, yaml)
		feed(click{T: 100, U: "a", V: 1})
		time.Sleep(5 * time.Second) // virtual: the window is in a checkpoint
		end := p.HoldRequests(kmsg.EndTxn)
		feed(click{T: 200, U: "a", V: 2})
		end.Await(t, 1, patience)
		silence := p.HoldRequests(everyKey()...)
		other := startIn(t, env, e, yaml)
		feed(click{T: 5000, U: "b", V: 4})
		results("a 2 3")
		require.NoError(t, other.stop())
		claim := p.HoldRequests(kmsg.EndTxn)
		silence.Release()
		end.Release()
		claim.Await(t, 1, patience)
		time.Sleep(2 * time.Second) // virtual: event times are looked at meanwhile
		claim.Release()
		feed(click{T: 300, U: "a", V: 8}, click{T: 9000, U: "c", V: 16})
		results("a 2 3", "b 1 4")
		require.NoError(t, frozen.stop())
		require.Equal(t, []string{"a 2 3", "b 1 4"}, summed(t, e, out))
		settled(t, e, out, store)
	})
}
