package window

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemarkhq/tidemark/watermark"
)

// keyed is what is known of one key.
type keyed struct {
	key string
	// panes are its windows, in the order in which they fire.
	panes []pane
	// bodies are its records, in the order in which they came; those with numbers below
	// kept are in the space. next is the number of the one that comes next. dropped are
	// numbers of bodies that the space still has.
	bodies     []body
	next, kept uint64
	dropped    []uint64
	// low is below no number of a body, when it was read from the space.
	low uint64
	// timer is what the space has for when something is due; End if nothing.
	timer watermark.Time
	// queued is the time of its entry in dues that counts; End if it has none.
	queued watermark.Time
	// dirty: the space does not know all.
	dirty bool
}

type pane struct {
	Span
	// fired: its result left; again: something came since.
	fired, again bool
	cells        []cell
}

type body struct {
	number uint64
	time   watermark.Time
	b      []byte
}

// find returns a window, or nil.
func (k *keyed) find(s Span) *pane {
	// The last ones are where records come.
	for i := len(k.panes) - 1; i >= 0; i-- {
		if k.panes[i].Span == s {
			return &k.panes[i]
		}
	}
	return nil
}

// pane returns a window, made if it is not there.
func (k *keyed) pane(s Span) *pane {
	if p := k.find(s); p != nil {
		return p
	}
	i := len(k.panes)
	for i > 0 && s.before(k.panes[i-1].Span) {
		i--
	}
	k.panes = slices.Insert(k.panes, i, pane{Span: s})
	return &k.panes[i]
}

// due returns when the next window fires or is gone; End if there is none.
func (k *keyed) due(lateness time.Duration) watermark.Time {
	at := watermark.End
	for i := range k.panes {
		p := &k.panes[i]
		if !p.fired || p.again {
			at = min(at, p.End)
		} else {
			at = min(at, p.End.Add(lateness))
		}
	}
	return at
}

// forgetBodies drops records that are in no window any more.
func (k *keyed) forgetBodies() {
	k.bodies = slices.DeleteFunc(k.bodies, func(b body) bool {
		for i := range k.panes {
			if k.panes[i].Contains(b.time) {
				return false
			}
		}
		if b.number < k.kept {
			k.dropped = append(k.dropped, b.number)
		}
		return true
	})
}

// due is when something is due for a key.
type due struct {
	at watermark.Time
	k  *keyed
}

// dues is a heap of them: the earliest first, of the same time by key.
type dues []due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].k.key < d[j].k.key
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)   { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*d = old[:len(old)-1]
	return last
}

// The first byte of a key in the space says what is behind it:
//
//	s                             how far windows have fired
//	c                             what is kept of windows, in words
//	k key                         windows of a key
//	t time key                    something is due for the key then
//	b length-of-key key number    a record of the key
//
// Times are 8 bytes that sort as the times do.
const (
	spaceSeen  = 's'
	spaceShape = 'c'
	spaceKey   = 'k'
	spaceTimer = 't'
	spaceBody  = 'b'
)

// The names are valid until the next one.

func (w *Windows) keyName(key string) []byte {
	w.name = append(append(w.name[:0], spaceKey), key...)
	return w.name
}

func (w *Windows) timerName(at watermark.Time, key string) []byte {
	w.name = binary.BigEndian.AppendUint64(append(w.name[:0], spaceTimer), uint64(at)^1<<63)
	w.name = append(w.name, key...)
	return w.name
}

func (w *Windows) bodyName(key string, number uint64) []byte {
	w.name = binary.AppendUvarint(append(w.name[:0], spaceBody), uint64(len(key)))
	w.name = binary.BigEndian.AppendUint64(append(w.name, key...), number)
	return w.name
}

// load brings a key into memory.
func (w *Windows) load(key string) (*keyed, error) {
	k := &keyed{key: key, timer: watermark.End, queued: watermark.End}
	b, err := w.space.Get(w.keyName(key))
	if err != nil {
		return nil, err
	}
	if b != nil {
		if err := k.decode(b, w.conf.Aggregates); err != nil {
			return nil, fmt.Errorf("the windows of key %q: %w", key, err)
		}
		k.kept = k.next
		k.timer = k.due(w.conf.Lateness)
		if err := w.loadBodies(k); err != nil {
			return nil, err
		}
		w.queue(k)
	}
	w.keys[key] = k
	return k, nil
}

func (w *Windows) loadBodies(k *keyed) error {
	if len(w.conf.Aggregates) > 0 {
		return nil
	}
	for n := k.low; n < k.next; n++ {
		value, err := w.space.Get(w.bodyName(k.key, n))
		switch {
		case err != nil:
			return err
		case value == nil:
			continue // It was in a window that is gone, between others.
		case len(value) < 8:
			return fmt.Errorf("a record of key %q: %w", k.key, errCutOff)
		}
		k.bodies = append(k.bodies, body{number: n, time: watermark.Time(binary.BigEndian.Uint64(value)), b: value[8:]})
	}
	return nil
}

// fetchKeys is how many keys are brought into memory at once.
const fetchKeys = 1000

var errEnough = errors.New("enough")

// fetch brings the first keys for which something is due into memory, and finds out when
// something is due for the others.
func (w *Windows) fetch(to watermark.Time) error {
	var found, stale []timer
	w.stored = watermark.End
	err := w.space.Scan([]byte{spaceTimer}, w.scanned, func(name, _ []byte) error {
		if len(name) < 9 {
			return fmt.Errorf("a timer: %w", errCutOff)
		}
		w.scanned = append(w.scanned[:0], name...)
		at, key := watermark.Time(binary.BigEndian.Uint64(name[1:])^1<<63), string(name[9:])
		if k := w.keys[key]; k != nil {
			if at != k.timer {
				stale = append(stale, timer{at, key})
			}
			return nil // memory knows better
		}
		if at > to || len(found) == fetchKeys {
			w.stored = at
			return errEnough
		}
		found = append(found, timer{at, key})
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, t := range found {
		k, err := w.load(t.key)
		if err != nil {
			return err
		}
		if t.at != k.timer {
			stale = append(stale, t)
		}
	}
	for _, t := range stale {
		if err := w.mend(t); err != nil {
			return err
		}
	}
	return nil
}

// timer is when the space has it that something is due for a key.
type timer struct {
	at  watermark.Time
	key string
}

// mend takes away a timer from before the lateness was another one.
func (w *Windows) mend(t timer) error {
	if err := w.space.Delete(w.timerName(t.at, t.key)); err != nil {
		return err
	}
	k := w.keys[t.key]
	switch {
	case k == nil: // It had another one, which was mended as well.
	case len(k.panes) == 0 && !k.dirty:
		delete(w.keys, t.key)
	default:
		k.timer = watermark.End // Whether the right one is there nobody knows.
		w.touch(k)
	}
	return nil
}

// Freeze writes all that is in memory only into the space, and lets go of keys if there
// are more than MaxKeys.
func (w *Windows) Freeze() error {
	if !w.shaped && len(w.dirty) > 0 {
		if err := w.space.Put([]byte{spaceShape}, []byte(w.conf.shape())); err != nil {
			return err
		}
		w.shaped = true
	}
	if w.seen != w.written {
		b, err := watermark.Progress{Own: watermark.None, Seen: w.seen}.MarshalBinary()
		if err != nil {
			return err
		}
		if err := w.space.Put([]byte{spaceSeen}, b); err != nil {
			return err
		}
		w.written = w.seen
	}
	for _, k := range w.dirty {
		if err := w.write(k); err != nil {
			return err
		}
		k.dirty = false
		if len(k.panes) == 0 {
			delete(w.keys, k.key)
		}
	}
	clear(w.dirty)
	w.dirty = w.dirty[:0]
	w.trim()
	return nil
}

func (w *Windows) write(k *keyed) error {
	if err := w.writeTimer(k); err != nil {
		return err
	}
	for _, n := range k.dropped {
		if err := w.space.Delete(w.bodyName(k.key, n)); err != nil {
			return err
		}
	}
	k.dropped = nil
	if len(k.panes) == 0 {
		return w.space.Delete(w.keyName(k.key))
	}
	for _, b := range k.bodies {
		if b.number < k.kept {
			continue
		}
		w.value = append(binary.BigEndian.AppendUint64(w.value[:0], uint64(b.time)), b.b...)
		if err := w.space.Put(w.bodyName(k.key, b.number), w.value); err != nil {
			return err
		}
	}
	k.kept = k.next
	var err error
	if w.value, err = k.encode(w.value[:0]); err != nil {
		return err
	}
	return w.space.Put(w.keyName(k.key), w.value)
}

func (w *Windows) writeTimer(k *keyed) error {
	at := k.due(w.conf.Lateness)
	if at == k.timer {
		return nil
	}
	if k.timer != watermark.End {
		if err := w.space.Delete(w.timerName(k.timer, k.key)); err != nil {
			return err
		}
	}
	k.timer = at
	if at == watermark.End {
		return nil
	}
	return w.space.Put(w.timerName(at, k.key), nil)
}

// trim lets go of keys, of which the space knows all, until there are few enough.
func (w *Windows) trim() {
	if w.conf.MaxKeys == 0 || len(w.keys) <= w.conf.MaxKeys {
		return
	}
	for key, k := range w.keys {
		if len(w.keys) <= w.conf.MaxKeys {
			break
		}
		delete(w.keys, key)
		k.queued = watermark.End // whatever dues has of it does not count any more
		w.stored = min(w.stored, k.timer)
	}
	w.scanned = nil
	w.due = slices.DeleteFunc(w.due, func(d due) bool { return d.k.queued != d.at })
	heap.Init(&w.due)
}
