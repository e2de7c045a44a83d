package behaviour

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// stored are the forms in which positions are in the store's topic.
func stored(store string) map[string]string {
	return map[string]string{
		"partitions": inPartition(store),
		"group":      inPartition(store) + "\n    consumer_group: g\n    session_timeout: 10s",
	}
}

// A commit is lost on its way, or its answer is: the store says which, if the client cannot
// find out in time by asking again.
func TestTX04_WithAStoreACommitThatIsNotHeardOfIsLookedUp(t *testing.T) {
	store := kafkatest.Unique(t)
	for form, more := range stored(store) {
		for name, done := range map[string]bool{"committed": true, "not committed": false} {
			for _, silence := range []time.Duration{0, 2 * time.Minute} {
				t.Run(fmt.Sprintf("%s, %s, for %v", form, name, silence), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testNotHeardOf(t, store, more, done, silence) })
				})
			}
		}
	}
}

// testNotHeardOf runs in a bubble.
func testNotHeardOf(t *testing.T, store, more string, done bool, silence time.Duration) {
	e := kafkatest.Virtual(t)
	in, out := topics(t, e, 2)
	p := kafkatest.NewProxy(t, e)
	s := startIn(t, environment(t, e), p, copyYAML(in, out, "", more)+patient)
	kafkatest.Fill(t, e, in, 50)
	awaitNumbers(t, e, out, both(50))
	hang := p.HoldRequests
	if done {
		hang = p.HoldAnswers
	}
	hold := hang(kmsg.EndTxn)
	kafkatest.Fill(t, e, in, 50)
	hold.Await(t, 1, patience)
	want := both(50)
	if done {
		want = both(100)
	}
	require.Equal(t, want, numbers(t, e, out))
	time.Sleep(silence) // virtual
	require.Equal(t, silence > 0, len(s.said("Going back to checkpoint")) > 0, "it gives up asking")
	hold.Drop()
	awaitNumbers(t, e, out, both(100))
	kafkatest.Fill(t, e, in, 50)
	awaitNumbers(t, e, out, both(150))
	require.NoError(t, s.stop())
	require.Equal(t, both(150), numbers(t, e, out))
	settled(t, e, out, store)
}

// Nothing that is read leads to a result. Positions move all the same, to the record, and no
// transaction stays open.
func TestExactlyOnceEpochsWithoutResultsMovePositions(t *testing.T) {
	const drops = "pipeline:\n  processors:\n    - mapping: root = deleted()\n"
	store := kafkatest.Unique(t)
	forms := stored(store)
	forms["group without a store"] = "consumer_group: g\n    session_timeout: 10s\n    checkpoint: { interval: 1s }"
	for form, more := range forms {
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				yaml := copyYAML(in, out, "", more) + patient
				p := kafkatest.NewProxy(t, e)
				s := startIn(t, environment(t, e), p, yaml+drops)
				for range 10 {
					kafkatest.Fill(t, e, in, 7)
					time.Sleep(700 * time.Millisecond) // virtual
				}
				time.Sleep(5 * time.Second) // virtual
				require.Empty(t, openTransactions(t, e))
				require.Zero(t, kafkatest.Ends(t, e, out)[0])
				if form != "partitions" {
					require.NoError(t, covered(e, in, 70))
				}
				p.Down() // What is committed is where the next one goes on.
				_ = s.stop()
				s = start(t, e, yaml)
				kafkatest.Fill(t, e, in, 5)
				awaitNumbers(t, e, out, map[int32][]int64{0: span(70, 75), 1: span(70, 75)})
				require.NoError(t, s.stop())
				require.Empty(t, openTransactions(t, e))
			})
		})
	}
}

// Brokers are away for longer than a transaction may last.
func TestTX14_WithAStoreAnOutageLongerThanTheTransactionMayLastIsRiddenOut(t *testing.T) {
	store := kafkatest.Unique(t)
	for form, more := range stored(store) {
		for name, key := range map[string]kmsg.Key{"commit": kmsg.EndTxn, "records": kmsg.Produce} {
			t.Run(form+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					p := kafkatest.NewProxy(t, e)
					s := startIn(t, environment(t, e), p, copyYAML(in, out, "", more)+exactly)
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(50))
					hold := p.HoldRequests(key)
					kafkatest.Fill(t, e, in, 50)
					hold.Await(t, 1, patience)
					p.Down()
					hold.Drop()
					time.Sleep(3 * time.Minute) // virtual
					require.Equal(t, both(50), numbers(t, e, out))
					p.Up()
					time.Sleep(time.Minute) // virtual
					awaitNumbers(t, e, out, both(100))
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(150))
					require.NoError(t, s.stop())
					require.NotContains(t, s.logs.String(), "Stream stopped for good")
					require.Equal(t, both(150), numbers(t, e, out))
					settled(t, e, out, store)
				})
			})
		}
	}
}

// Of two shards one stands still until brokers give its transaction up, and another process
// takes over from the other one. The first goes on, the other one stops and says why.
func TestTX15_WithAStoreTimedOutGoesOnAndFencedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out, _ := sharded(t, e, 4)
		store := kafkatest.Unique(t)
		yaml := func(i int) string {
			return copyYAML(in, out, "", inTopic(store)+shard(i, 2)) + exactly + "    transaction_timeout: 40s\n"
		}
		var streams []*stream
		var proxies []*kafkatest.Proxy
		var holds []*kafkatest.Hold
		for i := range 2 {
			p := kafkatest.NewProxy(t, e)
			proxies = append(proxies, p)
			streams = append(streams, startIn(t, environment(t, e), p, yaml(i)))
			kafkatest.Eventually(t, patience, "it runs", func() bool { return len(streams[i].said("Input type kafka_checkpointed is now active")) > 0 })
			holds = append(holds, p.HoldRequests(kmsg.EndTxn))
		}
		kafkatest.Fill(t, e, in, 20)
		for _, h := range holds {
			h.Await(t, 1, patience)
		}
		proxies[0].Down()
		twin := start(t, e, yaml(1))
		time.Sleep(time.Minute) // virtual: longer than transactions may last
		settled(t, e, out, store)
		proxies[0].Up()
		for _, h := range holds {
			h.Release()
		}
		awaitNumbers(t, e, out, allOf(4, 20))
		kafkatest.Eventually(t, time.Minute, "the fenced one stops", func() bool { return len(streams[1].said("Stream stopped for good")) == 1 })
		require.Contains(t, streams[1].logs.String(), "two processes are configured to read it")
		kafkatest.Fill(t, e, in, 20)
		awaitNumbers(t, e, out, allOf(4, 40))
		require.Empty(t, streams[0].said("Stream stopped for good"))
		require.NotEmpty(t, streams[0].said("Going back to checkpoint"))
		require.NoError(t, streams[0].stop())
		require.NoError(t, twin.stop())
		require.Equal(t, allOf(4, 40), numbers(t, e, out))
		settled(t, e, out, store)
	})
}

// What a process had open in the store's partition itself does not hold the next one up.
func TestExactlyOnceATakeoverDoesNotWaitForWhatItsPredecessorLeftOpen(t *testing.T) {
	store := kafkatest.Unique(t)
	forms := stored(store)
	forms["group, member with a name"] = forms["group"] + "\n    instance_id: one"
	for form, more := range forms {
		t.Run(form, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				yaml := copyYAML(in, out, "", more) + patient
				written := int64(0)
				for range 3 {
					p := kafkatest.NewProxy(t, e)
					s := startIn(t, environment(t, e), p, yaml)
					kafkatest.Fill(t, e, in, 20)
					written += 20
					began := time.Now()
					awaitNumbers(t, e, out, both(written))
					require.Less(t, time.Since(began), 25*time.Second)
					hold := p.HoldRequests(kmsg.EndTxn)
					kafkatest.Fill(t, e, in, 20)
					written += 20
					hold.Await(t, 1, patience)
					p.Down()
					hold.Drop()
					_ = s.stop()
				}
				s := start(t, e, yaml)
				awaitNumbers(t, e, out, both(written))
				require.NoError(t, s.stop())
				settled(t, e, out, store)
			})
		})
	}
}

// Results of a key stay in the order of its records, whoever writes them.
func TestExactlyOnceKeepsTheOrderOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := kafkatest.Topic(t, e, 6), kafkatest.Topic(t, e, 5)
		yaml := fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    consumer_group: g
    session_timeout: 10s
    max_batch_records: 5
    checkpoint: { interval: 500ms }
pipeline: { threads: 4 }
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    key: ${! @kafka_key }
`, in, out) + patient
		var streams []*stream
		var proxies []*kafkatest.Proxy
		join := func() {
			p := kafkatest.NewProxy(t, e)
			p.Delay(300*time.Millisecond, kmsg.EndTxn) // Much is held back meanwhile.
			proxies = append(proxies, p)
			streams = append(streams, startIn(t, environment(t, e), p, yaml))
		}
		written := int64(0)
		feed := func() {
			for range 8 {
				kafkatest.Fill(t, e, in, 20)
				written += 20
				time.Sleep(400 * time.Millisecond) // virtual
			}
		}
		join()
		feed()
		join()
		join()
		feed()
		joined(t, e, 3)
		feed()
		proxies[1].Down()
		feed()
		joined(t, e, 2)
		feed()
		kafkatest.Until(t, time.Minute, func() error { return covered(e, in, written) })
		require.NoError(t, streams[0].stop())
		require.NoError(t, streams[2].stop())
		of := map[string][]int64{}
		for _, rs := range kafkatest.ReadCommitted(t, e, out) {
			for _, r := range rs {
				_, n := kafkatest.Number(t, r)
				of[string(r.Key)] = append(of[string(r.Key)], n)
			}
		}
		require.Len(t, of, 60)
		for key, got := range of {
			var p, first, want = 0, int64(0), []int64{}
			_, err := fmt.Sscanf(key, "%d-%d", &p, &first)
			require.NoError(t, err)
			for n := first; n < written; n += 10 {
				want = append(want, n)
			}
			require.Equal(t, want, got, key)
		}
		require.Empty(t, openTransactions(t, e))
	})
}
