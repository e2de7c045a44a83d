package behaviour

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// roundFault is what can befall the processes. To the brokers a process whose network is cut
// for good was killed, and one whose network stands still for a time is a zombie.
type roundFault struct {
	name string
	play func(*roundsCrew) (roundHit, bool)
}

// roundHit is what a fault has hit.
type roundHit struct {
	at time.Time
	// open: it came in the midst of a transaction.
	open bool
	// finish ends what the fault has left behind, when others have taken over.
	finish func()
}

// anyFaults befall all forms, memberFaults those of a group, shardFaults static ones.
var anyFaults = []roundFault{
	{"kill", (*roundsCrew).kill},
	{"kill, requests on their way", (*roundsCrew).killHeld},
	{"kill, and again", (*roundsCrew).replace},
	{"zombie beside its successor", (*roundsCrew).twin},
	{"stop", (*roundsCrew).leave},
	{"cut off", (*roundsCrew).cutOff},
	{"brokers away", (*roundsCrew).away},
	{"brokers move", (*roundsCrew).move},
	{"brokers refuse", (*roundsCrew).refuse},
}

var memberFaults = append(slices.Clone(anyFaults),
	roundFault{"zombie", (*roundsCrew).zombie},
	roundFault{"zombie, requests on their way", (*roundsCrew).zombieHeld},
	roundFault{"resize", (*roundsCrew).resize},
	roundFault{"handover without drain", (*roundsCrew).handover},
)

var shardFaults = append(slices.Clone(anyFaults), roundFault{"rescale", (*roundsCrew).rescale})

// catch waits, at some moment, for an open transaction of a process, of any one if nil.
func (c *roundsCrew) catch(m *roundMate) bool {
	return c.await("open transaction", func() bool {
		time.Sleep(c.within(0, 300*time.Millisecond))
		return m == nil && len(c.open()) > 0 || m != nil && c.opened(m)
	})
}

// struck is a fault that has just hit a process. What was on its way has arrived by then.
func (c *roundsCrew) struck(m *roundMate) roundHit {
	time.Sleep(time.Millisecond)
	return roundHit{at: time.Now(), open: c.opened(m)}
}

// bury kills a process whose network is gone, or stands still. What it still does concerns nobody.
func (c *roundsCrew) bury(m *roundMate) {
	c.v.Kills++
	c.dismiss(m)
	m.buried = make(chan struct{})
	go func() {
		_ = m.stop()
		close(m.buried)
	}()
}

// kill also hires another one, now and then. Shards are missed until they are there again.
func (c *roundsCrew) kill() (roundHit, bool) {
	m := c.any()
	if !c.catch(m) {
		return roundHit{}, false
	}
	m.down()
	h := c.struck(m)
	c.bury(m)
	c.makeUp(m)
	return h, true
}

// makeUp starts somebody else after a loss.
func (c *roundsCrew) makeUp(lost *roundMate) {
	switch {
	case c.form.static:
		time.Sleep(c.within(0, 2*session))
		c.again(lost)
	case len(c.mates) == 0 || c.coin() && len(c.mates) < 4:
		c.hire()
	}
}

// replace starts a process again at once.
func (c *roundsCrew) replace() (roundHit, bool) {
	m := c.named()
	if !c.catch(m) {
		return roundHit{}, false
	}
	m.down()
	h := c.struck(m)
	c.bury(m)
	c.again(m)
	return h, true
}

// named returns a member with a name, if there is one, or a shard.
func (c *roundsCrew) named() *roundMate {
	for _, i := range c.random.Perm(len(c.mates)) {
		if c.mates[i].instance != "" {
			return c.mates[i]
		}
	}
	return c.any()
}

// held waits until a request of the way of a transaction is held, or the answer to it.
func (c *roundsCrew) held(m *roundMate) (*kafkatest.Hold, bool) {
	keys := []kmsg.Key{kmsg.EndTxn, kmsg.EndTxn, kmsg.Produce}
	if !c.form.static && !c.form.apart {
		keys = append(keys, kmsg.TxnOffsetCommit)
	}
	key, hold := keys[c.random.IntN(len(keys))], m.to().HoldRequests
	if c.coin() {
		hold = m.to().HoldAnswers
	}
	h := hold(key)
	ok := c.await("request "+key.Name(), func() bool { return h.Held() > 0 })
	time.Sleep(c.within(0, 200*time.Millisecond))
	return h, ok
}

// killHeld kills a process while a request is on its way, which is lost, or arrives when
// others have taken over.
func (c *roundsCrew) killHeld() (roundHit, bool) {
	m := c.any()
	hold, ok := c.held(m)
	if !ok {
		return roundHit{}, false
	}
	m.hold(false) // for ever
	h := c.struck(m)
	c.bury(m)
	if h.finish = func() { hold.Release(); time.Sleep(time.Second); m.down() }; c.coin() {
		m.down()
		h.finish = nil
	}
	c.makeUp(m)
	return h, true
}

// zombie lets a member stand still for longer than the group waits for it, and go on when
// others have what it had.
func (c *roundsCrew) zombie() (roundHit, bool) {
	c.cover()
	m := c.any()
	if !c.catch(m) {
		return roundHit{}, false
	}
	return c.undead(m, func() {}), true
}

// zombieHeld also lets arrive then what it had sent before.
func (c *roundsCrew) zombieHeld() (roundHit, bool) {
	c.cover()
	m := c.any()
	hold, ok := c.held(m)
	if !ok {
		return roundHit{}, false
	}
	return c.undead(m, hold.Release), true
}

// cover makes sure that somebody is left to take over.
func (c *roundsCrew) cover() {
	if len(c.mates) == 1 {
		c.hire()
		c.settled()
	}
}

func (c *roundsCrew) undead(m *roundMate, release func()) roundHit {
	goOn := m.hold(c.coin())
	h := c.struck(m)
	time.Sleep(c.within(session, 4*session))
	first := c.coin()
	h.finish = func() {
		if first {
			release()
			time.Sleep(c.within(0, time.Second))
		}
		goOn()
		release()
	}
	return h
}

// twin lets a process stand still, and another one have its place: the first is the one that
// has to end.
func (c *roundsCrew) twin() (roundHit, bool) {
	m := c.named()
	if m.instance == "" && !c.form.static {
		return c.zombie()
	}
	if !c.catch(m) {
		return roundHit{}, false
	}
	goOn := m.hold(c.coin())
	h := c.struck(m)
	c.dismiss(m)
	time.Sleep(c.within(0, 2*session))
	c.again(m)
	h.finish = func() {
		goOn()
		c.await("end of "+m.name, m.over)
	}
	return h, true
}

// leave ends a process in order and starts it again.
func (c *roundsCrew) leave() (roundHit, bool) {
	m := c.any()
	if !c.catch(m) {
		return roundHit{}, false
	}
	h := roundHit{at: time.Now(), open: true}
	c.ends(m)
	c.again(m)
	return h, true
}

// ends ends a process in order.
func (c *roundsCrew) ends(m *roundMate) {
	c.dismiss(m)
	if err := m.stop(); err != nil {
		c.log("%s did not end in order: %v", m.name, err)
	}
}

// resize goes to another number of members.
func (c *roundsCrew) resize() (roundHit, bool) {
	sizes := []int{1, 2, 4}
	size := sizes[c.random.IntN(len(sizes))]
	if size == len(c.mates) {
		size = sizes[(c.random.IntN(2)+1+size/2)%len(sizes)]
	}
	if !c.catch(nil) {
		return roundHit{}, false
	}
	h := roundHit{at: time.Now(), open: true}
	for len(c.mates) > size {
		c.ends(c.any())
	}
	for len(c.mates) < size {
		c.hire()
		time.Sleep(c.within(0, 3*time.Second))
	}
	return h, true
}

// rescale goes to another number of shards. Of those before some end in order, some are
// killed, and one may go on when the others are there: it has to end then.
func (c *roundsCrew) rescale() (roundHit, bool) {
	sizes := slices.DeleteFunc([]int{1, 2, 3}, func(n int) bool { return n == c.shards })
	m := c.any()
	goOn, undead, prefix := func() {}, c.random.IntN(3) == 0, m.prefix
	var caught bool
	if !undead && c.coin() {
		_, caught = c.held(m) // with what it has for the store written, as a rule
	} else {
		caught = c.catch(m)
	}
	if !caught {
		return roundHit{}, false
	}
	if undead {
		goOn = m.hold(c.coin())
	} else {
		m.down()
	}
	h := c.struck(m)
	if undead {
		c.dismiss(m)
	} else {
		c.bury(m)
	}
	for len(c.mates) > 0 {
		if other := c.mates[0]; c.coin() {
			c.ends(other)
		} else {
			other.down()
			c.bury(other)
		}
	}
	if c.shards = sizes[c.random.IntN(len(sizes))]; c.coin() {
		prefix = prefixOf(c.started)
	}
	c.staff(prefix)
	h.finish = func() {
		if goOn(); undead {
			c.await("end of "+m.name, m.over)
		}
	}
	return h, true
}

// handover makes a new member join while the answers that another one waits for are kept,
// so that it can end its transaction only just in time, or not.
func (c *roundsCrew) handover() (roundHit, bool) {
	for len(c.mates) > 3 {
		c.ends(c.any())
	}
	m := c.any()
	hold := m.to().HoldAnswers(kmsg.Produce)
	if !c.await("request", func() bool { return hold.Held() > 0 }) {
		return roundHit{}, false
	}
	h := c.struck(m)
	c.hire()
	time.Sleep(c.within(handing/2, handing*3/2))
	hold.Release()
	return h, true
}

// cutOff takes the network of a process away for a while.
func (c *roundsCrew) cutOff() (roundHit, bool) {
	m := c.any()
	if !c.catch(m) {
		return roundHit{}, false
	}
	m.down()
	h := c.struck(m)
	time.Sleep(c.within(100*time.Millisecond, session*3/2))
	m.up()
	return h, true
}

// away cuts everybody off from the brokers for a while.
func (c *roundsCrew) away() (roundHit, bool) {
	if !c.catch(nil) {
		return roundHit{}, false
	}
	for _, m := range c.mates {
		m.down()
	}
	h := roundHit{at: time.Now(), open: len(c.open()) > 0}
	time.Sleep(c.within(0, session))
	for _, m := range c.mates {
		m.up()
	}
	return h, true
}

// move cuts connections, and moves coordinators between brokers. Leaders stay where they are:
// of a new epoch without a record kfake says that it knows nothing, which sends readers back.
func (c *roundsCrew) move() (roundHit, bool) {
	if !c.catch(nil) {
		return roundHit{}, false
	}
	h := roundHit{at: time.Now(), open: true}
	for range 1 + c.random.IntN(3) {
		c.to.RehashCoordinators()
		c.from.RehashCoordinators()
		for _, m := range c.mates {
			if c.coin() {
				m.to().Cut()
			}
		}
		time.Sleep(c.within(0, time.Second))
	}
	return h, true
}

// refusals are answers of brokers that are not ready yet.
var refusals = []struct {
	key  kmsg.Key
	with []*kerr.Error
}{
	{kmsg.Produce, []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut}},
	{kmsg.TxnOffsetCommit, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
	{kmsg.EndTxn, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions}},
	{kmsg.InitProducerID, []*kerr.Error{kerr.NotCoordinator, kerr.ConcurrentTransactions}},
	{kmsg.OffsetFetch, []*kerr.Error{kerr.NotCoordinator, kerr.UnstableOffsetCommit}},
	{kmsg.Heartbeat, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
	{kmsg.JoinGroup, []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress}},
}

// refuse lets brokers answer as those that have just started do.
func (c *roundsCrew) refuse() (roundHit, bool) {
	if !c.catch(nil) {
		return roundHit{}, false
	}
	var outages []*kfake.FaultHandle
	for _, r := range refusals {
		if c.random.IntN(3) > 0 {
			err := r.with[c.random.IntN(len(r.with))]
			outages = append(outages, c.to.Fault(kfake.Fault{Keys: []kmsg.Key{r.key}, Err: err, Count: -1}))
		}
	}
	h := roundHit{at: time.Now(), open: len(c.open()) > 0}
	time.Sleep(c.within(0, session))
	for _, o := range outages {
		o.Remove()
	}
	return h, true
}
