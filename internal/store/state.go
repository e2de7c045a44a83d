package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// view is the state as of one checkpoint: what is being persisted shows only
// after it was acknowledged.
type view struct {
	engine   *engine
	snapshot *pebble.Snapshot

	mu struct {
		sync.Mutex
		// readers includes the Directory as long as the view is its current one.
		readers int
	}
}

func newView(e *engine) *view {
	v := &view{engine: e, snapshot: e.db.NewSnapshot()}
	v.mu.readers = 1
	return v
}

func (v *view) release() {
	v.mu.Lock()
	v.mu.readers--
	last := v.mu.readers == 0
	v.mu.Unlock()
	if last {
		// It only ever complains of a second close.
		_ = v.snapshot.Close()
	}
}

// setView lets Get and Scan read the state as it is in e now.
func (d *Directory) setView(e *engine) { d.swapView(newView(e), nil) }

// endView lets Get and Scan return why.
func (d *Directory) endView(why error) { d.swapView(nil, why) }

func (d *Directory) swapView(next *view, why error) {
	d.mu.Lock()
	old := d.mu.view
	d.mu.view, d.mu.unreadable = next, why
	d.mu.Unlock()
	if old != nil {
		old.release()
	}
}

var errClosed = errors.New("checkpoint store is closed")

func (d *Directory) acquireView() (*view, error) {
	d.reading.RLock()
	defer d.reading.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.mu.view
	if v == nil {
		return nil, d.mu.unreadable
	}
	v.mu.Lock()
	v.mu.readers++
	v.mu.Unlock()
	d.reads.Add(1)
	d.mu.reading++
	return v, nil
}

func (d *Directory) releaseView(v *view) {
	v.release()
	d.mu.Lock()
	d.mu.reading--
	d.mu.Unlock()
	d.reads.Done()
}

// beingRead tells whether a Get or Scan is under way, of whatever view: one may be of an
// earlier checkpoint than the current one. With reading held for writing, no more can begin.
func (d *Directory) beingRead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.reading > 0
}

// Get implements checkpoint.Store.
func (d *Directory) Get(operator string, s checkpoint.Scope, key []byte) ([]byte, error) {
	v, err := d.acquireView()
	if err != nil {
		return nil, err
	}
	defer d.releaseView(v)
	value, err := readRecord(v.snapshot, stateKey(operator, s, key))
	if err != nil {
		return nil, damage(fmt.Sprintf("reading state of %q, %s, key %q in %s", operator, s, key, v.engine.path), err)
	}
	return value, nil
}

// Scan implements checkpoint.Store.
func (d *Directory) Scan(operator string, s checkpoint.Scope, prefix, from []byte, fn func(key, value []byte) error) error {
	v, err := d.acquireView()
	if err != nil {
		return err
	}
	defer d.releaseView(v)
	start := len(stateKey(operator, s, nil))
	// An error of fn is the caller's own and is returned as it is.
	var stopped error
	err = scanRecordsFrom(v.snapshot, stateKey(operator, s, prefix), stateKey(operator, s, from), func(key, value []byte) error {
		stopped = fn(key[start:], value)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return damage(fmt.Sprintf("reading state of %q, %s in %s", operator, s, v.engine.path), err)
}
