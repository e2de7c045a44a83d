package soak_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

const (
	// recovery is how long it may take until all records come again after what a fault
	// itself takes: less than a transaction that nobody ends would stay open.
	recovery = 40 * time.Second
	// ending is how long after that a transaction of before may be open.
	ending = 10 * time.Second
	// handing is what members have for a rebalance; they drain for three quarters of it.
	handing = 8 * time.Second
)

// mate is a member of the group, with a way to the broker of its own.
type mate struct {
	*soak.Child
	proxy    *kafkatest.Proxy
	instance string
	session  time.Duration
}

// crew plays rounds of the exactly-once harness.
type crew struct {
	t      testing.TB
	rig    *soak.Rig
	broker restarter
	random *rand.Rand
	v      *soak.Verdict
	binary string
	// nameless: no member has a name in the group for good.
	nameless bool
	// checkpoint are more fields of the members' checkpoints.
	checkpoint []string
	// delayed requests of members are late, so that what happens meanwhile takes longer.
	delayed []kmsg.Key
	// session is the group's patience with a member, patience ours with the group.
	session, patience time.Duration
	mates             []*mate
	started           int
	faults            []fault
	order             []int
	played            map[string]*tale
	recovers          map[string][]float64
}

// tale is how often a fault was played, how often it hit an open transaction, and after how
// many of these some were aborted.
type tale struct {
	Played  int `json:"played"`
	Open    int `json:"open"`
	Aborted int `json:"aborted"`
}

// hit is what a fault has hit.
type hit struct {
	at time.Time
	// open: a transaction was, and the fault came in the midst of it.
	open bool
	// from is where each partition has to go on.
	from []int64
	// finish ends what the fault has left behind, when others have taken over.
	finish func()
}

type fault struct {
	name string
	play func(*crew) (hit, bool)
}

func newCrew(t testing.TB, rig *soak.Rig, broker restarter, p *soak.Plan, v *soak.Verdict) *crew {
	c := &crew{
		t: t, rig: rig, broker: broker, random: p.Random, v: v, session: within(p.Random, 4*time.Second, 6*time.Second), patience: recovery,
		faults: faults, played: map[string]*tale{}, recovers: map[string][]float64{},
	}
	v.Extra = map[string]any{"faults": c.played, "recovered_after_seconds": c.recovers, "session_seconds": c.session.Seconds()}
	return c
}

// prefixes of transactional ids, which change from one process to the next.
var prefixes = []string{"tidemark", "other"}

// instances are names of members in the group.
var instances = []string{"one", "two", "three", "four", "five", "six"}

// hire starts a member, every other one with a name for good.
func (c *crew) hire() *mate {
	instance := ""
	if !c.nameless && c.random.IntN(2) == 0 {
		instance = c.free()
	}
	return c.hireAs(instance)
}

// free returns a name that no living member has.
func (c *crew) free() string {
	for _, i := range c.random.Perm(len(instances)) {
		if !slices.ContainsFunc(c.mates, func(m *mate) bool { return m.instance == instances[i] }) {
			return instances[i]
		}
	}
	return ""
}

func (c *crew) hireAs(instance string) *mate {
	c.started++
	m := &mate{proxy: kafkatest.NewProxy(c.t, c.rig.Broker), instance: instance, session: c.session}
	if len(c.delayed) > 0 {
		m.proxy.Delay(300*time.Millisecond, c.delayed...)
	}
	m.Child = c.rig.Start(soak.Copy{
		Name: fmt.Sprintf("mate-%d", c.started), Binary: c.binary, Proxy: m.proxy, Instance: instance, Session: m.session,
		Interval: within(c.random, 300*time.Millisecond, time.Second),
		Prefix:   prefixes[c.random.IntN(len(prefixes))],
		Input:    []string{"rebalance_timeout: " + handing.String(), "fetch_max_wait: 500ms"}, Checkpoint: c.checkpoint,
	})
	c.mates = append(c.mates, m)
	return m
}

// any returns a member by chance.
func (c *crew) any() *mate { return c.mates[c.random.IntN(len(c.mates))] }

// dismiss forgets a member.
func (c *crew) dismiss(m *mate) {
	c.mates = slices.DeleteFunc(c.mates, func(o *mate) bool { return o == m })
}

// writer returns the transactional id of a member.
func (c *crew) writer(m *mate) string {
	if m.instance != "" {
		return c.rig.WriterOf(m.instance)
	}
	return c.rig.WriterOf(m.Name())
}

// settled waits until all members are in the group and have come as far as was fed by now.
func (c *crew) settled() bool {
	return c.rig.AwaitMembers(len(c.mates), c.patience) && c.flowing()
}

// flowing waits until each partition shows records of after now.
func (c *crew) flowing() bool {
	since := time.Now()
	return c.rig.Await(c.patience, "records of all partitions", func() bool { return c.shown(since) })
}

func (c *crew) shown(since time.Time) bool {
	for p := range c.rig.Numbers.Partitions() {
		if !c.rig.Shown(int32(p)).After(since) {
			return false
		}
	}
	return true
}

// reached tells that every partition has gone on.
func (h hit) reached(next []int64) bool {
	for p, from := range h.from {
		if next[p] <= from {
			return false
		}
	}
	return true
}

// round plays one fault and judges what comes of it. It returns false if going on makes no
// sense.
func (c *crew) round() bool {
	if len(c.order) == 0 {
		c.order = c.random.Perm(len(c.faults))
	}
	f := c.faults[c.order[0]]
	c.order = c.order[1:]
	c.t.Logf("%s: %s, with %d members", time.Now().Format(time.TimeOnly), f.name, len(c.mates))
	aborts, _ := c.rig.Aborted()
	h, ok := f.play(c)
	if !ok {
		return false
	}
	if len(c.mates) == 0 {
		c.hire()
	}
	if !c.rig.Await(c.patience, "records after "+f.name, func() bool { return h.reached(c.rig.Audit.Next()) }) {
		c.rig.AwaitEnded(h.at, 0) // That may be why.
		return false
	}
	took := time.Since(h.at)
	if h.finish != nil {
		h.finish()
	}
	if !c.settled() || !c.rig.AwaitEnded(h.at, ending) || !c.alive() {
		return false
	}
	c.rig.CatchUp()
	c.rig.CatchUpRaw()
	c.rig.Audit.Settle()
	c.note(f.name, h, took, aborts)
	return true
}

// alive finds members that have ended by themselves.
func (c *crew) alive() bool {
	for _, m := range c.mates {
		if m.Ended() {
			c.rig.Crash(m.Child) // says why
			return false
		}
	}
	return true
}

func (c *crew) note(name string, h hit, took time.Duration, aborts int) {
	if c.played[name] == nil {
		c.played[name] = &tale{}
	}
	s := c.played[name]
	s.Played++
	c.v.Rounds++
	if !h.open {
		return
	}
	s.Open++
	c.v.Counted++
	if now, _ := c.rig.Aborted(); now > aborts {
		s.Aborted++
		c.v.KillsInFlight++
	}
	c.recovers[name] = append(c.recovers[name], float64(took.Milliseconds())/1000)
}

// TestExactlyOnce hurts a group that delivers exactly once, in all ways at random: whoever
// reads committed records gets each of them once and in order, the group's offsets never go
// back, and what dead members had open is over soon.
func TestExactlyOnce(t *testing.T) {
	t.Run("offsets", func(t *testing.T) { exactlyOnce(t, "exactly once", "") })
	t.Run("topic", func(t *testing.T) {
		exactlyOnce(t, "exactly once, store topic", "store: { topic: "+kafkatest.Unique(t)+", partitions: 3 }")
	})
}

// exactlyOnce plays rounds; checkpoint is a field of every member's.
func exactlyOnce(t *testing.T, name, checkpoint string) {
	p, v := soak.Begin(t, name, 1)
	broker := kafkatest.Real(t, kafkatest.Newest)
	rig := soak.NewRig(t, broker, soak.Load{})
	rig.FollowOnce()
	soak.Tidemark(t)
	c := newCrew(t, rig, broker, p, v)
	if checkpoint != "" {
		c.checkpoint = []string{checkpoint}
	}
	rig.Feed(4_000)
	c.hire()
	ok := c.settled()
	p.Restart()
	for ok && p.More() && !rig.Audit.Red() {
		ok = c.round()
		t.Logf("round %d: %d counted, %d members, behind by %v", v.Rounds, v.Counted, len(c.mates), rig.Behind())
	}
	c.conclude()
	if v.Counted == 0 || p.Full && v.Counted < p.Rounds {
		rig.Audit.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
	}
	v.Conclude(t, rig.Audit)
}

// conclude reads all to the end and ends everybody in order, after which nothing is open.
func (c *crew) conclude() {
	c.rig.Drain(time.Minute)
	c.rig.AwaitEnded(time.Now().Add(time.Hour), 5*time.Second)
	c.rig.CatchUpRaw()
	transactions, records := c.rig.Aborted()
	c.v.Extra["aborted_transactions_by_partition"], c.v.Extra["aborted_records"] = transactions, records
	c.v.Repeats = records
	if c.v.KillsInFlight > 0 && records == 0 {
		c.rig.Audit.Violate(soak.Unhealthy, "transactions were aborted, but no copy of a record was")
	}
}
