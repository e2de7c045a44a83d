package behaviour

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// open returns when the transactions that are open began, by transactional id.
func (c *roundsCrew) open() map[string]time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	listed, err := c.admin.ListTransactions(ctx, nil, []string{"Ongoing"})
	require.NoError(c.t, err)
	if len(listed) == 0 {
		return nil
	}
	described, err := c.admin.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	require.NoError(c.t, err)
	open := map[string]time.Time{}
	for id, d := range described {
		if d.Err == nil && d.State == "Ongoing" && !c.phantom(ctx, &d) {
			open[id] = time.UnixMilli(d.StartTimestamp)
		}
	}
	return open
}

// phantom tells a transaction that kfake, unlike Kafka, has begun for records of an old epoch
// which it refused. There is nothing in it.
func (c *roundsCrew) phantom(ctx context.Context, d *kadm.DescribedTransaction) bool {
	if len(d.Topics) == 0 {
		return false
	}
	producers, err := c.admin.DescribeProducers(ctx, d.Topics)
	require.NoError(c.t, err)
	for _, p := range producers.SortedProducers() {
		if p.ProducerID == d.ProducerID && p.CurrentTxnStartOffset >= 0 {
			return false
		}
	}
	return true
}

// opened tells whether a process has a transaction open.
func (c *roundsCrew) opened(m *roundMate) bool {
	which := "-"
	if c.form.static {
		which = fmt.Sprintf("-j-%d-of-%d", m.index, m.count)
	}
	for id := range c.open() {
		if strings.HasPrefix(id, m.prefix+which) {
			return true
		}
	}
	return false
}

// await waits for a condition, and says so if it does not come about.
func (c *roundsCrew) await(what string, so func() bool) bool {
	for end := time.Now().Add(recovering); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			c.audit.Violate(soak.Unhealthy, "after %v: no %s; fed %v, shown %v, committed %v, open %v",
				recovering, what, c.feed.written(), c.shown(), committed(c.from, c.in), slices.Sorted(maps.Keys(c.open())))
			return false
		}
	}
	return true
}

// settled waits until everybody is in his place, and all that was written by now is shown.
func (c *roundsCrew) settled() bool {
	if !c.form.static && !c.await(fmt.Sprintf("group of %d", len(c.mates)), c.gathered) {
		return false
	}
	return c.flowing()
}

// gathered tells that the group has exactly the members that it should have.
func (c *roundsCrew) gathered() bool {
	g := c.from.GroupInfo("g")
	return g != nil && g.State == "Stable" && len(g.Members) == len(c.mates)
}

// flowing waits until all that was written by now is shown.
func (c *roundsCrew) flowing() bool {
	if c.windows != nil {
		to := c.windows.latest()
		return c.await(fmt.Sprintf("results up to %v", to), func() bool { return len(c.windows.lacking(to)) == 0 })
	}
	to := c.feed.written()
	return c.await("records of all partitions", func() bool {
		for p, n := range c.audit.Next() {
			if n < to[p] {
				return false
			}
		}
		return true
	})
}

// shown is how far partitions have come, or what is missing of their windows.
func (c *roundsCrew) shown() any {
	if c.windows != nil {
		return c.windows.lacking(c.windows.latest())
	}
	return c.audit.Next()
}

// ended waits until no transaction is open that began before a moment.
func (c *roundsCrew) ended(before time.Time) bool {
	var open map[string]time.Time
	for end := time.Now().Add(ending); ; time.Sleep(50 * time.Millisecond) {
		open = c.open()
		maps.DeleteFunc(open, func(_ string, began time.Time) bool { return !began.Before(before) })
		if len(open) == 0 {
			return true
		}
		if time.Now().After(end) {
			c.audit.Violate(soak.LeftOpen, "from before %v: %v", before.Sub(c.begun), open)
			return false
		}
	}
}

// round plays one fault and judges what comes of it. It returns false if going on makes no
// sense.
func (c *roundsCrew) round() bool {
	if len(c.order) == 0 {
		c.order = c.random.Perm(len(c.form.faults))
	}
	f := c.form.faults[c.order[0]]
	c.order = c.order[1:]
	c.log("%s", f.name)
	h, ok := f.play(c)
	if ok {
		ok = c.flowing()
	}
	if h.finish != nil {
		h.finish() // also to let the bubble end
	}
	if !ok || !c.settled() || !c.ended(h.at) || !c.alive() {
		c.audit.Violate(soak.Unhealthy, "that was %q", f.name)
		return false
	}
	c.note(f.name, h)
	return !c.audit.Red()
}

// alive finds processes that have ended by themselves.
func (c *roundsCrew) alive() bool {
	for _, m := range c.mates {
		if m.over() {
			c.audit.Violate(soak.Unhealthy, "%s has ended: %s", m.name, tail(m.logs.String(), 5))
			return false
		}
	}
	return true
}

func (c *roundsCrew) note(name string, h roundHit) {
	s := c.w.tales[name]
	if s == nil {
		s = &tale{}
		c.w.tales[name] = s
	}
	s.Played++
	c.v.Rounds++
	if h.open {
		s.Open++
		c.v.Counted++
	}
	if h.open && strings.HasPrefix(name, "kill") {
		c.v.KillsInFlight++
	}
}

// conclude ends everybody in order, and compares all with what was fed.
func (c *roundsCrew) conclude() {
	c.feed.end()
	if c.windows != nil {
		c.windows.close(c.t, c.from, c.in)
	}
	if !c.audit.Red() && c.flowing() {
		for _, m := range c.mates {
			if err := m.stop(); err != nil {
				c.audit.Violate(soak.Unhealthy, "%s did not end in order: %v", m.name, err)
			}
		}
		c.ended(time.Now().Add(time.Hour))
		c.compare()
	}
	for _, w := range c.wentBack() {
		c.audit.Violate(soak.CommitBack, "partition %s", w)
	}
	for _, n := range c.feed.written() {
		c.v.Records += n
	}
	if c.audit.Red() {
		c.t.Errorf("%s", c.audit)
	}
}

// compare compares all that is there in the end with what was fed.
func (c *roundsCrew) compare() {
	if c.windows != nil {
		c.log("%v", c.windows)
		c.windows.compare(kafkatest.ReadCommitted(c.t, c.to, c.out))
		return
	}
	ends := c.feed.written()
	c.audit.Finish(ends, ends)
	if got := numbers(c.t, c.to, c.out); !maps.EqualFunc(got, c.feed.numbers(), slices.Equal) {
		c.audit.Violate(soak.Altered, "read again, it is another: %v", got)
	}
}
