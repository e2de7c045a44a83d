package soak_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// slack is what a busy machine may add to any bound on time.
const slack = 1500 * time.Millisecond

// scale is what differs between an ordinary test run and the real thing.
type scale struct {
	rate      int
	threshold int64
}

func scaleOf(p *soak.Plan, v *soak.Verdict) scale {
	s := scale{rate: 20_000, threshold: 2_000}
	if p.Full {
		s = scale{rate: 50_000, threshold: 10_000}
	}
	v.Threshold = s.threshold
	return s
}

// placement is where a kill falls.
type placement string

const (
	anywhere placement = "anywhere"
	// between flush and commit: the broker has all records, the commit is held in
	// front of it.
	between placement = "between flush and commit"
	// the broker has taken the commit, the pipeline does not know.
	committed placement = "commit taken, answer held"
	// records are held in front of the broker.
	unsent placement = "records held"
	// the broker has taken records, the pipeline does not know.
	unanswered placement = "records taken, answers held"
)

// placements has a fifth of the kills between flush and commit.
var placements = []placement{between, committed, unsent, unanswered, anywhere, anywhere, between, anywhere, anywhere, anywhere}

// restarter is a broker that can be restarted.
type restarter interface {
	Stop()
	Kill9()
	Start()
}

// killer plays rounds of the kill harness.
type killer struct {
	rig    *soak.Rig
	broker restarter
	// zooKeeper keeps the group's offsets, if it is set.
	zooKeeper *kafkatest.Broker
	random    *rand.Rand
	v         *soak.Verdict
	scale     scale
	binary    string
	places    map[placement]int
	// order is what is left of the placements, shuffled, so that each has its share.
	order []int
	kills []kill
}

// kill is one that happened; what is repeated because of it was delivered within
// bound before.
type kill struct {
	at    time.Time
	bound time.Duration
}

// within returns a random time from low to high.
func within(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// round starts the pipeline, kills it, and judges what it left behind. It returns
// false if going on makes no sense.
func (k *killer) round() bool {
	interval := within(k.random, 500*time.Millisecond, time.Second)
	if len(k.order) == 0 {
		k.order = k.random.Perm(len(placements))
	}
	place := placements[k.order[0]]
	k.order = k.order[1:]
	c := k.rig.Start(soak.Copy{Interval: interval, Binary: k.binary})
	if !k.rig.AwaitCommit(c, time.Minute) {
		return false
	}
	end, waited := k.place(place, interval)
	k.kills = append(k.kills, kill{time.Now(), interval + waited + slack})
	uncommitted := k.rig.Kill9(c)
	end()
	k.v.Rounds++
	k.v.Kills++
	k.places[place]++
	if uncommitted > 0 {
		k.v.KillsInFlight++
	}
	if place == between {
		k.v.KillsBetween++
	}
	if uncommitted >= k.scale.threshold {
		k.v.Counted++
	}
	if k.random.IntN(20) == 0 {
		k.restartBroker()
	}
	k.settle(k.rig.Audit.Settle())
	return true
}

// place waits for the moment of the kill; end is to be called after it. waited is
// how long a checkpoint was kept from completing.
func (k *killer) place(p placement, interval time.Duration) (end func(), waited time.Duration) {
	if p == anywhere {
		time.Sleep(within(k.random, interval/4, interval*5/4))
		return func() {}, 0
	}
	time.Sleep(within(k.random, 0, interval/2))
	if k.zooKeeper != nil && (p == between || p == committed) {
		return k.freeze(interval)
	}
	var hold *kafkatest.Hold
	switch p {
	case between:
		hold = k.rig.Proxy.HoldRequests(kmsg.OffsetCommit)
	case committed:
		hold = k.rig.Proxy.HoldAnswers(kmsg.OffsetCommit)
	case unsent:
		hold = k.rig.Proxy.HoldRequests(kmsg.Produce)
	case unanswered:
		hold = k.rig.Proxy.HoldAnswers(kmsg.Produce)
	}
	k.rig.Await(10*time.Second, string(p), func() bool { return hold.Held() > 0 })
	linger := within(k.random, 0, 300*time.Millisecond)
	time.Sleep(linger)
	return hold.Drop, linger
}

// freeze is a placement between flush and commit, or in the midst of one, for offsets in
// ZooKeeper: it is frozen, and thaws when the pipeline is dead.
func (k *killer) freeze(interval time.Duration) (end func(), waited time.Duration) {
	k.zooKeeper.PauseZooKeeper()
	k.rig.OnCrash = k.zooKeeper.ContinueZooKeeper
	waited = interval + within(k.random, 0, 300*time.Millisecond)
	time.Sleep(waited)
	return func() { k.rig.OnCrash = nil }, waited
}

// settle holds restarts against the bound of the kill that caused them.
func (k *killer) settle(restarts []soak.Restart) {
	k.v.Noted(restarts)
	for _, r := range restarts {
		var cause kill
		for _, c := range k.kills {
			if c.at.Before(r.At) {
				cause = c
			}
		}
		if r.Span > cause.bound {
			k.rig.Audit.Violate(soak.TooManyRepeats, "partition %d: from %d to %d again, delivered over %v; the bound is %v",
				r.Partition, r.From, r.After, r.Span, cause.bound)
		}
	}
}

func (k *killer) restartBroker() {
	if k.broker == nil {
		return
	}
	if k.random.IntN(2) == 0 {
		k.broker.Stop()
	} else {
		k.broker.Kill9()
	}
	k.broker.Start()
	n, _ := k.v.Extra["broker_restarts"].(int)
	k.v.Extra["broker_restarts"] = n + 1
}

// kill -9 at random moments: nothing is lost, repeats are bounded, every restart
// is exactly at the committed offset, and order is kept.
func TestKill9(t *testing.T) {
	p, v := soak.Begin(t, "kill", 1)
	broker := kafkatest.Real(t, kafkatest.Newest)
	rig := soak.NewRig(t, broker, soak.Load{})
	rig.Follow()
	soak.Tidemark(t)
	k := &killer{rig: rig, broker: broker, random: p.Random, v: v, scale: scaleOf(p, v), places: map[placement]int{}}
	v.Extra = map[string]any{"placements": k.places}
	p.Restart()
	rig.Feed(k.scale.rate)
	for p.More() && k.round() && !rig.Audit.Red() {
		t.Logf("round %d: %d counted, behind by %v", v.Rounds, v.Counted, rig.Behind())
	}
	rig.Start(soak.Copy{Interval: 200 * time.Millisecond})
	k.settle(rig.Drain(time.Minute))
	if v.Counted == 0 || p.Full && v.Counted < p.Rounds {
		rig.Audit.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
	}
	v.Conclude(t, rig.Audit)
}
