package soak_test

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// faults of the exactly-once harness.
var faults = []fault{
	{"kill", (*crew).kill},
	{"kill, requests on their way", (*crew).killHeld},
	{"kill, same instance again", (*crew).replace},
	{"zombie", (*crew).zombie},
	{"zombie, requests on their way", (*crew).zombieHeld},
	{"zombie, same instance again", (*crew).twin},
	{"stop", (*crew).stop},
	{"resize", (*crew).resize},
	{"handover without drain", (*crew).handover},
	{"cut off", (*crew).cutOff},
	{"broker restart", (*crew).stopBroker},
	{"broker kill", (*crew).killBroker},
}

// sourceFaults are those that need a cluster to read from and another one to write to.
var sourceFaults = []fault{
	{"source's broker restart", func(c *crew) (hit, bool) { return c.away(c.source, restarter.Stop) }},
	{"source's broker kill", func(c *crew) (hit, bool) { return c.away(c.source, restarter.Kill9) }},
}

// freeze stops a member in the midst of a transaction. It returns false if there was none
// for a long time, which the records that are fed do not allow.
func (c *crew) freeze(m *mate) bool {
	return c.rig.Await(c.patience, "an open transaction of "+m.Name(), func() bool {
		m.Freeze()
		if c.opened(m) {
			return true
		}
		m.Thaw()
		return false
	})
}

// opened tells whether a transaction of a member is open.
func (c *crew) opened(m *mate) bool {
	open, err := c.rig.Open()
	_, ok := open[c.writer(m)]
	return err == nil && ok
}

// openAnywhere waits for an open transaction of anybody.
func (c *crew) openAnywhere() bool {
	return c.rig.Await(c.patience, "an open transaction", func() bool {
		open, err := c.rig.Open()
		return err == nil && len(open) > 0
	})
}

// struck is a fault that has just come.
func (c *crew) struck(open bool) hit {
	at := time.Now()
	c.rig.CatchUp() // What was committed before may still show.
	return hit{at: at, open: open, from: c.rig.Audit.Next()}
}

// lose kills a member that is frozen and makes up for it.
func (c *crew) lose(m *mate, open bool) hit {
	c.rig.Crash(m.Child)
	c.v.Kills++
	c.dismiss(m)
	h := c.struck(open)
	if c.random.IntN(2) == 0 {
		c.rig.Evict(m.Child) // Else the group finds out by itself.
	}
	if len(c.mates) == 0 || c.random.IntN(2) == 0 && len(c.mates) < 4 {
		c.hire()
	}
	return h
}

func (c *crew) kill() (hit, bool) {
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	return c.lose(m, true), true
}

// hold keeps a request of the way of a transaction, or the answer to it, on its way.
func (c *crew) hold(m *mate) *kafkatest.Hold {
	keys := []kmsg.Key{kmsg.EndTxn, kmsg.EndTxn, kmsg.Produce}
	switch {
	case c.apart:
		keys = append(keys, kmsg.OffsetCommit)
	case c.shards == 0:
		keys = append(keys, kmsg.TxnOffsetCommit)
	}
	key, way := keys[c.random.IntN(len(keys))], m.proxy
	if key == kmsg.OffsetCommit {
		way = m.reading
	}
	if c.random.IntN(2) == 0 {
		return way.HoldAnswers(key)
	}
	return way.HoldRequests(key)
}

// holdFrozen freezes a member while a request is held.
func (c *crew) holdFrozen(m *mate) (hold *kafkatest.Hold, open, ok bool) {
	hold = c.hold(m)
	if !c.rig.Await(c.patience, "a request of "+m.Name(), func() bool { return hold.Held() > 0 }) {
		return hold, false, false
	}
	time.Sleep(within(c.random, 0, 200*time.Millisecond))
	m.Freeze()
	return hold, c.opened(m), true
}

// killHeld kills a member while a request is on its way, which is lost, or arrives when
// others have taken over.
func (c *crew) killHeld() (hit, bool) {
	m := c.any()
	hold, open, ok := c.holdFrozen(m)
	if !ok {
		return hit{}, false
	}
	h := c.lose(m, open)
	h.finish = c.later(hold)
	return h, true
}

// later either loses what is held at once, or lets it arrive when others have taken over.
func (c *crew) later(hold *kafkatest.Hold) (finish func()) {
	if c.random.IntN(2) == 0 {
		hold.Drop()
		return nil
	}
	return hold.Release
}

// replace kills a member with a name, if there is one, and starts it again at once.
func (c *crew) replace() (hit, bool) {
	m := c.named()
	if m == nil {
		return c.kill()
	}
	if !c.freeze(m) {
		return hit{}, false
	}
	c.rig.Crash(m.Child)
	c.v.Kills++
	c.dismiss(m)
	c.hireAs(m.instance)
	return c.struck(true), true
}

func (c *crew) named() *mate {
	for _, i := range c.random.Perm(len(c.mates)) {
		if c.mates[i].instance != "" {
			return c.mates[i]
		}
	}
	return nil
}

// zombie freezes a member for longer than the group waits for it, and lets it go on when
// others have what it had.
func (c *crew) zombie() (hit, bool) {
	c.cover()
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	return c.undead(m, true, func() {}), true
}

// zombieHeld also delivers then what it had sent before.
func (c *crew) zombieHeld() (hit, bool) {
	c.cover()
	m := c.any()
	hold, open, ok := c.holdFrozen(m)
	if !ok {
		return hit{}, false
	}
	return c.undead(m, open, hold.Release), true
}

// cover makes sure that somebody is left to take over.
func (c *crew) cover() {
	if len(c.mates) == 1 {
		c.hire()
		c.settled()
	}
}

func (c *crew) undead(m *mate, open bool, release func()) hit {
	h := c.struck(open)
	if c.random.IntN(3) == 0 {
		c.rig.Evict(m.Child)
	}
	h.finish = c.thaw(m, release)
	return h
}

// thaw lets a frozen member go on, and what is held of its requests, in one order or the
// other.
func (c *crew) thaw(m *mate, release func()) (finish func()) {
	steps := []func(){release, m.Thaw}
	if c.random.IntN(2) == 0 {
		slices.Reverse(steps)
	}
	return func() {
		for _, step := range steps {
			step()
		}
	}
}

// twin freezes a member with a name, lets another process have the name, and the member go
// on: it is the one that has to end.
func (c *crew) twin() (hit, bool) {
	m := c.named()
	if m == nil {
		return c.zombie()
	}
	if !c.freeze(m) {
		return hit{}, false
	}
	h := c.struck(true)
	c.dismiss(m)
	c.hireAs(m.instance)
	h.finish = func() {
		m.Thaw()
		c.rig.AwaitEnd(m.Child, 1, c.patience)
	}
	return h, true
}

// stop ends a member in order and starts another one.
func (c *crew) stop() (hit, bool) {
	m := c.any()
	c.rig.Await(c.patience, "an open transaction of "+m.Name(), func() bool { return c.opened(m) })
	h := hit{at: time.Now(), open: true}
	ok := c.leave(m)
	c.hireAs(m.instance)
	h.from = c.rig.Audit.Next()
	return h, ok
}

// leave ends a member in order. One with a name does not leave the group by that.
func (c *crew) leave(m *mate) bool {
	c.dismiss(m)
	return c.rig.Stop(m.Child)
}

// resize goes to another number of members.
func (c *crew) resize() (hit, bool) {
	others := slices.DeleteFunc(slices.Clone(c.sizes), func(n int) bool { return n == len(c.mates) })
	size := others[c.random.IntN(len(others))]
	open := c.openAnywhere()
	h := hit{at: time.Now(), open: open}
	for len(c.mates) > size {
		if !c.leave(c.any()) {
			return h, false
		}
	}
	for len(c.mates) < size {
		c.hire()
	}
	h.from = c.rig.Audit.Next()
	return h, open
}

// handover makes a member give partitions up while it cannot end its transaction in time,
// or just in time.
func (c *crew) handover() (hit, bool) { return c.handOver(within(c.random, handing/2, handing*3/2)) }

// handOver makes a new member join while the answers that another one waits for are kept
// for a time.
func (c *crew) handOver(late time.Duration) (hit, bool) {
	for len(c.mates) > 3 {
		if !c.leave(c.any()) {
			return hit{}, false
		}
	}
	m := c.any()
	hold := m.proxy.HoldAnswers(kmsg.Produce)
	if !c.rig.Await(c.patience, "a request of "+m.Name(), func() bool { return hold.Held() > 0 }) {
		return hit{}, false
	}
	h := hit{at: time.Now(), open: c.opened(m), from: c.rig.Audit.Next()}
	c.hire()
	time.Sleep(late)
	hold.Release()
	return h, true
}

// cutOff takes a member's network away for a while, or one of its networks.
func (c *crew) cutOff() (hit, bool) {
	m := c.any()
	ways := []*kafkatest.Proxy{m.proxy, m.reading}
	if c.apart && c.random.IntN(3) > 0 {
		ways = ways[:1]
		if c.random.IntN(2) == 0 {
			ways[0] = m.reading
		}
	}
	c.rig.Await(c.patience, "an open transaction of "+m.Name(), func() bool { return c.opened(m) })
	for _, w := range ways {
		w.Down()
	}
	h := hit{at: time.Now(), open: c.opened(m)}
	time.Sleep(within(c.random, 100*time.Millisecond, c.session*3/2))
	for _, w := range ways {
		w.Up()
	}
	h.from = c.rig.Audit.Next()
	return h, true
}

func (c *crew) stopBroker() (hit, bool) { return c.away(c.broker, restarter.Stop) }

func (c *crew) killBroker() (hit, bool) { return c.away(c.broker, restarter.Kill9) }

// away takes a broker away for a while.
func (c *crew) away(broker restarter, end func(restarter)) (hit, bool) {
	open := c.openAnywhere()
	c.rig.WhileAway(func() {
		end(broker)
		time.Sleep(within(c.random, 0, 3*time.Second))
		broker.Start()
	})
	return hit{at: time.Now(), open: open, from: c.rig.Audit.Next()}, open
}
