package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// prefix makes an exactly-once output have transactional ids that begin so.
func prefix(p string) string { return patient + "    transactional_id_prefix: " + p + "\n" }

// settled checks that no transaction holds anything in topics back. Whoever was fenced may
// have an empty one open, on a cluster that is not quite Kafka.
func settled(t testing.TB, e kafkatest.Endpoint, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		require.Equal(t, kafkatest.Ends(t, e, topic), kafkatest.StableEnds(t, e, topic))
	}
}

// Two processes that are configured to read the same partitions claim them at the same time.
// The claims of both are on their way before either is there.
func TestExactlyOnceOneOfTwoThatClaimAtOnceOwns(t *testing.T) {
	for name, prefixes := range map[string][2]string{"one id": {"a", "a"}, "two ids": {"a", "b"}} {
		for order, first := range map[string]int{"": 0, ", the second one first": 1} {
			t.Run(name+order, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					store := kafkatest.Unique(t)
					input := copyYAML(in, out, "", inTopic(store))
					var streams []*stream
					var claims []*kafkatest.Hold
					for _, p := range prefixes {
						proxy := kafkatest.NewProxy(t, e)
						claims = append(claims, proxy.HoldRequests(kmsg.Produce))
						streams = append(streams, startIn(t, environment(t, e), proxy, input+prefix(p)))
					}
					for _, c := range claims {
						c.Await(t, 1, patience)
					}
					kafkatest.Fill(t, e, in, 50)
					claims[first].Release()
					claims[1-first].Release()
					awaitNumbers(t, e, out, both(50))
					stopped := func() (n int) {
						for _, s := range streams {
							n += len(s.said("Stream stopped for good"))
						}
						return n
					}
					written := int64(50)
					for range 60 { // Whoever has nothing to write does not notice.
						kafkatest.Fill(t, e, in, 1)
						written++
						time.Sleep(time.Second) // virtual
					}
					require.Equal(t, 1, stopped())
					awaitNumbers(t, e, out, both(written))
					for _, s := range streams {
						if len(s.said("Stream stopped for good")) > 0 {
							require.Contains(t, s.logs.String(), "two processes are configured to read it")
							continue
						}
						require.NoError(t, s.stop())
					}
					require.Equal(t, both(written), numbers(t, e, out))
					settled(t, e, out, store)
				})
			})
		}
	}
}

// The group gives up a member whose claim is on its way, to a cluster where no generation
// fences. The next owner's is on its way at the same time, and either may come first.
func TestExactlyOnceOneOfTwoMembersThatClaimAtOnceOwns(t *testing.T) {
	for name, lateFirst := range map[string]bool{"the first owner's first": true, "the next owner's first": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := two(t)
				in, out, store := kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3), kafkatest.Unique(t)
				yaml := copyYAML(in, out, "g", inTopic(store)+"\n    session_timeout: 6s\n    heartbeat_interval: 1s") + patient
				kafkatest.Fill(t, from, in, 20)
				// Its claims hang, and then all that it says.
				first := crossHeld(t, from, to, yaml)
				first.claim.Await(t, 1, patience)
				silence := first.from.HoldRequests(everyKey()...)
				next := crossHeld(t, from, to, yaml)
				next.claim.Await(t, 1, patience)
				if lateFirst {
					first.claim.Release()
					time.Sleep(3 * time.Second) // virtual
					next.claim.Release()
				} else {
					next.claim.Release()
					time.Sleep(3 * time.Second) // virtual
					first.claim.Release()
				}
				kafkatest.Fill(t, from, in, 20)
				awaitNumbers(t, to, out, allOf(3, 40))
				time.Sleep(10 * time.Second) // virtual
				silence.Release()
				joined(t, from, 2)
				kafkatest.Fill(t, from, in, 20)
				awaitNumbers(t, to, out, allOf(3, 60))
				require.NoError(t, first.stop())
				kafkatest.Fill(t, from, in, 20)
				awaitNumbers(t, to, out, allOf(3, 80))
				require.NoError(t, next.stop())
				require.Equal(t, allOf(3, 80), numbers(t, to, out))
				settled(t, to, out, store)
			})
		})
	}
}

// A member dies before it has committed anything of the partitions that it has just been
// given. Whoever gets them back knows from its claims that it had them.
func TestExactlyOnceAMemberThatDiesBeforeItsFirstCommitIsNotWaitedFor(t *testing.T) {
	for name, store := range map[string]bool{"store": true, "no store": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 4)
				more := "checkpoint: { job: j, interval: 1s }"
				if store {
					more = inPartition(kafkatest.Unique(t))
				}
				yaml := copyYAML(in, out, "g", more+"\n    session_timeout: 6s\n    heartbeat_interval: 1s")
				env := environment(t, e)
				first := startIn(t, env, e, yaml+prefix("one"))
				kafkatest.Fill(t, e, in, 20)
				awaitNumbers(t, e, out, allOf(4, 20))
				p := kafkatest.NewProxy(t, e)
				startIn(t, env, p, yaml+prefix("two"))
				joined(t, e, 2)
				time.Sleep(5 * time.Second) // virtual: it has claimed what it got
				hold := p.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, e, in, 20)
				hold.Await(t, 1, patience)
				hold.Drop()
				p.Down()
				died := time.Now()
				awaitNumbers(t, e, out, allOf(4, 40))
				require.Less(t, time.Since(died), 20*time.Second)
				require.NoError(t, first.stop())
				require.Equal(t, allOf(4, 40), numbers(t, e, out))
				settled(t, e, out)
			})
		})
	}
}

// A member dies while its very first transaction is about to be committed, the one that claims
// what it was given, offsets and all. Where the client finds out where it may start, it would
// be waited for until its transaction times out.
func TestExactlyOnceAMemberThatDiesInItsClaimsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		yaml := copyYAML(in, out, "g", inPartition(kafkatest.Unique(t))+"\n    session_timeout: 6s\n    heartbeat_interval: 1s")
		env := environment(t, e)
		first := startIn(t, env, e, yaml+prefix("one"))
		kafkatest.Fill(t, e, in, 20)
		awaitNumbers(t, e, out, allOf(4, 20))
		p := kafkatest.NewProxy(t, e)
		hold := p.HoldRequests(kmsg.EndTxn)
		startIn(t, env, p, yaml+prefix("two"))
		hold.Await(t, 1, patience)
		hold.Drop()
		p.Down()
		died := time.Now()
		kafkatest.Fill(t, e, in, 20)
		awaitNumbers(t, e, out, allOf(4, 40))
		require.Less(t, time.Since(died), 20*time.Second)
		require.NoError(t, first.stop())
		require.Equal(t, allOf(4, 40), numbers(t, e, out))
		settled(t, e, out)
	})
}

// The group forgets all its members at once, and they come back as others. To each, whoever
// had its partitions seems to be gone for good: they end each other's transactions, which is
// no failure of theirs to wait after.
func TestExactlyOnceMembersThatAreEvictedGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		yaml := copyYAML(in, out, "g", inPartition(kafkatest.Unique(t))+"\n    session_timeout: 6s\n    heartbeat_interval: 1s")
		env := environment(t, e)
		first, second := startIn(t, env, e, yaml+prefix("one")), startIn(t, env, e, yaml+prefix("two"))
		admin := kafkatest.Client(t, e)
		written := int64(0)
		more := func() {
			kafkatest.Fill(t, e, in, 20)
			written += 20
			awaitNumbers(t, e, out, allOf(4, written))
		}
		for range 8 {
			joined(t, e, 2)
			more()
			for _, m := range e.GroupInfo("g").Members {
				require.NoError(t, kafka.LeaveGroup(t.Context(), admin, kafka.GroupCommit{Group: "g", Member: m.MemberID}))
			}
			more()
		}
		for _, s := range []*stream{first, second} {
			require.NoError(t, s.stop())
			back := waited.FindAllStringSubmatch(s.logs.String(), -1)
			require.NotEmpty(t, back)
			for _, m := range back {
				require.Equal(t, "0s", m[1], "that the group put it out is no failure")
			}
		}
		require.Equal(t, allOf(4, written), numbers(t, e, out))
	})
}
