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

// mate is a process of the pipeline, with ways of its own to the broker that it writes to,
// and to the one that it reads from, if that is another one.
type mate struct {
	*soak.Child
	proxy    *kafkatest.Proxy
	reading  *kafkatest.Proxy
	instance string
	shard    soak.Shard
	prefix   string
}

// form is how a pipeline delivers exactly once, and what is done to it.
type form struct {
	name string
	load soak.Load
	// store: its positions are in a topic.
	store bool
	// apart: it reads from another cluster than it writes to.
	apart bool
	// shards is how many processes share the partitions by configuration; 0 = a group does.
	shards int
	// sizes are the numbers of members that a group may have.
	sizes  []int
	faults []fault
}

// crew plays rounds of the exactly-once harness.
type crew struct {
	t   testing.TB
	rig *soak.Rig
	form
	// broker is the one that is written to, source the one that is read from.
	broker, source *kafkatest.Broker
	random         *rand.Rand
	v              *soak.Verdict
	binary         string
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
	// healed is how often a broker was started again that had given a group up.
	healed   int
	order    []int
	played   map[string]*tale
	recovers map[string][]float64
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

// crew prepares rounds of a form on a broker, and another one that it reads from if it does
// that apart.
func (f form) crew(t testing.TB, p *soak.Plan, v *soak.Verdict, broker, source kafkatest.Endpoint) *crew {
	if f.apart {
		f.load.Output = broker
	}
	rig := soak.NewRig(t, source, f.load)
	rig.FollowOnce()
	c := &crew{
		t: t, rig: rig, form: f, random: p.Random, v: v, session: within(p.Random, 4*time.Second, 6*time.Second), patience: recovery,
		played: map[string]*tale{}, recovers: map[string][]float64{},
	}
	if f.store {
		c.checkpoint = []string{"store: { topic: " + kafkatest.Unique(t) + ", partitions: 3 }"}
	}
	v.Extra = map[string]any{"faults": c.played, "recovered_after_seconds": c.recovers, "session_seconds": c.session.Seconds()}
	return c
}

// begin starts the first processes.
func (c *crew) begin() bool {
	c.rig.Feed(4_000)
	if c.shards > 0 {
		c.share()
	} else {
		c.hire()
	}
	return c.settled()
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
	return c.start(&mate{instance: instance, prefix: prefixes[c.random.IntN(len(prefixes))]})
}

// start starts the process of a member.
func (c *crew) start(m *mate) *mate {
	c.started++
	m.proxy = kafkatest.NewProxy(c.t, c.rig.Output)
	if m.reading = m.proxy; c.apart {
		m.reading = kafkatest.NewProxy(c.t, c.rig.Broker)
	}
	if len(c.delayed) > 0 {
		m.proxy.Delay(300*time.Millisecond, c.delayed...)
	}
	m.Child = c.rig.Start(soak.Copy{
		Name: fmt.Sprintf("mate-%d", c.started), Binary: c.binary, Proxy: m.reading, OutputProxy: m.proxy,
		Instance: m.instance, Shard: m.shard, Session: c.session, Prefix: m.prefix,
		Interval: within(c.random, 300*time.Millisecond, time.Second),
		Input:    []string{"rebalance_timeout: " + handing.String(), "fetch_max_wait: 500ms"}, Checkpoint: c.checkpoint,
	})
	c.mates = append(c.mates, m)
	return m
}

// any returns a member by chance, one that has partitions.
func (c *crew) any() *mate {
	for {
		if m := c.mates[c.random.IntN(len(c.mates))]; c.shards == 0 || !c.idle(m.shard) {
			return m
		}
	}
}

// dismiss forgets a member.
func (c *crew) dismiss(m *mate) {
	c.mates = slices.DeleteFunc(c.mates, func(o *mate) bool { return o == m })
}

// writer returns the transactional id of a member.
func (c *crew) writer(m *mate) string {
	if c.shards > 0 {
		return fmt.Sprintf("%s-%s-%v", m.prefix, c.rig.Group, m.shard)
	}
	if m.instance != "" {
		return c.rig.WriterOf(m.instance)
	}
	return c.rig.WriterOf(m.Name())
}

// settled waits until all members are in the group and have come as far as was fed by now.
func (c *crew) settled() bool {
	return (c.shards > 0 || c.rig.AwaitMembers(len(c.mates), c.patience)) && c.flowing()
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
	if !c.reached(&h, "records after "+f.name) {
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

// reached waits until every partition has gone on, anew if a broker had to be healed.
func (c *crew) reached(h *hit, what string) bool {
	for {
		asked, healed := time.Now(), false
		ok := c.rig.Await(c.patience, what, func() bool {
			if time.Since(asked) > time.Second {
				asked, healed = time.Now(), c.heal(h)
			}
			return healed || h.reached(c.rig.Audit.Next())
		})
		if !ok || !healed {
			return ok
		}
	}
}

// heal starts a broker again that has given a group up: no client could go on. What it does
// there is no round.
func (c *crew) heal(h *hit) bool {
	was := c.healed
	for _, b := range []*kafkatest.Broker{c.broker, c.source} {
		if b == nil {
			continue // it is shared with other tests
		}
		if said := b.GaveUp(); said != "" {
			c.t.Logf("Kafka has given a group up and is started again; it said: %s", said)
			c.rig.WhileAway(func() {
				b.Kill9()
				b.Start()
			})
			c.healed++
			h.at, h.open = time.Now(), false
		}
	}
	return c.healed > was
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

// TestExactlyOnce hurts pipelines that deliver exactly once, in all ways at random: whoever
// reads committed records gets each of them once and in order, the group's offsets never go
// back, and what dead processes had open is over soon.
func TestExactlyOnce(t *testing.T) {
	sizes := []int{1, 2, 4}
	t.Run("offsets", form{name: "exactly once", sizes: sizes, faults: faults}.play)
	t.Run("topic", form{name: "exactly once, store topic", store: true, sizes: sizes, faults: faults}.play)
	t.Run("shards", form{
		name: "exactly once, shards", load: soak.Load{Partitions: 6, OffsetsForShow: true}, store: true, shards: 2, faults: shardFaults,
	}.play)
	t.Run("windows", form{
		name: "exactly once, windows", load: soak.Load{Windows: true}, store: true, sizes: []int{1, 2, 3}, faults: faults,
	}.play)
	t.Run("clusters", form{
		name: "exactly once, two clusters", store: true, apart: true, sizes: sizes, faults: slices.Concat(faults, sourceFaults),
	}.play)
}

// play plays rounds.
func (f form) play(t *testing.T) {
	p, v := soak.Begin(t, f.name, 1)
	broker := kafkatest.Real(t, kafkatest.Newest)
	source := broker
	if f.apart {
		source = kafkatest.Real(t, kafkatest.Newest)
	}
	soak.Tidemark(t)
	c := f.crew(t, p, v, broker, source)
	c.broker, c.source = broker, source
	ok := c.begin()
	p.Restart()
	for ok && p.More() && !c.rig.Audit.Red() {
		ok = c.round()
		t.Logf("round %d: %d counted, %d members, behind by %v", v.Rounds, v.Counted, len(c.mates), c.rig.Behind())
	}
	c.conclude()
	if v.Counted == 0 || p.Full && v.Counted < p.Rounds {
		c.rig.Audit.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
	}
	v.Conclude(t, c.rig.Audit)
}

// conclude reads all to the end and ends everybody in order, after which nothing is open.
func (c *crew) conclude() {
	c.rig.Drain(time.Minute)
	c.rig.AwaitEnded(time.Now().Add(time.Hour), 5*time.Second)
	c.rig.CatchUpRaw()
	transactions, records := c.rig.Aborted()
	c.v.Extra["aborted_transactions_by_partition"], c.v.Extra["aborted_records"] = transactions, records
	c.v.Repeats, c.v.Extra["brokers_that_gave_a_group_up"] = records, c.healed
	if c.v.KillsInFlight > 0 && records == 0 {
		c.rig.Audit.Violate(soak.Unhealthy, "transactions were aborted, but no copy of a record was")
	}
}
