package behaviour

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

const (
	// ordinary is how many rounds that count a form plays in an ordinary test run.
	ordinary = 8
	// perBubble is how many rounds share a cluster: what dead processes leave behind
	// makes later ones slower.
	perBubble = 15
	// standstill is how long a bubble may take, in real time. Somebody who waits with a mutex
	// stops its clock.
	standstill = 4 * time.Minute
)

// form is a way to deliver exactly once.
type form struct {
	name string
	// static: the processes are shards, not members of a group.
	static bool
	// store: positions are kept in a topic.
	store bool
	// apart: what is written, and the store, are on another cluster.
	apart bool
	// windows: what is written are results of windows.
	windows bool
	faults  []roundFault
}

// TestExactlyOnceRounds hurts processes that deliver exactly once, in all ways at random: whoever
// reads committed records gets each of them once and in order, the group's offsets never go
// back, and what dead processes had open is over soon. It is what internal/soak does to a
// real Kafka, in virtual time.
func TestExactlyOnceRounds(t *testing.T) {
	for _, f := range []form{
		{name: "offsets", faults: memberFaults},
		{name: "topic", store: true, faults: memberFaults},
		{name: "windows", store: true, windows: true, faults: memberFaults},
		{name: "shards", store: true, static: true, faults: shardFaults},
		// Not a group: while it joins, the client lets commits of offsets, which are no part of
		// the transaction here, wait with a mutex, which stops the clock that others join by.
		{name: "clusters", store: true, static: true, apart: true, faults: shardFaults},
	} {
		t.Run(f.name, func(t *testing.T) { playRounds(t, &f) })
	}
}

// playRounds plays rounds of a form, in as many bubbles as that takes.
func playRounds(t *testing.T, f *form) {
	p, v := soak.Begin(t, "exactly once in virtual time, "+f.name, 1)
	if !p.Full {
		p.Rounds = ordinary
	}
	w := &roundsWorld{tales: map[string]*tale{}}
	w.env = environment(t, w)
	v.Extra = map[string]any{"faults": w.tales}
	all := soak.NewAudit(1)
	for n := uint64(0); p.More() && !all.Red() && !t.Failed(); n++ {
		seed := v.Seed + n // so that a bubble can be played again by itself
		watch := time.AfterFunc(standstill, func() {
			debug.SetTraceback("all")
			panic(fmt.Sprintf("%s: the clock of the bubble with TIDEMARK_SEED=%d stands still", f.name, seed))
		})
		synctest.Test(t, func(t *testing.T) {
			c := newRoundsCrew(t, w, f, rand.New(rand.NewPCG(seed, 0)), v)
			t.Logf("a new cluster; again with TIDEMARK_SEED=%d", seed)
			for n := 0; n < perBubble && p.More() && c.round(); n++ {
				c.log("round %d: %d counted, %d processes", v.Rounds, v.Counted, len(c.mates))
			}
			c.conclude()
			first, _ := c.audit.Violations()
			for _, found := range first {
				all.Violate(found.Fault, "seed %d: %s", seed, found.What)
			}
		})
		watch.Stop()
	}
	if v.Counted < p.Rounds {
		all.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
	}
	v.Conclude(t, all)
}

// tale is how often a fault was played, and how often it hit an open transaction.
type tale struct {
	Played int `json:"played"`
	Open   int `json:"open"`
}

// roundsWorld is what the components of all processes refer to: to make an environment for
// each would cost more than its life.
type roundsWorld struct {
	kafkatest.Endpoint
	env   *service.Environment
	of    []dialer
	tales map[string]*tale
}

// Dial connects to whichever cluster of the bubble that runs has an address.
func (w *roundsWorld) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var errs []error
	for _, d := range w.of {
		conn, err := d.Dial(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
