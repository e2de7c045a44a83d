package checkpoint_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestMachineKeepsItsPromises tells a machine anything in any order, answers to
// questions it never asked included, and checks what holds at all times. In the
// end everybody answers, and nothing may be left open.
func TestMachineKeepsItsPromises(t *testing.T) {
	random(t, func(t require.TestingT, r *rand.Rand) {
		w := newWalk(t, r)
		for range 40 + r.IntN(200) {
			w.event()
		}
		w.settle()
	})
}

// walk is a machine and what an onlooker knows of it from its actions alone.
type walk struct {
	t    require.TestingT
	r    *rand.Rand
	m    *checkpoint.Machine
	now  time.Time
	kind checkpoint.Kind
	log  []string

	// underWay is the checkpoint begun and not ended, 0 if none; cutTaken tells
	// that its positions are frozen, persisting that the store was asked.
	underWay, highest checkpoint.ID
	cutAsked          bool
	persisted         checkpoint.ID
	persisting        checkpoint.ID
	gate              bool // closed
	rewinding         bool
	over              bool // dead, or the final checkpoint is complete
	aborted, restored bool
	aborting          bool
	restoring         bool
	// waiting holds for each request the checkpoint that answers it, 0 if it has
	// not begun.
	waiting []checkpoint.ID
}

func newWalk(t require.TestingT, r *rand.Rand) *walk {
	conf := checkpoint.Config{
		Interval:          pick(r, 0, time.Second, 10*time.Second),
		Timeout:           pick(r, time.Second, 5*time.Second, time.Minute),
		MinPause:          pick(r, 0, time.Second),
		TolerableFailures: pick(r, -1, -1, 0, 2),
		Restart:           checkpoint.DefaultRestart,
	}
	conf.Restart.MaxRestarts = pick(r, 0, 0, 0, 5)
	w := &walk{t: t, r: r, now: time.Unix(1e9, 0), kind: checkpoint.Running}
	w.highest = checkpoint.ID(r.IntN(5))
	w.persisted = checkpoint.ID(r.IntN(int(w.highest) + 1))
	w.m = checkpoint.NewMachine(conf, r.Float64)
	w.m.Start(w.now, w.persisted, w.highest)
	return w
}

// event tells the machine something at random, likely the next thing in turn.
func (w *walk) event() {
	if w.r.IntN(8) == 0 {
		w.kind = pick(w.r, checkpoint.Running, checkpoint.Aligned)
	}
	w.now = w.now.Add(pick(w.r, 0, 0, time.Millisecond, 300*time.Millisecond, 2*time.Second, 40*time.Second))
	id := max(w.underWay, w.persisting)
	if w.r.IntN(10) == 0 {
		id += checkpoint.ID(w.r.IntN(3) - 1)
	}
	err := pick(w.r, nil, nil, nil, errors.New("broker away"))
	switch w.r.IntN(14) {
	case 0, 1, 2:
		w.perform("tick", w.m.Tick(w.now, w.kind))
	case 3:
		w.request()
	case 4, 5:
		w.perform("aligned", w.m.Aligned(w.now))
	case 6:
		w.perform(fmt.Sprint("flushed ", id, err), w.m.Flushed(w.now, w.kind, id, err))
	case 7, 8:
		w.tellPersisted(id, err)
	case 9:
		w.perform(fmt.Sprint("committed ", id), w.m.Committed(w.now, w.kind, id))
	case 10:
		w.tellAborted(err)
	case 11:
		w.tellRestored(err)
	case 12:
		w.perform("drained", w.m.Drained(w.now))
	case 13:
		w.rarely()
	}
	// The engine answers a cut under the same lock: nothing comes in between.
	if w.cutAsked {
		w.cutAsked = false
		w.perform(fmt.Sprint("cut-taken ", err), w.m.CutTaken(w.now, w.kind, err))
	}
}

func (w *walk) rarely() {
	switch w.r.IntN(20) {
	case 0:
		w.perform("kill", w.m.Kill(errors.New("fenced")))
	case 1, 2, 3, 4, 5, 6, 7:
		w.perform("fail", w.m.Fail(w.now, errors.New("record refused")))
	}
}

func (w *walk) request() {
	if w.rewinding || w.over {
		// Whoever asks now is refused.
		w.perform("request", w.m.Request(w.now, w.kind, false))
		return
	}
	w.waiting = append(w.waiting, 0)
	final := w.r.IntN(10) == 0
	w.perform(fmt.Sprint("request ", final), w.m.Request(w.now, w.kind, final))
}

func (w *walk) tellPersisted(id checkpoint.ID, err error) {
	if w.persisting != 0 && id == w.persisting {
		if err == nil {
			w.persisted = id
		}
		w.persisting = 0
	}
	w.perform(fmt.Sprint("persisted ", id, err), w.m.Persisted(w.now, w.kind, id, err))
}

func (w *walk) tellAborted(err error) {
	if w.aborting && err == nil {
		w.aborted = true
	}
	w.aborting = false
	w.perform(fmt.Sprint("aborted ", err), w.m.Aborted(w.now, w.kind, err))
}

func (w *walk) tellRestored(err error) {
	if w.restoring && err == nil {
		w.restored = true
	}
	w.restoring = false
	w.perform(fmt.Sprint("restored ", err), w.m.Restored(w.now, err))
}

func (w *walk) perform(event string, acts []checkpoint.Action) {
	w.log = append(w.log, event)
	for _, a := range acts {
		w.log = append(w.log, "  "+a.String())
		w.check(a)
	}
	closed := w.gate
	w.true(closed == (w.rewinding || w.m.String() == fmt.Sprintf("aligning %d", w.underWay) || closed && (w.cutAsked || w.over)),
		"the gate is closed=%v in %q", closed, w.m)
	w.true(w.over || w.m.LastComplete() == w.persisted, "the machine takes %d for complete, the store has %d", w.m.LastComplete(), w.persisted)
	w.true(w.m.Rewinding() == w.rewinding, "rewinding=%v in %q", w.rewinding, w.m)
}

// check is what may happen at the moment, action by action.
func (w *walk) check(a checkpoint.Action) {
	w.true(!w.over || a.Op == checkpoint.Die || a.Op == checkpoint.CancelFlush, "%v after the end", a)
	switch a.Op {
	case checkpoint.Align:
		w.begin(a)
		w.gate = true
	case checkpoint.Unalign:
		w.true(w.gate && !w.rewinding, "%v, but nothing was aligned", a)
		w.gate = false
	case checkpoint.Cut:
		if a.Kind == checkpoint.Running {
			w.begin(a)
		}
		w.true(w.underWay == a.ID && !w.rewinding, "%v out of turn", a)
		w.true(a.Kind == checkpoint.Running || w.gate, "%v with the gate open", a)
		w.cutAsked = true
	case checkpoint.Flush:
		w.true(w.underWay == a.ID && !w.rewinding, "%v out of turn", a)
	case checkpoint.Persist:
		w.true(w.underWay == a.ID && !w.rewinding && w.persisting == 0, "%v out of turn", a)
		w.persisting = a.ID
	case checkpoint.Commit:
		w.true(w.persisted == a.ID && w.underWay == a.ID && !w.rewinding, "%v before it is persisted", a)
	case checkpoint.Completed:
		w.true(w.persisted == a.ID, "%v before it is persisted", a)
		w.end(a)
		w.over = w.over || a.Final
		if a.Final {
			w.waiting = nil // Nothing is left to cover.
		}
	case checkpoint.Failed:
		w.end(a)
	default:
		w.checkRewind(a)
	}
}

func (w *walk) checkRewind(a checkpoint.Action) {
	switch a.Op {
	case checkpoint.Discard:
		w.true(!w.rewinding, "%v twice", a)
		w.rewinding, w.gate = true, true
		w.underWay, w.waiting = 0, nil
		w.aborted, w.restored = false, false
	case checkpoint.Abort:
		w.true(w.rewinding && w.persisting == 0, "%v while a persist is under way", a)
		w.aborting = true
	case checkpoint.Restore:
		w.true(w.rewinding && w.aborted, "%v before everything is aborted", a)
		w.restoring = true
	case checkpoint.Resume:
		w.true(w.rewinding && w.aborted && w.restored, "%v before everybody is back", a)
		w.rewinding, w.gate = false, false
	case checkpoint.Die:
		w.rewinding, w.over = false, true
		w.waiting = nil
	}
}

func (w *walk) begin(a checkpoint.Action) {
	w.true(w.underWay == 0 && !w.rewinding, "%v while %d is under way", a, w.underWay)
	w.true(a.ID > w.highest, "%v, but %d was used", a, w.highest)
	w.underWay, w.highest = a.ID, a.ID
	for i := range w.waiting {
		if w.waiting[i] == 0 {
			w.waiting[i] = a.ID
		}
	}
}

func (w *walk) end(a checkpoint.Action) {
	w.true(w.underWay == a.ID, "%v, but %d is under way", a, w.underWay)
	w.underWay = 0
	kept := w.waiting[:0]
	for _, id := range w.waiting {
		if id != a.ID {
			kept = append(kept, id)
		}
	}
	w.waiting = kept
}

// settle answers whatever the machine waits for until it rests.
func (w *walk) settle() {
	w.kind = checkpoint.Aligned
	for range 50 {
		if w.over || !w.rewinding && w.underWay == 0 && len(w.waiting) == 0 {
			return
		}
		if at := w.m.Wake(); at.After(w.now) && w.rewinding {
			w.now = at
		}
		w.perform("tick", w.m.Tick(w.now, w.kind))
		w.perform("aligned", w.m.Aligned(w.now))
		if w.cutAsked {
			w.cutAsked = false
			w.perform("cut-taken", w.m.CutTaken(w.now, w.kind, nil))
		}
		w.perform("flushed", w.m.Flushed(w.now, w.kind, w.underWay, nil))
		w.tellPersisted(max(w.underWay, w.persisting), nil)
		w.perform("committed", w.m.Committed(w.now, w.kind, w.underWay))
		w.perform("drained", w.m.Drained(w.now))
		w.tellAborted(nil)
		w.tellRestored(nil)
	}
	w.true(false, "still %q with %d under way and %v waiting", w.m, w.underWay, w.waiting)
}

func (w *walk) true(ok bool, format string, args ...any) {
	if !ok {
		w.t.Errorf("%s, after:\n%s", fmt.Sprintf(format, args...), tail(w.log, 30))
		w.t.FailNow()
	}
}

func tail(log []string, n int) string {
	s := ""
	for _, l := range log[max(0, len(log)-n):] {
		s += l + "\n"
	}
	return s
}
