package behaviour

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// nothingYet is a watermark of which nothing is known.
const nothingYet = math.MinInt64

// margin is how long it may take from the broker to the windows.
const margin = 5 * time.Second

// fact is a record of a property test.
type fact struct {
	click
	P string `json:"p"`
	// reached is the watermark of the partition with this record, late what it is called
	// by it.
	reached int64
	late    bool
}

// fed is one partition as the feeder knows it.
type fed struct {
	topic string
	id    int32
	// highest is the highest event time so far, at where event time is now.
	highest, at, pace int64
	begun             bool
	// last is when it got its last records, known when the stream certainly knew it.
	last, known time.Time
	// seen is not below the watermark that its windows have fired up to.
	seen int64
}

func (p *fed) name() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// own is its watermark once all its records are read.
func (p *fed) own(bound int64) int64 {
	if !p.begun {
		return nothingYet
	}
	return p.highest - bound
}

// feeder writes records, and knows what may be late.
type feeder struct {
	t     testing.TB
	r     *rand.Rand
	e     kafkatest.Endpoint
	plan  *windowPlan
	parts []*fed
	facts []fact
	taken map[int64]bool
	// read are the partitions that the stream reads in this life, which began at begun.
	read  []*fed
	begun time.Time
	// bounds are what was observed of seen, in the order of time.
	bounds []boundsAt
}

type boundsAt struct {
	at   time.Time
	seen map[string]int64
}

func newFeeder(t testing.TB, r *rand.Rand, e kafkatest.Endpoint, plan *windowPlan, topics []string) *feeder {
	t.Helper()
	f := &feeder{t: t, r: r, e: e, plan: plan, taken: map[int64]bool{}}
	for i, topic := range topics {
		for id := range int32(plan.partitions[i]) {
			f.parts = append(f.parts, f.partition(topic, id, 100_000+r.Int64N(3000)))
		}
	}
	return f
}

func (f *feeder) partition(topic string, id int32, at int64) *fed {
	return &fed{topic: topic, id: id, at: at, pace: 20 + f.r.Int64N(200), seen: nothingYet}
}

// begin begins a life in which some topics are read.
func (f *feeder) begin(topics []string) {
	f.begun, f.read = time.Now(), nil
	for _, p := range f.parts {
		if slices.Contains(topics, p.topic) {
			f.read = append(f.read, p)
		}
	}
}

// awake tells that a partition cannot be idle now, nor soon: it has not been quiet for
// long enough. A partition may be known later than it is there.
func (f *feeder) awake(p *fed) bool {
	now := time.Now()
	since := p.last
	if f.begun.After(since) {
		since = f.begun
	}
	return !now.Before(p.known) && (f.plan.idle == 0 || now.Sub(since)+margin < f.plan.idle)
}

// observe notes how far windows may have fired by now. Event time is not further than the
// slowest of those that cannot be idle; or, if all may be, than the furthest.
func (f *feeder) observe() {
	slowest, furthest := int64(math.MaxInt64), int64(nothingYet)
	for _, p := range f.read {
		own := p.own(f.plan.bound)
		furthest = max(furthest, own)
		if f.awake(p) {
			slowest = min(slowest, own)
		}
	}
	b := boundsAt{at: time.Now(), seen: map[string]int64{}}
	for _, p := range f.read {
		p.seen = max(p.seen, min(slowest, furthest))
		b.seen[p.name()] = p.seen
		b.seen[""] = max(b.seen[""], p.seen)
	}
	f.bounds = append(f.bounds, b)
}

// boundAt is not below the watermark that windows had fired up to at some time.
func (f *feeder) boundAt(at time.Time, name string) int64 {
	for _, b := range f.bounds {
		if b.at.After(at) {
			return b.seen[name]
		}
	}
	return math.MaxInt64
}

// step feeds one partition, or some, and lets a while pass. A partition that may be idle
// is fed alone: what it gets is not late only if the others stay where they are meanwhile. It runs in the bubble.
func (f *feeder) step() {
	f.observe()
	if p := pick(f.r, f.parts...); !f.awake(p) {
		f.feed(p)
		time.Sleep(margin - time.Second)
		f.observe()
		return
	}
	for _, p := range f.parts {
		if f.awake(p) && f.r.IntN(3) > 0 {
			f.feed(p)
		}
	}
	switch {
	case f.r.IntN(8) == 0:
		time.Sleep(upTo(f.r, 40*time.Second))
	case f.r.IntN(2) == 0:
		time.Sleep(upTo(f.r, 2*time.Second))
	}
	time.Sleep(5*time.Millisecond + upTo(f.r, 200*time.Millisecond))
	f.observe()
}

// feed writes some records to a partition.
func (f *feeder) feed(p *fed) {
	f.t.Helper()
	n := 1 + f.r.IntN(pick(f.r, 3, 25))
	rs := make([]*kgo.Record, 0, n)
	for range n {
		p.at += f.r.Int64N(p.pace)
		if f.r.IntN(20) == 0 {
			p.at += f.r.Int64N(4000)
		}
		fa := f.fact(p)
		f.facts = append(f.facts, fa)
		b, err := json.Marshal(fa)
		if err != nil {
			f.t.Fatal(err)
		}
		rs = append(rs, &kgo.Record{Topic: p.topic, Partition: p.id, Value: b})
	}
	p.last = time.Now()
	kafkatest.Produce(f.t, f.e, rs...)
}

func (f *feeder) fact(p *fed) fact {
	p.at = max(p.at, p.seen)
	at := p.at - f.r.Int64N(f.plan.bound+1)
	at = max(at, p.own(f.plan.bound), p.seen)
	if f.plan.tardy && f.r.IntN(10) == 0 {
		at -= f.r.Int64N(8000)
	}
	for f.taken[at] {
		at++ // Of two with the same event time first and last would be whoever came first.
	}
	f.taken[at] = true
	v := int64(len(f.facts) + 1)
	fa := fact{click: click{T: at, U: fmt.Sprintf("u%d", f.r.IntN(4)), V: v, F: float64(v) / 8}, P: p.name(), late: at < p.own(f.plan.bound)}
	if !p.begun || at > p.highest {
		p.begun, p.highest = true, at
	}
	fa.reached = p.own(f.plan.bound)
	return fa
}

// grow gives a topic one more partition, whose records may be older than all that was
// read. Until the stream has found it, it holds nobody back. It runs in the bubble.
func (f *feeder) grow() {
	f.t.Helper()
	topic, n := pick(f.r, f.parts...).topic, int32(0)
	lowest := int64(math.MaxInt64)
	for _, p := range f.parts {
		if p.topic == topic {
			n++
		}
		lowest = min(lowest, p.at)
	}
	f.observe()
	kafkatest.AddPartitions(f.t, f.e, topic, int(n)+1)
	p := f.partition(topic, n, lowest-f.r.Int64N(20_000))
	p.known = time.Now().Add(margin)
	f.feed(p)
	f.parts, f.read = append(f.parts, p), append(f.read, p)
	time.Sleep(margin)
	f.observe()
}
