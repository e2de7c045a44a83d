package window

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkhq/tidemark/watermark"
)

// Space is where windows are kept: one scope of an operator's state. As there, keys and
// values are copied by who keeps them, and fn must not write.
type Space interface {
	Get(key []byte) ([]byte, error)
	// Put copies both.
	Put(key, value []byte) error
	Delete(key []byte) error
	// Scan begins at the key from, or at the first one with the prefix.
	Scan(prefix, from []byte, fn func(key, value []byte) error) error
}

// Config says what windows there are and what is kept of them.
type Config struct {
	Assigner Assigner
	// Lateness is how long a window is kept after it fired, in event time.
	Lateness time.Duration
	// Aggregates are what is computed; none = the records' bodies are kept.
	Aggregates []Aggregate
	// MaxKeys is how many keys stay in memory after Freeze; 0 = all.
	MaxKeys int
	// Names say in words what is computed, in the order of Aggregates. What a space holds
	// can only be read with the same ones.
	Names []string
}

// Record is what a window is told of a record.
type Record struct {
	Time watermark.Time
	// Values are one for each aggregate: nil, bool, int64, float64, string, []any or
	// map[string]any. Body is kept where there are no aggregates.
	Values []any
	Body   []byte
}

// Result is a window that fires.
type Result struct {
	Key string
	Span
	// Again: it has fired before, and this replaces it.
	Again bool
	// Values are one for each aggregate, Bodies the records in the order in which they
	// came.
	Values []any
	Bodies [][]byte
	// Err is why Values are not complete: a Folder could not say its result.
	Err error
}

// ValueError says that a record cannot be added to an aggregate. The record is in no
// window.
type ValueError struct{ Err error }

// Error implements error.
func (e *ValueError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ValueError) Unwrap() error { return e.Err }

// Windows are the windows of one scope.
type Windows struct {
	conf  Config
	space Space
	keys  map[string]*keyed
	// dirty are the keys of which the space does not know all.
	dirty []*keyed
	due   dues
	// seen is the watermark that windows have fired up to, written what is kept of it.
	seen, written watermark.Time
	// stored is not after any time at which something is due for a key that is not in
	// memory; End if there is none. All timers in front of scanned, in the space, are of
	// keys that are in memory.
	stored  watermark.Time
	scanned []byte
	// shaped: the space says what it holds.
	shaped bool
	// again: something has come for a window that is over.
	again bool
	// Reused: spans, and what is written into the space.
	spans       []Span
	name, value []byte
}

// Open returns the windows that a space holds.
func Open(conf Config, s Space) (*Windows, error) {
	// again: a window may have waited for Advance when the space was written.
	w := &Windows{conf: conf, space: s, keys: map[string]*keyed{}, seen: watermark.None, written: watermark.None, again: true}
	b, err := s.Get([]byte{spaceSeen})
	if err != nil {
		return nil, err
	}
	if b != nil {
		var p watermark.Progress
		if err := p.UnmarshalBinary(b); err != nil {
			return nil, fmt.Errorf("reading how far windows have fired: %w", err)
		}
		w.seen, w.written = p.Seen, p.Seen
	}
	if err := w.checkShape(); err != nil {
		return nil, err
	}
	return w, w.fetch(watermark.None)
}

// Seen returns the watermark that windows have fired up to.
func (w *Windows) Seen() watermark.Time { return w.seen }

// gone tells that a window is not kept any more.
func (w *Windows) gone(s Span) bool { return s.End.Add(w.conf.Lateness) <= w.seen }

// Add adds a record. It is late, and in no window, if all that it belongs to are gone. A
// *ValueError is about the record; any other error about the space.
func (w *Windows) Add(key []byte, r Record) (late bool, err error) {
	k := w.keys[string(key)]
	if k == nil {
		if k, err = w.load(string(key)); err != nil {
			return false, err
		}
		defer func() {
			if len(k.panes) == 0 && !k.dirty {
				delete(w.keys, k.key) // nothing came of it
			}
		}()
	}
	w.spans = w.conf.Assigner.Assign(w.spans[:0], r.Time)
	if w.conf.Assigner.Kind == Session {
		return w.addSession(k, r)
	}
	return w.addAligned(k, r)
}

// addAligned adds a record to windows that all keys have at the same times.
func (w *Windows) addAligned(k *keyed, r Record) (late bool, err error) {
	w.spans = slices.DeleteFunc(w.spans, w.gone)
	if len(w.spans) == 0 {
		return true, nil
	}
	staged, err := w.stage(k, r)
	if err != nil {
		return false, err
	}
	for i, s := range w.spans {
		p := k.pane(s)
		switch {
		case staged != nil:
			p.cells = staged[i]
		case p.cells == nil:
			p.cells = make([]cell, len(w.conf.Aggregates))
			fallthrough
		default:
			_ = w.fold(p.cells, r) // checked
		}
		w.changed(p)
	}
	w.added(k, r)
	return false, nil
}

// stage sees to it that a record is in all of its windows or in none. What each value is
// tells whether it can be added; but not so to an aggregate of the caller's own: if there
// is one the cells of the windows are returned with the record added.
func (w *Windows) stage(k *keyed, r Record) ([][]cell, error) {
	folds, err := w.check(r)
	if err != nil || !folds {
		return nil, err
	}
	staged := make([][]cell, len(w.spans))
	for i, s := range w.spans {
		var err error
		if p := k.find(s); p != nil {
			staged[i] = slices.Clone(p.cells)
		} else if staged[i], err = w.cells(); err != nil {
			return nil, err
		}
		if err := w.fold(staged[i], r); err != nil {
			return nil, err
		}
	}
	return staged, nil
}

// check tells whether what a record has can be added, and whether there is an aggregate of
// the caller's own, which cannot tell.
func (w *Windows) check(r Record) (folds bool, err error) {
	for i, a := range w.conf.Aggregates {
		folds = folds || a.Op == Fold
		if err := a.check(r.Values[i]); err != nil {
			return folds, &ValueError{err}
		}
	}
	return folds, nil
}

// addSession adds a record to the sessions that it belongs to, which become one.
func (w *Windows) addSession(k *keyed, r Record) (late bool, err error) {
	s := w.spans[0]
	whole := s
	for i := range k.panes {
		if k.panes[i].touches(s) {
			whole = whole.union(k.panes[i].Span)
		}
	}
	if w.gone(whole) {
		return true, nil
	}
	if _, err := w.check(r); err != nil {
		return false, err
	}
	var cells []cell
	found, fired := false, false
	for i := range k.panes {
		p := &k.panes[i]
		if !p.touches(s) {
			continue
		}
		fired = fired || p.fired
		if !found {
			found, cells = true, slices.Clone(p.cells)
		} else if err := w.mergeCells(cells, p.cells); err != nil {
			return false, err
		}
	}
	if !found {
		if cells, err = w.cells(); err != nil {
			return false, err
		}
	}
	if err := w.fold(cells, r); err != nil {
		return false, err
	}
	k.panes = slices.DeleteFunc(k.panes, func(p pane) bool { return p.touches(s) })
	p := k.pane(whole)
	p.cells, p.fired = cells, fired
	w.changed(p)
	w.added(k, r)
	return false, nil
}

// changed notes that a window has a new record: if it has fired it has to fire again, and
// if it is over without waiting for event time.
func (w *Windows) changed(p *pane) {
	p.again = p.fired
	w.again = w.again || p.End <= w.seen
}

// added notes that a record is in windows of a key.
func (w *Windows) added(k *keyed, r Record) {
	if len(w.conf.Aggregates) == 0 {
		k.bodies = append(k.bodies, body{k.next, r.Time, r.Body})
		k.next++
	}
	w.touch(k)
}

// touch notes that a key has changed.
func (w *Windows) touch(k *keyed) {
	if !k.dirty {
		k.dirty = true
		w.dirty = append(w.dirty, k)
	}
	w.queue(k)
}

// queue sees to it that a key is met when something is due. Where that is later than it
// was, the entry there is stays, and is put right when it is met.
func (w *Windows) queue(k *keyed) {
	if at := k.due(w.conf.Lateness); at < k.queued {
		k.queued = at
		heap.Push(&w.due, due{at, k})
	}
}

func (w *Windows) cells() ([]cell, error) {
	if len(w.conf.Aggregates) == 0 {
		return nil, nil
	}
	cells := make([]cell, len(w.conf.Aggregates))
	for i := range cells {
		if err := w.conf.Aggregates[i].init(&cells[i]); err != nil {
			return nil, &ValueError{err}
		}
	}
	return cells, nil
}

func (w *Windows) fold(cells []cell, r Record) error {
	for i := range cells {
		if err := w.conf.Aggregates[i].add(&cells[i], r.Values[i], r.Time); err != nil {
			return &ValueError{err}
		}
	}
	return nil
}

func (w *Windows) mergeCells(to, from []cell) error {
	for i := range to {
		if err := w.conf.Aggregates[i].merge(&to[i], &from[i]); err != nil {
			return &ValueError{err}
		}
	}
	return nil
}

// Advance fires the windows that are complete at a watermark, in the order of their ends,
// and forgets those that are gone. A lower watermark than before fires only what has
// changed since. At watermark.End everything fires and is gone, but records that come
// afterwards, in a later run, are late only by what was before.
//
// It ends early when it was told enough by emit; then it has to be called again, with any
// watermark. That holds also for windows that are opened anew in between, so a cut may
// come there. An error of emit ends it in the middle: open the windows anew then.
func (w *Windows) Advance(to watermark.Time, emit func(Result) (enough bool, err error)) (more bool, err error) {
	if to != watermark.End {
		if to <= w.seen && !w.again {
			return false, nil
		}
		to = max(to, w.seen)
		w.seen = to
	}
	w.again = false
	for {
		for w.stored != watermark.End && w.stored <= to && (len(w.due) == 0 || w.stored <= w.due[0].at) {
			if err := w.fetch(to); err != nil {
				return false, err
			}
		}
		if len(w.due) == 0 || w.due[0].at > to {
			return false, nil
		}
		if w.again {
			return true, nil
		}
		next := heap.Pop(&w.due).(due)
		k := next.k
		if k.queued != next.at {
			continue // it has moved, to earlier
		}
		k.queued = watermark.End
		if k.due(w.conf.Lateness) > next.at {
			w.queue(k) // it has moved, to later
			continue
		}
		if w.again, err = w.fire(k, next.at, emit); err != nil {
			return false, err
		}
		w.touch(k)
	}
}

// fire fires the windows of a key that are due, and drops those that are gone.
func (w *Windows) fire(k *keyed, to watermark.Time, emit func(Result) (bool, error)) (enough bool, err error) {
	kept := k.panes[:0]
	for _, p := range k.panes {
		if p.End <= to && (!p.fired || p.again) {
			full, err := emit(w.result(k, &p))
			if err != nil {
				return false, err
			}
			enough = enough || full
			p.fired, p.again = true, false
		}
		if p.End.Add(w.conf.Lateness) > to {
			kept = append(kept, p)
		}
	}
	clear(k.panes[len(kept):])
	k.panes = kept
	k.forgetBodies()
	return enough, nil
}

func (w *Windows) result(k *keyed, p *pane) Result {
	r := Result{Key: k.key, Span: p.Span, Again: p.fired}
	for i := range p.cells {
		v, err := w.conf.Aggregates[i].result(&p.cells[i])
		if err != nil {
			r.Err = errors.Join(r.Err, err)
		}
		r.Values = append(r.Values, v)
	}
	for i := range k.bodies {
		if p.Contains(k.bodies[i].time) {
			r.Bodies = append(r.Bodies, k.bodies[i].b)
		}
	}
	return r
}
