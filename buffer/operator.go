package buffer

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// pending stands for the partitions that nobody knows yet: while it is there nothing
// fires.
var pending = checkpoint.Partition{Topic: "\x00pending"}

// fireAtOnce is how many messages leave in one go. It is several times what a batch of the
// input holds, so that what is due gets less faster than it can get more, and little
// enough for a cut not to wait for long.
const fireAtOnce = 10_000

// scopeKey is where the state says, for all partitions, what scope windows have. Stores
// of before savepoints have it in the state of the process.
var scopeKey = []byte("x")

func (b *buffer) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.scopes = map[checkpoint.Scope]*window.Windows{}
	b.mu.merger = watermark.NewMerger[checkpoint.Partition]()
	b.mu.merger.Add(map[checkpoint.Partition]watermark.Progress{pending: watermark.Start})
	b.mu.missing = nil
	b.mu.lanes, b.mu.left = map[checkpoint.Partition]int{}, map[checkpoint.Partition]int{}
	b.mu.scoped, b.mu.misplaced = false, false
}

// Restore implements checkpoint.Operator.
func (b *buffer) Restore(context.Context) error {
	b.forget()
	was, err := b.handle.State().Get(checkpoint.Everywhere, scopeKey)
	here := was != nil
	if err == nil && !here {
		was, err = b.handle.State().Get(checkpoint.Scope{}, scopeKey)
	}
	if err != nil || was == nil {
		return err
	}
	if is := b.conf.scopeName(); string(was) != is {
		return fmt.Errorf("the windows in the checkpoint have the scope %s, and the configuration asks for %s: "+
			"set scope to %[1]s, or begin with another checkpoint.job or store", was, is)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.scoped, b.mu.misplaced = here, !here
	return nil
}

// Forget implements checkpoint.Partitioned.
func (b *buffer) Forget(scopes []checkpoint.Scope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range scopes {
		delete(b.mu.scopes, s)
		b.mu.merger.Remove(s)
		if lane, ok := b.mu.lanes[s]; ok {
			b.mu.left[s] = lane
		}
		delete(b.mu.lanes, s)
	}
}

// presentLocked leaves out of a report what was made another process's after it was made.
func (b *buffer) presentLocked(ps map[checkpoint.Partition]checkpoint.Arrived) map[checkpoint.Partition]checkpoint.Arrived {
	if len(b.mu.left) == 0 {
		return ps
	}
	present := maps.Clone(ps)
	for p, lane := range b.mu.left {
		if a, ok := ps[p]; ok && a.Lane == lane {
			delete(present, p)
		} else if ok {
			delete(b.mu.left, p)
		}
	}
	return present
}

// Freeze implements checkpoint.Operator.
func (b *buffer) Freeze(checkpoint.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.noteScopeLocked(); err != nil {
		return err
	}
	for _, w := range b.mu.scopes {
		if err := w.Freeze(); err != nil {
			return err
		}
	}
	return nil
}

// noteScopeLocked writes down what scope windows have, once there are some.
func (b *buffer) noteScopeLocked() error {
	if b.mu.scoped || len(b.mu.scopes) == 0 && !b.mu.misplaced {
		return nil
	}
	if err := b.handle.State().Put(checkpoint.Everywhere, scopeKey, []byte(b.conf.scopeName())); err != nil {
		return err
	}
	if b.mu.misplaced {
		if err := b.handle.State().Delete(checkpoint.Scope{}, scopeKey); err != nil {
			return err
		}
	}
	b.mu.scoped, b.mu.misplaced = true, false
	return nil
}

// space is where the windows of a scope are kept.
type space struct {
	state checkpoint.State
	scope checkpoint.Scope
}

func (s space) Get(key []byte) ([]byte, error) { return s.state.Get(s.scope, key) }
func (s space) Put(key, value []byte) error    { return s.state.Put(s.scope, key, value) }
func (s space) Delete(key []byte) error        { return s.state.Delete(s.scope, key) }
func (s space) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	return s.state.Scan(s.scope, prefix, from, fn)
}

func (b *buffer) scopeOf(p checkpoint.Partition) checkpoint.Scope {
	if b.conf.perProcess {
		return checkpoint.Scope{}
	}
	return p
}

func (b *buffer) windowsLocked(scope checkpoint.Scope) (*window.Windows, error) {
	if w := b.mu.scopes[scope]; w != nil {
		return w, nil
	}
	w, err := window.Open(b.conf.window, space{b.handle.State(), scope})
	if err != nil {
		return nil, fmt.Errorf("reading windows: %w", err)
	}
	b.mu.scopes[scope] = w
	return w, nil
}

// reachLocked notes how far partitions have come with records that are in windows now.
func (b *buffer) reachLocked(all reached) {
	b.mu.merger.Together(func() {
		fresh := map[checkpoint.Partition]watermark.Progress{}
		for p, w := range all {
			if _, ok := b.mu.merger.Of(p); ok {
				b.mu.merger.Advance(p, w)
				continue
			}
			fresh[p] = watermark.Progress{Own: w, Seen: watermark.None}
		}
		b.mu.merger.Add(fresh)
	})
}

// fireLocked fires what is complete; more tells that there is more than can leave at once.
func (b *buffer) fireLocked() (out []emission, more bool, err error) {
	f := firing{conf: b.conf}
	for scope, w := range b.mu.scopes {
		to, ok := b.dueLocked(scope)
		if !ok {
			continue
		}
		if f.full() {
			more = true // Perhaps; it will be seen next time.
			break
		}
		f.begin(scope)
		rest, err := w.Advance(to, f.add)
		if err != nil {
			return nil, false, err
		}
		more = more || rest
	}
	b.fired.Incr(int64(f.windows))
	return f.end(), more, nil
}

// dueLocked returns the watermark up to which windows of a scope are complete.
func (b *buffer) dueLocked(scope checkpoint.Scope) (watermark.Time, bool) {
	m := b.mu.merger
	if m.Now() == watermark.End {
		return watermark.End, true
	}
	if b.conf.perProcess {
		return m.High(), true
	}
	p, ok := m.Of(scope)
	return p.Seen, ok
}

// Arrived implements checkpoint.Clocked.
func (b *buffer) Arrived(ctx context.Context, ps map[checkpoint.Partition]checkpoint.Arrived, settled bool) error {
	if err := b.await(ctx); err != nil {
		return err
	}
	defer func() { <-b.turn }()
	if err := b.arrive(ps, settled); err != nil {
		return b.failed(err)
	}
	for {
		out, more, ended, err := b.fire()
		if err != nil {
			return err
		}
		if err := b.emit(ctx, out); err != nil {
			return err
		}
		// At the end all has to leave before the last checkpoint; otherwise a cut may
		// come in between.
		if !more || !ended {
			return nil
		}
	}
}

func (b *buffer) fire() (out []emission, more, ended bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out, more, err = b.fireLocked()
	return out, more, b.mu.merger.Now() == watermark.End, err
}

// arrive notes how far partitions have come, all at once: in between, event time could come
// further than all of it leads to.
func (b *buffer) arrive(ps map[checkpoint.Partition]checkpoint.Arrived, settled bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	ps = b.presentLocked(ps)
	for p := range ps {
		// Windows of a partition may be there from an earlier run. Those of one that is being
		// taken over cannot be read yet; it holds event time back until then.
		if _, err := b.windowsLocked(b.scopeOf(p)); err != nil && !errors.Is(err, checkpoint.ErrNotRestored) {
			return err
		}
	}
	b.mu.merger.Together(func() { b.arriveLocked(ps, settled) })
	return nil
}

func (b *buffer) arriveLocked(ps map[checkpoint.Partition]checkpoint.Arrived, settled bool) {
	m := b.mu.merger
	gone := b.goneLocked(ps, settled)
	fresh := map[checkpoint.Partition]watermark.Progress{}
	for p, a := range ps {
		own := timeOf(a.Watermark)
		now, ok := m.Of(p)
		if lane, known := b.mu.lanes[p]; !ok || known && lane != a.Lane {
			// It is new, or was assigned anew, perhaps with another log.
			fresh[p] = watermark.Progress{Own: own, Seen: watermark.None}
		} else if own > now.Own {
			m.Advance(p, own)
		}
		b.mu.lanes[p] = a.Lane
	}
	m.Add(fresh)
	for p, a := range ps {
		// Records that came after the report was made tell more.
		now, _ := m.Of(p)
		m.SetIdle(p, a.Idle && now.Own <= timeOf(a.Watermark))
		if a.Finished {
			m.Finish(p)
		}
	}
	for _, p := range gone {
		m.Remove(p)
		delete(b.mu.lanes, p)
	}
}

func timeOf(w checkpoint.Watermark) watermark.Time {
	if !w.Known {
		return watermark.None
	}
	return watermark.Time(w.At)
}

// goneLocked returns the partitions that are not read here any more. One that is missing for
// the first time may have come after the report was made: its records were faster.
func (b *buffer) goneLocked(ps map[checkpoint.Partition]checkpoint.Arrived, settled bool) (gone []checkpoint.Partition) {
	missing, over := map[checkpoint.Partition]bool{}, len(ps) > 0
	for _, a := range ps {
		over = over && a.Finished
	}
	for p := range b.mu.merger.Known() {
		_, there := ps[p]
		switch {
		case p == pending:
			if settled {
				gone = append(gone, p)
			}
		case there:
		case over || b.mu.missing[p]:
			gone = append(gone, p)
		default:
			missing[p] = true
		}
	}
	b.mu.missing = missing
	return gone
}

// firing collects results in batches.
type firing struct {
	conf    *config
	scope   checkpoint.Scope
	out     []emission
	windows int
	// messages counts those in out; open is whether the last of out takes more.
	messages int
	open     bool
}

// resultBatch is how many results leave as one batch.
const resultBatch = 1000

func (f *firing) full() bool { return f.messages >= fireAtOnce }

func (f *firing) begin(scope checkpoint.Scope) { f.scope, f.open = scope, false }

// add takes the result of a window; it tells when it has enough.
func (f *firing) add(r window.Result) (enough bool, err error) {
	f.windows++
	batch, err := f.conf.result(f.scope, r)
	if err != nil {
		return false, err
	}
	f.messages += len(batch)
	busy := f.scope.String() + "\x00" + r.Key
	if last := len(f.out) - 1; f.open && f.conf.aggregates() && len(f.out[last].batch) < resultBatch {
		f.out[last].batch = append(f.out[last].batch, batch...)
		f.out[last].keys = append(f.out[last].keys, busy)
		return f.full(), nil
	}
	if len(batch) > 0 {
		f.out = append(f.out, emission{batch: batch, keys: []string{busy}})
		f.open = true
	}
	return f.full(), nil
}

func (f *firing) end() []emission { return f.out }

// emission is one batch of results on its way.
type emission struct {
	entry *checkpoint.Entry
	batch service.MessageBatch
	// keys are whose results they are.
	keys []string
}
