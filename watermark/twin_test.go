package watermark_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/watermark"
)

// twin is the tracker as it is defined, with nothing kept that can be counted anew:
// what happened to each partition, in order.
type twin struct {
	happened map[int][]event
	// seen holds what Now was after each step.
	seen []watermark.Time
	// decided: the last step was to decide.
	decided bool
}

type event struct {
	what string
	step int
	w    watermark.Time
	// quiet is for how long.
	quiet time.Duration
	p     watermark.Progress
	r     watermark.Rules
}

func (tw *twin) since(k int) []event {
	es := tw.happened[k]
	for i := len(es) - 1; i >= 0; i-- {
		switch es[i].what {
		case "remove":
			return nil
		case "add":
			return es[i:]
		}
	}
	return nil
}

func (tw *twin) there() (ks []int) {
	for k := range tw.happened {
		if tw.since(k) != nil {
			ks = append(ks, k)
		}
	}
	return ks
}

func (tw *twin) finished(k int) bool {
	for _, e := range tw.since(k) {
		if e.what == "finish" {
			return true
		}
	}
	return false
}

func (tw *twin) own(k int) watermark.Time {
	if tw.finished(k) {
		return watermark.End
	}
	own := watermark.None
	for _, e := range tw.since(k) {
		switch e.what {
		case "add":
			own = e.p.Own
		case "advance":
			own = max(own, e.w)
		}
	}
	return own
}

// idle: it was quiet for long enough when it was decided, while nobody held it, and
// nothing has come since.
func (tw *twin) idle(k int) bool {
	if tw.finished(k) {
		return false
	}
	idle, held := false, false
	var quiet time.Duration
	for _, e := range tw.since(k) {
		switch e.what {
		case "advance":
			quiet, idle = 0, false
		case "quiet":
			quiet, idle = e.quiet, idle && e.quiet > 0
		case "decide":
			if r := tw.since(k)[0].r; !held && r.IdleAfter > 0 && quiet >= r.IdleAfter {
				idle = true
			}
		case "held", "free":
			held = e.what == "held"
		}
	}
	return idle
}

func (tw *twin) empty(k int) bool {
	quiet := false
	for _, e := range tw.since(k) {
		switch e.what {
		case "advance":
			quiet = false
		case "quiet":
			quiet = e.quiet > 0
		}
	}
	return quiet && tw.own(k) == watermark.None
}

func (tw *twin) held(k int) bool {
	if tw.idle(k) || tw.finished(k) {
		return false
	}
	r := tw.since(k)[0].r
	for _, other := range tw.there() {
		if tw.idle(other) || tw.finished(other) || tw.empty(other) {
			continue
		}
		if r.MaxDrift > 0 && tw.own(k) > tw.own(other).Add(r.MaxDrift) {
			return true
		}
	}
	return false
}

func (tw *twin) now() (now watermark.Time, idle bool) {
	now, idle = watermark.End, true
	fastest, waiting := watermark.None, false
	for _, k := range tw.there() {
		switch {
		case tw.finished(k):
		case tw.idle(k):
			fastest, waiting = max(fastest, tw.own(k)), true
		default:
			now, idle = min(now, tw.own(k)), false
		}
	}
	switch {
	case len(tw.there()) == 0:
		return watermark.None, true
	case idle && waiting:
		return fastest, true
	}
	return now, idle
}

func (tw *twin) progress(k int) watermark.Progress {
	add := tw.since(k)[0]
	p := watermark.Progress{Own: tw.own(k), Seen: add.p.Seen}
	for _, w := range tw.seen[add.step:] {
		p.Seen = max(p.Seen, w)
	}
	return p
}

func (tw *twin) note(k int, e event) {
	e.step = len(tw.seen)
	tw.happened[k] = append(tw.happened[k], e)
}

// do does the same to both.
func (tw *twin) do(tr *watermark.Tracker[int], r *rand.Rand) {
	tw.decided = false
	k := r.IntN(4)
	w := watermark.Time(r.IntN(60))
	switch op := r.IntN(20); {
	case op < 2:
		rules := watermark.Rules{
			IdleAfter: time.Duration(r.IntN(3)) * time.Second, MaxDrift: time.Duration(r.IntN(3)) * 10 * time.Millisecond,
		}
		from := map[int]watermark.Progress{}
		for _, k := range r.Perm(4)[:1+r.IntN(3)] {
			from[k] = watermark.Start
			if r.IntN(2) == 0 {
				from[k] = watermark.Progress{Own: watermark.Time(r.IntN(60)), Seen: watermark.Time(r.IntN(60))}
			}
			tw.note(k, event{what: "add", p: from[k], r: rules})
		}
		tr.Add(from, rules)
	case op < 3:
		tr.Remove(k)
		tw.note(k, event{what: "remove"})
	case op < 9:
		tr.Advance(k, w)
		tw.note(k, event{what: "advance", w: w})
	case op < 14:
		d := time.Duration(r.IntN(4)) * time.Second
		tr.Quiet(k, d)
		tw.note(k, event{what: "quiet", quiet: d})
	case op < 15:
		tr.Finish(k)
		tw.note(k, event{what: "finish"})
	default:
		tr.Decide()
		tw.decided = true
		for _, k := range tw.there() {
			tw.note(k, event{what: "decide"})
		}
		held := map[int]bool{}
		for _, k := range tw.there() {
			held[k] = tw.held(k)
		}
		for k, is := range held {
			tw.note(k, event{what: map[bool]string{true: "held", false: "free"}[is]})
		}
	}
	last, _ := tw.now()
	tw.seen = append(tw.seen, last)
}

// wasHeld is what was decided last.
func (tw *twin) wasHeld(k int) bool {
	held := false
	for _, e := range tw.since(k) {
		switch e.what {
		case "held":
			held = true
		case "free":
			held = false
		}
	}
	return held
}

func (tw *twin) compare(t *testing.T, tr *watermark.Tracker[int]) {
	m := tr.Merged()
	now, idle := tw.now()
	require.Equal(t, now, m.Now())
	require.Equal(t, idle, m.Idle())
	high := watermark.None
	for _, w := range tw.seen {
		high = max(high, w)
	}
	require.Equal(t, high, m.High())
	free := 0
	for k := range 4 {
		p, ok := m.Of(k)
		require.Equal(t, tw.since(k) != nil, ok)
		if !ok {
			continue
		}
		require.Equal(t, tw.progress(k), p, "partition %d", k)
		require.Equal(t, tw.idle(k), m.IsIdle(k), "partition %d", k)
		require.Equal(t, tw.wasHeld(k), tr.Held(k), "partition %d", k)
		require.False(t, tr.Held(k) && m.IsIdle(k), "who is held is not idle")
		if !tr.Held(k) {
			free++
		}
	}
	require.True(t, free > 0 || len(tw.there()) == 0 || !tw.decided, "somebody always moves on")
}

func TestTrackerAgainstItsTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rounds := 100
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed, rounds = n, 1
	}
	for round := range rounds {
		again := seed + uint64(round)
		r := rand.New(rand.NewPCG(again, 0))
		tr, tw := watermark.NewTracker[int](), &twin{happened: map[int][]event{}}
		for range 150 {
			tw.do(tr, r)
			tw.compare(t, tr)
			if t.Failed() {
				break
			}
		}
		if t.Failed() {
			t.Logf("replay with TIDEMARK_SEED=%d go test ./watermark -run '^%s$'", again, t.Name())
			return
		}
	}
}
