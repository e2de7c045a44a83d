package soak_test

import (
	"slices"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// shardFaults are those of processes to which partitions are assigned by configuration.
// Nobody but the configuration says who is to read what: every new process takes over from
// whoever had its partitions, and whoever finds that this has happened ends.
var shardFaults = []fault{
	{"kill", (*crew).killShard},
	{"kill, requests on their way", (*crew).killShardHeld},
	{"kill, other prefix", (*crew).killShardRenamed},
	{"zombie", (*crew).zombieShard},
	{"zombie, requests on their way", (*crew).zombieShardHeld},
	{"two of one shard", (*crew).doubleShard},
	{"stop", (*crew).stopShard},
	{"rescale, killed", (*crew).rescaleKilled},
	{"rescale, stopped", (*crew).rescaleStopped},
	{"rescale, zombie", (*crew).rescaleZombie},
	{"cut off", (*crew).cutOff},
	{"broker restart", (*crew).stopBroker},
	{"broker kill", (*crew).killBroker},
}

// share starts a process for each shard.
func (c *crew) share() {
	for i := range c.shards {
		c.appoint(soak.Shard{Index: i, Count: c.shards}, prefixes[c.random.IntN(len(prefixes))])
	}
}

// appoint starts a process for a shard.
func (c *crew) appoint(s soak.Shard, prefix string) *mate {
	return c.start(&mate{shard: s, prefix: prefix})
}

// succeed starts another process for the shard of one that is dead, or is taken for dead.
func (c *crew) succeed(m *mate) {
	c.dismiss(m)
	c.appoint(m.shard, prefixes[c.random.IntN(len(prefixes))])
}

// idle tells that a shard has no partition.
func (c *crew) idle(s soak.Shard) bool {
	for p := range c.rig.Numbers.Partitions() {
		if kafka.ShardOf(c.rig.Source, int32(p), s.Count) == s.Index {
			return false
		}
	}
	return true
}

// killed kills a process that is frozen, and starts another one for its shard.
func (c *crew) killed(m *mate, open bool) hit {
	c.rig.Crash(m.Child)
	c.v.Kills++
	h := c.struck(open)
	c.succeed(m)
	return h
}

func (c *crew) killShard() (hit, bool) {
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	return c.killed(m, true), true
}

func (c *crew) killShardHeld() (hit, bool) {
	m := c.any()
	hold, open, ok := c.holdFrozen(m)
	if !ok {
		return hit{}, false
	}
	h := c.killed(m, open)
	h.finish = c.later(hold)
	return h, true
}

// killShardRenamed gives the next process another prefix, so that it has to find out whose
// transaction is open.
func (c *crew) killShardRenamed() (hit, bool) {
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	c.rig.Crash(m.Child)
	c.v.Kills++
	h := c.struck(true)
	c.dismiss(m)
	others := slices.DeleteFunc(slices.Clone(prefixes), func(p string) bool { return p == m.prefix })
	c.appoint(m.shard, others[0])
	return h, true
}

// replaced lets a frozen process go on when another one has its shard: it has to end.
func (c *crew) replaced(m *mate, open bool, release func()) hit {
	h := c.struck(open)
	c.succeed(m)
	thaw := c.thaw(m, release)
	h.finish = func() {
		thaw()
		c.rig.AwaitEnd(m.Child, 1, c.patience)
	}
	return h
}

func (c *crew) zombieShard() (hit, bool) {
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	return c.replaced(m, true, func() {}), true
}

func (c *crew) zombieShardHeld() (hit, bool) {
	m := c.any()
	hold, open, ok := c.holdFrozen(m)
	if !ok {
		return hit{}, false
	}
	return c.replaced(m, open, hold.Release), true
}

// doubleShard starts a process for a shard that another one is reading: that one has to end.
func (c *crew) doubleShard() (hit, bool) {
	m := c.any()
	c.rig.Await(c.patience, "an open transaction of "+m.Name(), func() bool { return c.opened(m) })
	h := c.struck(true)
	c.succeed(m)
	return h, c.rig.AwaitEnd(m.Child, 1, c.patience)
}

func (c *crew) stopShard() (hit, bool) {
	m := c.any()
	c.rig.Await(c.patience, "an open transaction of "+m.Name(), func() bool { return c.opened(m) })
	h := hit{at: time.Now(), open: true}
	ok := c.rig.Stop(m.Child)
	c.succeed(m)
	h.from = c.rig.Audit.Next()
	return h, ok
}

// rescale ends the processes of all shards, one of them by end, in the midst of a
// transaction, and starts those of another number.
func (c *crew) rescale(end func(*mate)) (hit, bool) {
	m := c.any()
	if !c.freeze(m) {
		return hit{}, false
	}
	h := hit{at: time.Now(), open: true}
	for _, o := range slices.Clone(c.mates) {
		c.dismiss(o)
		switch {
		case o == m:
			end(o)
		case c.random.IntN(2) == 0:
			c.rig.Crash(o.Child)
			c.v.Kills++
		case !c.rig.Stop(o.Child):
			return h, false
		}
	}
	h.from = c.struck(true).from
	c.shards = 1 + (c.shards+c.random.IntN(2))%3 // another one of 1 to 3
	c.share()
	return h, true
}

func (c *crew) rescaleKilled() (hit, bool) {
	return c.rescale(func(m *mate) {
		c.rig.Crash(m.Child)
		c.v.Kills++
	})
}

func (c *crew) rescaleStopped() (hit, bool) {
	return c.rescale(func(m *mate) {
		m.Thaw()
		c.rig.Stop(m.Child)
	})
}

// rescaleZombie lets a process of the number before go on among those of the new one.
func (c *crew) rescaleZombie() (hit, bool) {
	var zombie *mate
	h, ok := c.rescale(func(m *mate) { zombie = m })
	h.finish = func() {
		zombie.Thaw()
		c.rig.AwaitEnd(zombie.Child, 1, c.patience)
	}
	return h, ok
}
