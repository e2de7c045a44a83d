package behaviour

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// patient makes transactions outlast every test, so that none ends by time-out.
const patient = exactly + "    transaction_timeout: 10m\n"

// joined waits until a group has settled with so many members.
func joined(t testing.TB, e *kafkatest.Cluster, members int) {
	t.Helper()
	kafkatest.Until(t, 2*time.Minute, func() error {
		g := e.GroupInfo("g")
		if g == nil || g.State != "Stable" || len(g.Members) != members {
			return fmt.Errorf("the group is %+v", g)
		}
		for _, m := range g.Members {
			if m.NumAssigned() == 0 {
				return fmt.Errorf("%s has nothing", m.MemberID)
			}
		}
		return nil
	})
}

func TestTX06_WhatMembersThatDiedLeftOpenIsEndedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 5)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    checkpoint: { interval: 1m }") + patient
		env := environment(t, e)
		var proxies []*kafkatest.Proxy
		for range 5 {
			p := kafkatest.NewProxy(t, e)
			proxies = append(proxies, p)
			startIn(t, env, p, yaml)
		}
		joined(t, e, 5)
		kafkatest.Fill(t, e, in, 20)
		kafkatest.Eventually(t, patience, "five transactions are open", func() bool { return len(openTransactions(t, e)) == 5 })
		dead := openTransactions(t, e)
		for _, p := range proxies {
			p.Down()
		}
		require.Empty(t, numbers(t, e, out))
		killed := time.Now()
		s := startIn(t, env, e, copyYAML(in, out, "g", "session_timeout: 10s")+patient)
		kafkatest.Eventually(t, time.Minute, "they are ended", func() bool {
			states := transactions(t, e)
			for _, id := range dead {
				if states[id] == "Ongoing" {
					return false
				}
			}
			return true
		})
		require.Less(t, time.Since(killed), 15*time.Second, "as soon as the group has given them up")
		want := map[int32][]int64{}
		for p := range int32(5) {
			want[p] = span(0, 20)
		}
		awaitNumbers(t, e, out, want)
		require.NoError(t, s.stop())
		require.Empty(t, openTransactions(t, e))
		require.Equal(t, want, numbers(t, e, out))
	})
}

// Ids that ours begins with, or that begin with ours, are of other applications.
func TestTX08_TransactionsOfOthersAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		var others []*kgo.Client
		for i, id := range []string{"tidemark", "tidemark-", "tidemark-g", "tidemark-g-", "tidemark-g-o", "tidemark-g-one-2", "tidemark-g2-one"} {
			cl := kafkatest.Client(t, e, kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Minute))
			require.NoError(t, cl.BeginTransaction())
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: out, Value: fmt.Appendf(nil, "9/%d", i)}).FirstErr())
			others = append(others, cl)
		}
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    instance_id: one") + patient
		env := environment(t, e)
		p := kafkatest.NewProxy(t, e)
		startIn(t, env, p, yaml)
		kafkatest.Fill(t, e, in, 20)
		kafkatest.Until(t, patience, func() error { return covered(e, in, 20) })
		hold := p.HoldRequests(kmsg.TxnOffsetCommit)
		kafkatest.Fill(t, e, in, 20)
		hold.Await(t, 1, patience)
		hold.Drop()
		p.Down()
		s := startIn(t, env, e, yaml)
		kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 40) })
		require.NoError(t, s.stop())
		require.Len(t, openTransactions(t, e), len(others))
		for _, cl := range others {
			require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryCommit))
		}
		require.Equal(t, map[int32][]int64{0: span(0, 40), 9: span(0, int64(len(others)))}, numbers(t, e, out))
	})
}

func TestTX09_AnotherIDEndsWhatTheOldOneLeftOpen(t *testing.T) {
	for name, change := range map[string]struct{ was, is [2]string }{
		"prefix":             {[2]string{"", "    transactional_id_prefix: a\n"}, [2]string{"", "    transactional_id_prefix: b\n"}},
		"instance":           {[2]string{"instance_id: one"}, [2]string{"instance_id: two"}},
		"instance set":       {[2]string{""}, [2]string{"instance_id: two"}},
		"instance unset":     {[2]string{"instance_id: one"}, [2]string{""}},
		"prefix, same owner": {[2]string{"instance_id: one", "    transactional_id_prefix: a\n"}, [2]string{"instance_id: one"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				yaml := func(of [2]string) string {
					return copyYAML(in, out, "g", "session_timeout: 10s\n    "+of[0]) + patient + of[1]
				}
				env := environment(t, e)
				p := kafkatest.NewProxy(t, e)
				startIn(t, env, p, yaml(change.was))
				kafkatest.Fill(t, e, in, 20)
				kafkatest.Until(t, patience, func() error { return covered(e, in, 20) })
				hold := p.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, e, in, 20)
				hold.Await(t, 1, patience)
				old := openTransactions(t, e)
				require.Len(t, old, 1)
				hold.Drop()
				p.Down()
				killed := time.Now()
				s := startIn(t, env, e, yaml(change.is))
				kafkatest.Eventually(t, time.Minute, "it is ended", func() bool { return transactions(t, e)[old[0]] != "Ongoing" })
				require.Less(t, time.Since(killed), 15*time.Second, "as soon as the group has given its owner up")
				kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 40) })
				require.NoError(t, s.stop())
				require.Equal(t, both(40), numbers(t, e, out))
				require.Empty(t, openTransactions(t, e))
				require.Len(t, transactions(t, e), 2)
			})
		})
	}
}

func TestTX12_AStopLeavesNothingOpen(t *testing.T) {
	for name, c := range map[string]struct {
		// before the stop, and after it.
		before func(t *testing.T, p *kafkatest.Proxy) *kafkatest.Hold
		clean  bool
	}{
		"in the middle of an epoch": {clean: true},
		"with records under way":    {before: func(_ *testing.T, p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldAnswers(kmsg.Produce) }},
		"with offsets under way":    {before: func(_ *testing.T, p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.OffsetFetch) }, clean: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				p := kafkatest.NewProxy(t, e)
				env, m := measured(t, e)
				yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    checkpoint: { interval: 20s, shutdown_timeout: 3s }") + patient
				s := startIn(t, env, p, yaml+"metrics: { gathered: {} }\n")
				kafkatest.Fill(t, e, in, 20)
				kafkatest.Eventually(t, patience, "a transaction is open", func() bool { return len(openTransactions(t, e)) == 1 })
				if c.before != nil {
					hold := c.before(t, p)
					defer hold.Drop()
					kafkatest.Fill(t, e, in, 20)
					time.Sleep(time.Second) // virtual
				}
				asked := time.Now()
				require.NoError(t, s.stop())
				require.Less(t, time.Since(asked), 8*time.Second)
				kafkatest.Eventually(t, 5*time.Second, "nothing is open", func() bool { return len(openTransactions(t, e)) == 0 })
				errs, _ := m.get("tidemark_producer_errors")
				require.Zero(t, errs, "what the end did to records is no error of theirs")
				if c.clean {
					require.NotContains(t, s.logs.String(), "level=ERROR")
				} else {
					require.Contains(t, s.logs.String(), "final checkpoint failed")
				}
				for part, n := range committed(e, in) {
					require.Equal(t, span(0, n), append([]int64{}, numbers(t, e, out)[part]...))
				}
				p = kafkatest.NewProxy(t, e)
				kafkatest.Fill(t, e, in, 10)
				end := kafkatest.Ends(t, e, in)[0]
				s = startIn(t, env, p, yaml)
				kafkatest.Until(t, time.Minute, func() error { return covered(e, in, end) })
				require.NoError(t, s.stop())
				require.Equal(t, both(end), numbers(t, e, out))
			})
		})
	}
}

func TestTX12_AFatalErrorLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in := kafkatest.Topic(t, e, 2)
		out := kafkatest.Topic(t, e, 2, "max.message.bytes=2000")
		s := start(t, e, copyYAML(in, out, "g", "session_timeout: 10s")+patient)
		kafkatest.Fill(t, e, in, 20)
		kafkatest.Until(t, patience, func() error { return covered(e, in, 20) })
		kafkatest.Fill(t, e, in, 1, func(r *kgo.Record) {
			if r.Partition == 1 {
				r.Headers = []kgo.RecordHeader{{Key: "big", Value: incompressible(3000)}}
			}
		})
		s.ended()
		require.Contains(t, s.logs.String(), "Stream stopped for good")
		require.Contains(t, s.logs.String(), fmt.Sprintf(`topic \"%s\" partition 1 offset 20: `, in), "it names the record")
		require.Empty(t, openTransactions(t, e))
		require.NotContains(t, numbers(t, e, out)[1], int64(20))
	})
}

func TestTX13_ThreeHundredCheckpointsHaveOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "")+exactly)
		cl := kafkatest.Client(t, e)
		var ids, connections int
		for n := range 310 {
			r := &kgo.Record{Topic: in, Value: fmt.Appendf(nil, "0/%d", n)}
			require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
			time.Sleep(time.Second) // virtual: a checkpoint
			if n == 10 {
				ids, connections = p.Count(kmsg.InitProducerID), p.Count(kmsg.ApiVersions)
			}
		}
		require.GreaterOrEqual(t, p.Count(kmsg.EndTxn), 300)
		require.Equal(t, ids, p.Count(kmsg.InitProducerID))
		require.LessOrEqual(t, p.Count(kmsg.ApiVersions)-connections, 4, "connections; one that is idle for long is closed")
		require.Len(t, transactions(t, e), 1)
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{0: span(0, 310)}, numbers(t, e, out))
	})
}

// sampled looks at the offsets that a group has committed, over and over, and returns a
// function that ends that and tells how often one went back.
func sampled(t *testing.T, e *kafkatest.Cluster, in string) (wentBack func() []string) {
	t.Helper()
	var (
		mu   sync.Mutex
		back []string
		done = make(chan struct{})
		over sync.WaitGroup
	)
	over.Go(func() {
		was := map[int32]int64{}
		for {
			for p, at := range committed(e, in) {
				if at < was[p] {
					mu.Lock()
					back = append(back, fmt.Sprintf("%d: from %d to %d", p, was[p], at))
					mu.Unlock()
				}
				was[p] = at
			}
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	var once sync.Once
	end := func() { once.Do(func() { close(done) }); over.Wait() }
	t.Cleanup(end)
	return func() []string {
		end()
		return back
	}
}

// everyKey are all kinds of requests.
func everyKey() (keys []kmsg.Key) {
	for k := kmsg.Key(0); k <= kmsg.MaxKey; k++ {
		keys = append(keys, k)
	}
	return keys
}

// incompressible returns so many bytes that no codec makes fewer.
func incompressible(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// In the topic of the store, what the dead have open holds up whoever reads. Nobody waits for
// it to end by itself: that takes ten minutes here.
func TestATakeoverEndsWhatHoldsItUp(t *testing.T) {
	for name, of := range map[string]struct{ group, more, checkpoint string }{
		"group":               {"g", "\n    session_timeout: 10s", ""},
		"group, offsets here": {"g", "\n    session_timeout: 10s", ", commit_offsets: false"},
		"static":              {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 3)
				store := "checkpoint: { job: j, interval: 1s, store: { topic: " + kafkatest.Unique(t) + ", partitions: 1 }" + of.checkpoint + " }"
				yaml := func(prefix string) string {
					return copyYAML(in, out, of.group, store+of.more) + patient + "    transactional_id_prefix: " + prefix + "\n"
				}
				env := environment(t, e)
				p := kafkatest.NewProxy(t, e)
				s := startIn(t, env, p, yaml("one"))
				kafkatest.Fill(t, e, in, 20)
				awaitNumbers(t, e, out, allOf(3, 20))
				hold := p.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, e, in, 20)
				hold.Await(t, 1, patience)
				hold.Drop()
				p.Down()
				killed := time.Now()
				next := startIn(t, env, e, yaml("two"))
				awaitNumbers(t, e, out, allOf(3, 40))
				require.Less(t, time.Since(killed), 30*time.Second)
				_ = s.stop()
				require.NoError(t, next.stop())
				require.Empty(t, openTransactions(t, e))
			})
		})
	}
}

// What a takeover works on is there for as long as it lasts, also if the stream ends.
func TestAStopInTheMidstOfATakeover(t *testing.T) {
	for _, held := range []kmsg.Key{kmsg.ListOffsets, kmsg.Fetch, kmsg.EndTxn} {
		t.Run(held.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				yaml := copyYAML(in, out, "g", inTopic(kafkatest.Unique(t))+"\n    session_timeout: 10s") + patient
				env := environment(t, e)
				kafkatest.Fill(t, e, in, 20)
				first := startIn(t, env, e, yaml)
				awaitNumbers(t, e, out, allOf(2, 20))
				require.NoError(t, first.stop())
				p := kafkatest.NewProxy(t, e)
				hold := p.HoldRequests(held)
				s := startIn(t, env, p, yaml)
				hold.Await(t, 1, patience)
				go func() {
					time.Sleep(time.Second) // virtual: the stop is under way
					hold.Release()
				}()
				asked := time.Now()
				_ = s.stop()
				require.Less(t, time.Since(asked), 30*time.Second)
				kafkatest.Fill(t, e, in, 20)
				next := startIn(t, env, e, yaml)
				awaitNumbers(t, e, out, allOf(2, 40))
				require.NoError(t, next.stop())
			})
		})
	}
}
