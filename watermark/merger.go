package watermark

import (
	"iter"
	"maps"
)

// Merger combines the watermarks of partitions that are read together: event time has
// come as far as in the slowest of them. K names a partition.
//
// A partition counts while it is active; not while it is idle, and not once it has
// finished. Who decides what is idle is a Tracker, or whoever has asked one.
type Merger[K comparable] struct {
	partitions map[K]*merged
	// now is what Now returns, idle what Idle does, high the highest now so far.
	now, high Time
	idle      bool
	// together: several changes count as one.
	together bool
}

type merged struct {
	Progress
	idle, finished bool
}

func (p *merged) active() bool { return !p.idle && !p.finished }

// NewMerger returns a merger without partitions.
func NewMerger[K comparable]() *Merger[K] {
	return &Merger[K]{partitions: make(map[K]*merged), now: None, high: None, idle: true}
}

// Add begins with partitions, each from where the last checkpoint left it; Start if there
// is none. They are active. One that is there begins anew. Those that begin together must
// be added together, or else the first ones would come as far for a moment as if the
// others were not behind them.
func (m *Merger[K]) Add(from map[K]Progress) {
	for k, p := range from {
		m.partitions[k] = &merged{Progress: p}
	}
	m.merge()
}

// Together makes the changes that a function makes count at once: event time does not come
// to where it would be between two of them. They must not be made together themselves.
func (m *Merger[K]) Together(change func()) {
	m.together = true
	defer func() {
		m.together = false
		m.merge()
	}()
	change()
}

// Remove forgets a partition: it does not hold the others back any more.
func (m *Merger[K]) Remove(k K) {
	delete(m.partitions, k)
	m.merge()
}

// Advance says that records came that led to a watermark. The partition is active, also
// if its watermark is not above what it was; it never falls. Nothing happens to one that
// is not there or has finished, here and below.
func (m *Merger[K]) Advance(k K, w Time) {
	if p := m.partitions[k]; p != nil && !p.finished {
		p.Own, p.idle = max(p.Own, w), false
		m.merge()
	}
}

// SetIdle says whether a partition is idle.
func (m *Merger[K]) SetIdle(k K, is bool) {
	if p := m.partitions[k]; p != nil && !p.finished && p.idle != is {
		p.idle = is
		m.merge()
	}
}

// Finish says that a partition was read to its end: its watermark is End.
func (m *Merger[K]) Finish(k K) {
	if p := m.partitions[k]; p != nil && !p.finished {
		p.finished, p.idle, p.Own = true, false, End
		m.merge()
	}
}

func (m *Merger[K]) merge() {
	if m.together {
		return
	}
	slowest, fastest := End, None
	active, idle := 0, 0
	for _, p := range m.partitions {
		switch {
		case p.active():
			active++
			slowest = min(slowest, p.Own)
		case p.idle:
			idle++
			fastest = max(fastest, p.Own)
		}
	}
	m.idle = active == 0
	switch {
	case len(m.partitions) == 0:
		m.now = None
	case active > 0:
		m.now = slowest
	case idle > 0:
		m.now = fastest
	default:
		m.now = End
	}
	m.high = max(m.high, m.now)
	for _, p := range m.partitions {
		p.Seen = max(p.Seen, m.now)
	}
}

// Now returns how far event time has come: the watermark of the slowest active
// partition; if all are idle that of the fastest, as nothing is known to be under way;
// End if all have finished; None without a partition. It falls when a partition comes
// that is further back.
func (m *Merger[K]) Now() Time { return m.now }

// High returns the highest value that Now ever had.
func (m *Merger[K]) High() Time { return m.high }

// Idle tells that no partition is active.
func (m *Merger[K]) Idle() bool { return m.idle }

// Of returns the progress of a partition, and whether it is there.
func (m *Merger[K]) Of(k K) (Progress, bool) {
	if p := m.partitions[k]; p != nil {
		return p.Progress, true
	}
	return Start, false
}

// IsIdle tells whether a partition is idle.
func (m *Merger[K]) IsIdle(k K) bool {
	p := m.partitions[k]
	return p != nil && p.idle
}

// Known returns the partitions.
func (m *Merger[K]) Known() iter.Seq[K] { return maps.Keys(m.partitions) }
