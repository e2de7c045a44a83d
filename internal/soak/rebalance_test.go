package soak_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// handover is what a rebalance may add to the bound on repeats: a checkpoint that
// it interrupts counts as failed, and the next one comes after it.
const handover = 5 * time.Second

// kill -9 while the group goes from one member to three, to two, and back to one:
// nothing is lost, and every partition that changes hands goes on at its committed
// offset.
func TestRebalance(t *testing.T) {
	t.Run("classic", func(t *testing.T) { rebalance(t, "rebalance/classic", 1, "classic") })
	t.Run("consumer", func(t *testing.T) { rebalance(t, "rebalance/consumer", 0.25, "consumer") })
}

func rebalance(t *testing.T, name string, share float64, protocol string) {
	p, v := soak.Begin(t, name, share)
	rig := soak.NewRig(t, kafkatest.Shared(t), soak.Load{Partitions: 6})
	rig.Follow()
	soak.Tidemark(t)
	s := scaleOf(p, v)
	g := &crowd{rig: rig, plan: p, v: v, protocol: protocol, interval: within(p.Random, 700*time.Millisecond, 1200*time.Millisecond)}
	if p.Full {
		// A member has a third of the records, and the kill must hit enough of them.
		g.interval *= 3
	}
	p.Restart()
	rig.Feed(s.rate)
	g.join(1)
	for p.More() && g.round(s.threshold) && !rig.Audit.Red() {
		t.Logf("round %d: %d counted, behind by %v", v.Rounds, v.Counted, rig.Behind())
	}
	g.note(rig.Drain(time.Minute))
	if v.Counted == 0 || p.Full && v.Counted < p.Rounds {
		rig.Audit.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
	}
	v.Extra = map[string]any{"killed_while_rebalancing": g.early, "sessions_that_ran_out": g.expired}
	v.Conclude(t, rig.Audit)
}

// crowd is the living members of a group.
type crowd struct {
	rig      *soak.Rig
	plan     *soak.Plan
	v        *soak.Verdict
	protocol string
	members  []*soak.Child
	interval time.Duration
	early    int
	expired  int
}

// session is short enough to be waited for; of the consumer protocol it is the
// broker's.
const session = 6 * time.Second

func (g *crowd) join(n int) bool {
	for range n {
		g.members = append(g.members, g.rig.Start(soak.Copy{Interval: g.interval, Session: session, Protocol: g.protocol}))
	}
	return g.rig.AwaitCommit(g.members[0], time.Minute)
}

// take removes a random member.
func (g *crowd) take() *soak.Child {
	i := g.plan.Random.IntN(len(g.members))
	c := g.members[i]
	g.members = append(g.members[:i:i], g.members[i+1:]...)
	return c
}

// round adds two members, kills one of the three, and ends another in order.
func (g *crowd) round(threshold int64) bool {
	random, end := g.plan.Random, func() {}
	if !g.join(2) {
		return false
	}
	if placed := g.v.Rounds%5 == 2; !placed && random.IntN(4) == 0 {
		// In the middle of it, whatever state that is.
		g.early++
		time.Sleep(within(random, 0, 2*time.Second))
	} else {
		if !g.rig.AwaitMembers(3, time.Minute) || !g.rig.AwaitCommit(g.members[0], time.Minute) {
			return false
		}
		time.Sleep(within(random, g.interval/2, g.interval))
		if placed {
			// Between flush and commit, of all members at once.
			hold := g.rig.Proxy.HoldRequests(kmsg.OffsetCommit)
			g.rig.Await(20*time.Second, "commits of three members", func() bool { return hold.Held() >= 3 })
			g.v.KillsBetween++
			end = hold.Drop
		}
	}
	victim := g.take()
	g.rig.Crash(victim)
	end()
	g.rig.CatchUp()
	delivered := g.rig.Audit.Next()
	if random.IntN(5) == 0 {
		g.expired++ // The group finds out by itself.
	} else {
		g.rig.Evict(victim)
	}
	if !g.rig.AwaitMembers(2, time.Minute) || !g.rig.AwaitCommitted(delivered, time.Minute) {
		return false
	}
	g.rig.CatchUp()
	repeats := g.note(g.rig.Audit.Settle())
	g.v.Rounds++
	g.v.Kills++
	if repeats > 0 {
		g.v.KillsInFlight++
	}
	if repeats >= threshold {
		g.v.Counted++
	}
	return g.leave()
}

// leave ends one of two members in order; what it handed over is not repeated.
func (g *crowd) leave() bool {
	if !g.rig.Stop(g.take()) {
		return false
	}
	return g.rig.AwaitMembers(1, time.Minute)
}

// note adds restarts up and returns how many records they repeated.
func (g *crowd) note(restarts []soak.Restart) int64 {
	g.v.Noted(restarts)
	repeats, bound := int64(0), g.interval+slack+handover
	for _, r := range restarts {
		repeats += r.Repeats()
		if r.Span > bound {
			g.rig.Audit.Violate(soak.TooManyRepeats, "partition %d: from %d to %d again, delivered over %v; the bound is %v",
				r.Partition, r.From, r.After, r.Span, bound)
		}
	}
	return repeats
}
