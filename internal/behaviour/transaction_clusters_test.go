package behaviour

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// several dials whichever cluster has an address.
type several struct {
	kafkatest.Endpoint
	of []dialer
}

func (s several) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var errs []error
	for _, d := range s.of {
		conn, err := d.Dial(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// two are the clusters that are read and written in a bubble.
func two(t testing.TB) (from, to *kafkatest.Cluster) {
	t.Helper()
	return kafkatest.Virtual(t), kafkatest.Virtual(t, kfake.Ports(9192), kfake.ClusterID("other"))
}

// crossing is a process that reads on one cluster and writes on another, a proxy before
// each.
type crossing struct {
	*stream
	from, to *kafkatest.Proxy
	// claim is what holds its first records, which are claims, where that was asked for.
	claim *kafkatest.Hold
}

// cross starts a stream whose input is on one cluster and whose output is on another.
func cross(t testing.TB, from, to *kafkatest.Cluster, yaml string) crossing {
	t.Helper()
	c := crossing{from: kafkatest.NewProxy(t, from), to: kafkatest.NewProxy(t, to)}
	c.start(t, from, to, yaml)
	return c
}

// crossHeld is cross with all records held from the start.
func crossHeld(t testing.TB, from, to *kafkatest.Cluster, yaml string) crossing {
	t.Helper()
	c := crossing{from: kafkatest.NewProxy(t, from), to: kafkatest.NewProxy(t, to)}
	c.claim = c.to.HoldRequests(kmsg.Produce)
	c.start(t, from, to, yaml)
	return c
}

func (c *crossing) start(t testing.TB, from, to *kafkatest.Cluster, yaml string) {
	t.Helper()
	c.stream = startIn(t, environment(t, several{from, []dialer{from, to}}), from, between(yaml, c.from, c.to))
}

// between makes a configuration read from one cluster and write to another.
func between(yaml string, from, to kafkatest.Endpoint) string {
	head, tail, _ := strings.Cut(yaml, "output:")
	seeds := func(text string, e kafkatest.Endpoint) string {
		return strings.ReplaceAll(text, "$SEEDS", fmt.Sprintf("[%q]", strings.Join(e.Seeds(), ",")))
	}
	return seeds(head, from) + "output:" + seeds(tail, to)
}

// What is read on one cluster is written exactly once on another: positions are in the
// store's topic, beside the results.
func TestExactlyOnceFromOneClusterToAnother(t *testing.T) {
	for name, more := range map[string]string{"static": "assignment: static", "group": "consumer_group: g\n    session_timeout: 10s"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := two(t)
				in, out := kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3)
				yaml := copyYAML(in, out, "", inTopic(kafkatest.Unique(t))+"\n    "+more) + exactly
				written := int64(0)
				all := func() map[int32][]int64 {
					return map[int32][]int64{0: span(0, written), 1: span(0, written), 2: span(0, written)}
				}
				for round := range 4 {
					s := cross(t, from, to, yaml)
					kafkatest.Fill(t, from, in, 50)
					written += 50
					awaitNumbers(t, to, out, all())
					if round == 3 {
						require.NoError(t, s.stop())
						break
					}
					written += fillUntilOpen(t, from, in, to, 1)
					s.to.Down()
					_ = s.stop()
				}
				require.Equal(t, all(), numbers(t, to, out))
				require.Empty(t, openTransactions(t, to))
			})
		})
	}
}

// Whoever takes a partition over ends the transactions of those who had it before, who may be
// well and have others. However often that happens, these are not held up for longer.
func TestMembersThatAreFencedByTheirNeighboursGoOnSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := kafkatest.Virtual(t), kafkatest.Virtual(t, kfake.Ports(9192), kfake.ClusterID("other"))
		in, out := kafkatest.Topic(t, from, 1), kafkatest.Topic(t, to, 1)
		yaml := copyYAML(in, out, "g", inTopic(kafkatest.Unique(t))+"\n    instance_id: one") + exactly
		s := startIn(t, environment(t, several{from, []dialer{from, to}}), from, between(yaml, from, to))
		written := int64(0)
		for range 8 {
			written += fillUntilOpen(t, from, in, to, 1)
			fenced := time.Now()
			require.NoError(t, kafka.Fence(t.Context(), kafkatest.Client(t, to), openTransactions(t, to)[0]))
			awaitNumbers(t, to, out, map[int32][]int64{0: span(0, written)})
			require.Less(t, time.Since(fenced), 10*time.Second)
		}
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{0: span(0, written)}, numbers(t, to, out))
	})
}

// Nobody committed offsets, so who was a member does not show there. Whoever has a partition
// ends what the one before left open, and what somebody is doing who does not have it any more.
func TestExactlyOnceATakeoverBetweenClustersEndsWhatHoldsItUp(t *testing.T) {
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprint("commit_offsets ", committed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := two(t)
				in, out := kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3)
				store := "checkpoint: { job: j, interval: 1s, store: { topic: " + kafkatest.Unique(t) + ", partitions: 1 }, commit_offsets: %t }"
				yaml := copyYAML(in, out, "g", fmt.Sprintf(store, committed)+"\n    session_timeout: 10s") + patient
				first := cross(t, from, to, yaml)
				kafkatest.Fill(t, from, in, 20)
				awaitNumbers(t, to, out, allOf(3, 20))
				hold := first.to.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, from, in, 20)
				hold.Await(t, 1, patience)
				frozen := first.from.HoldRequests(everyKey()...) // Its session ends, and it does not know.
				killed := time.Now()
				next := cross(t, from, to, yaml)
				awaitNumbers(t, to, out, allOf(3, 40))
				require.Less(t, time.Since(killed), 30*time.Second)
				hold.Release()
				frozen.Release()
				joined(t, from, 2)
				kafkatest.Fill(t, from, in, 20)
				awaitNumbers(t, to, out, allOf(3, 60))
				require.NoError(t, first.stop())
				require.NoError(t, next.stop())
				require.Equal(t, allOf(3, 60), numbers(t, to, out))
				settled(t, to, out)
			})
		})
	}
}

// A member gives partitions up in good order, and what says so lies behind the open transaction
// of another job. Whoever gets them waits for that, and has no reason to end what the member
// goes on to write.
func TestExactlyOnceAMemberThatGavePartitionsUpIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := two(t)
		store := kafkatest.Unique(t)
		yaml := func(job string) (yaml, in, out string) {
			in, out = kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3)
			return copyYAML(in, out, job, "checkpoint: { job: "+job+", interval: 1s, store: { topic: "+store+", partitions: 1 } }") + patient, in, out
		}
		ours, in, out := yaml("ours")
		theirs, inTheirs, outTheirs := yaml("theirs")
		first, neighbour := cross(t, from, to, ours), cross(t, from, to, theirs)
		kafkatest.Fill(t, from, in, 20)
		kafkatest.Fill(t, from, inTheirs, 20)
		awaitNumbers(t, to, out, allOf(3, 20))
		awaitNumbers(t, to, outTheirs, allOf(3, 20))
		hold := neighbour.to.HoldRequests(kmsg.EndTxn)
		kafkatest.Fill(t, from, inTheirs, 20)
		hold.Await(t, 1, patience)
		next := cross(t, from, to, ours)
		kafkatest.Eventually(t, patience, "it gets partitions", func() bool { return len(from.GroupInfo("ours").Members) == 2 })
		time.Sleep(15 * time.Second) // virtual
		require.Empty(t, next.said("Reading "), "what is committed is not known yet")
		hold.Release()
		kafkatest.Fill(t, from, in, 20)
		awaitNumbers(t, to, out, allOf(3, 40))
		require.NotEmpty(t, next.said("Reading "))
		for _, s := range []crossing{first, neighbour, next} {
			require.Empty(t, s.said("Going back to checkpoint"))
			require.NoError(t, s.stop())
		}
		require.Equal(t, allOf(3, 40), numbers(t, to, out))
		settled(t, to, out, store)
	})
}
