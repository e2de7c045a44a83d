package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestInvariant01_Covered runs a stream of two sources and two sinks for some
// virtual minutes while flushes fail, records are rejected and sinks break, lets
// it crash and start again, and looks at every checkpoint at the moment it is
// written: all below its positions is in a sink, and state counts exactly that.
func TestInvariant01_Covered(t *testing.T) {
	for _, kind := range []checkpoint.Kind{checkpoint.Running, checkpoint.Aligned} {
		for i := range 5 {
			seed := uint64(time.Now().UnixNano()) + uint64(i)
			if s, err := strconv.ParseUint(os.Getenv("TIDEMARK_SEED"), 10, 64); err == nil {
				seed = s
			}
			t.Run(kind.String(), func(t *testing.T) {
				t.Logf("replay with TIDEMARK_SEED=%d go test ./internal/engine -run '^TestInvariant01_Covered$'", seed)
				synctest.Test(t, func(t *testing.T) {
					c := &chaos{t: t, r: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), stateful: kind == checkpoint.Aligned}
					for run := range 4 {
						c.run(run%2 == 1)
					}
				})
			})
		}
	}
}

// chaos is a stream under failures, in a bubble. What is durable outlives its runs.
type chaos struct {
	t        *testing.T
	mu       sync.Mutex // guards r
	r        *rand.Rand
	dir      string
	stateful bool
	durable  map[place]int
	last     checkpoint.ID
}

func (c *chaos) intn(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}

// run lets the stream run for at least two minutes and then crash, or end in order.
func (c *chaos) run(crash bool) {
	j := &journal{}
	co := newRegistry().build()
	feeds := []*feed{newFeed(j, "a", 0, 1), newFeed(j, "b", 0, 1)}
	drains := []*drain{newDrain(j, "x"), newDrain(j, "y")}
	var err error
	for _, f := range feeds {
		f.handle, err = co.JoinSource(f.name, f, settings(c.dir))
		require.NoError(c.t, err)
	}
	var op *tally
	if c.stateful {
		op = newTally(j, "tally")
		op.handle, err = co.JoinOperator(op.name, op)
		require.NoError(c.t, err)
	}
	for _, d := range drains {
		maps.Copy(d.durable, c.durable)
		if !c.stateful {
			d.capacity = 5 // Only a flush makes room, and an aligned cut comes before the flush.
		}
		d.handle, err = co.JoinSink(d.name, d)
		require.NoError(c.t, err)
	}
	for _, f := range feeds {
		require.Equal(c.t, c.last, f.restore(c.t).ID)
	}
	c.t.Cleanup(func() { co.kill(checkpoint.ErrDead); co.shut() })
	v := watch(co, j)
	v.onPersist = func(m *checkpoint.Manifest) { c.check(m, drains) }
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var work sync.WaitGroup
	for _, f := range feeds {
		for range 3 {
			work.Go(func() { c.pump(ctx, f, op, drains) })
		}
	}
	c.disturb(2*time.Minute, feeds, drains)
	heal := func() {
		for _, d := range drains {
			d.set(func(d *drain) { d.flushErr, d.holdFlush = nil, nil; d.room.Broadcast() })
		}
	}
	// By chance something was broken all the time. Then it crashes when it is well.
	for healed := time.Now(); v.last().ID <= c.last; time.Sleep(time.Second) {
		heal()
		require.Less(c.t, time.Since(healed), time.Minute, "no checkpoint is completed although nothing is broken any more")
	}
	if crash {
		co.kill(checkpoint.ErrDead)
	}
	heal()
	cancel()
	work.Wait()
	if !crash {
		for _, f := range feeds {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if err := f.handle.Close(ctx); err != nil { // A rewind dropped what it had delivered.
				require.ErrorContains(c.t, err, "the next start repeats what it would have covered")
			}
			cancel()
		}
	}
	co.shut()
	c.outlive(v, drains)
}

// outlive keeps what a crash of the process would leave behind.
func (c *chaos) outlive(v *vault, drains []*drain) {
	m := v.last()
	require.Greater(c.t, m.ID, c.last)
	c.last = m.ID
	c.durable = map[place]int{}
	for _, d := range drains {
		maps.Copy(c.durable, d.durable)
	}
	if !c.stateful {
		return
	}
	st := openAgain(c.t, c.dir)
	defer st.Close()
	for p, pos := range m.Positions {
		v, err := st.Get("tally", p, countKey)
		require.NoError(c.t, err)
		require.EqualValues(c.t, pos.Next, binary.BigEndian.Uint64(v), "state of %s at checkpoint %d", p, m.ID)
	}
}

func (c *chaos) check(m *checkpoint.Manifest, drains []*drain) {
	for p, pos := range m.Positions {
		for o := range pos.Next {
			if !drains[0].has(p, o) && !drains[1].has(p, o) {
				c.t.Errorf("checkpoint %d covers offset %d of %s, which is nowhere", m.ID, o, p)
				return
			}
		}
	}
}

// pump takes records of a source all the way, one at a time, in the bubble.
func (c *chaos) pump(ctx context.Context, f *feed, op *tally, drains []*drain) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(1+c.intn(300)) * time.Millisecond)
		r, err := f.emit(ctx, int32(c.intn(2)))
		if err != nil || r == nil {
			continue
		}
		time.Sleep(time.Duration(c.intn(50)) * time.Millisecond)
		for c.intn(200) == 0 && r.origin.Entry.State() == checkpoint.Live {
			if !f.handle.Nack(errors.New("rejected")) {
				break
			}
		}
		if op != nil && r.origin.Entry.State() == checkpoint.Live {
			if err := op.process(r); err != nil {
				f.handle.Leave(r.origin.Entry, err)
				continue
			}
		}
		if err := drains[c.intn(2)].write(r); err != nil {
			f.handle.Leave(r.origin.Entry, err)
			continue
		}
		f.ack(r)
	}
}

// disturb makes things go wrong, and right again, in the bubble.
func (c *chaos) disturb(lasts time.Duration, feeds []*feed, drains []*drain) {
	for began := time.Now(); time.Since(began) < lasts; {
		time.Sleep(time.Duration(1+c.intn(3000)) * time.Millisecond)
		d := drains[c.intn(2)]
		switch c.intn(6) {
		case 0:
			d.set(func(d *drain) { d.flushErr = errors.New("broker away") })
		case 1, 2:
			d.set(func(d *drain) { d.flushErr = nil })
		case 3:
			d.handle.Fail(errors.New("record refused"))
		case 4:
			feeds[c.intn(2)].handle.Fail(errors.New("mapping failed"))
		case 5:
			hold := make(chan struct{})
			d.set(func(d *drain) { d.holdFlush = hold })
			time.Sleep(time.Duration(c.intn(12)) * time.Second)
			d.set(func(d *drain) { d.holdFlush = nil })
			close(hold)
		}
	}
}
