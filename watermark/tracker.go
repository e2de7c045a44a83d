package watermark

import "time"

// Tracker is a Merger that finds out by itself which partitions are idle, and which are
// so far ahead that they have to wait. K names a partition.
//
// A partition is idle when it has nothing to read and nothing came for Rules.IdleAfter,
// until something comes. One that has more to read, or that has to wait, is never idle:
// event time would move on without its records.
type Tracker[K comparable] struct {
	merger  *Merger[K]
	tracked map[K]*tracked
}

// Rules are what a partition is tracked by.
type Rules struct {
	// IdleAfter is how long a partition has nothing to read before it is idle; 0 =
	// never.
	IdleAfter time.Duration
	// MaxDrift is how far the partition may be ahead of the slowest, in event time,
	// before it has to wait; 0 = any distance.
	MaxDrift time.Duration
}

type tracked struct {
	rules Rules
	// quiet is how long there has been nothing to read; 0 while there is something.
	quiet time.Duration
	// held: the others have to catch up with it.
	held bool
}

// NewTracker returns a tracker without partitions.
func NewTracker[K comparable]() *Tracker[K] {
	return &Tracker[K]{merger: NewMerger[K](), tracked: make(map[K]*tracked)}
}

// Merged returns what the tracker knows of all of them. It must not be changed.
func (t *Tracker[K]) Merged() *Merger[K] { return t.merger }

// Add is Merger.Add. The partitions have something to read.
func (t *Tracker[K]) Add(from map[K]Progress, r Rules) {
	for k := range from {
		t.tracked[k] = &tracked{rules: r}
	}
	t.merger.Add(from)
}

// Remove is Merger.Remove.
func (t *Tracker[K]) Remove(k K) {
	delete(t.tracked, k)
	t.merger.Remove(k)
}

// Advance is Merger.Advance.
func (t *Tracker[K]) Advance(k K, w Time) {
	t.Quiet(k, 0)
	t.merger.Advance(k, w)
}

// Quiet says for how long a partition is known to have had nothing to read; 0 that it has
// something, though nothing of it may have been read yet. Not known is 0 too: of a
// partition whose broker does not answer nobody knows.
func (t *Tracker[K]) Quiet(k K, d time.Duration) {
	p := t.tracked[k]
	if p == nil {
		return
	}
	if p.quiet = d; d == 0 {
		t.merger.SetIdle(k, false)
	}
}

// Finish is Merger.Finish.
func (t *Tracker[K]) Finish(k K) { t.merger.Finish(k) }

// Decide finds out which partitions have become idle, and which have to wait for others.
func (t *Tracker[K]) Decide() {
	t.merger.Together(func() {
		for k, p := range t.tracked {
			if p.rules.IdleAfter > 0 && !p.held && p.quiet >= p.rules.IdleAfter {
				t.merger.SetIdle(k, true)
			}
		}
	})
	t.align()
}

// align decides who has to wait. The slowest never has to, so somebody always moves on.
func (t *Tracker[K]) align() {
	slowest := End
	for k, m := range t.merger.partitions {
		// Of one that is empty nothing is known: it must not stop the others.
		if empty := m.Own == None && t.tracked[k].quiet > 0; m.active() && !empty {
			slowest = min(slowest, m.Own)
		}
	}
	for k, p := range t.tracked {
		m := t.merger.partitions[k]
		p.held = p.rules.MaxDrift > 0 && m.active() && m.Own > slowest.Add(p.rules.MaxDrift)
	}
}

// Held tells whether a partition has to wait for others, by the last Decide. The time
// for which it was held is none in which it was quiet: count that anew afterwards.
func (t *Tracker[K]) Held(k K) bool {
	p := t.tracked[k]
	return p != nil && p.held
}
