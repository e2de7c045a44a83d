package output

import (
	"context"
	"math"
	"sync"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// epoch is what was enqueued between two cuts.
type epoch struct {
	id checkpoint.ID
	// open counts the slabs that are not done, and the epoch itself until it is
	// closed by a cut.
	open int
	// err is the first failure.
	err error
	// done is closed by whoever brings open to 0, broken by whoever sets err.
	done, broken chan struct{}
}

func newEpoch() *epoch {
	return &epoch{open: 1, done: make(chan struct{}), broken: make(chan struct{})}
}

// epochs counts what is outstanding for each checkpoint.
type epochs struct {
	mu struct {
		sync.Mutex
		current *epoch
		// closed epochs that no flush has found done, oldest first.
		closed []*epoch
		// last is the newest checkpoint of a closed epoch, lost the newest one of
		// which something was given up, and why. No flush of these may succeed,
		// even one that was on its way when it happened.
		last, lost checkpoint.ID
		why        error
	}
}

func newEpochs() *epochs {
	e := &epochs{}
	e.mu.current = newEpoch()
	return e
}

// enter adds a slab to the current epoch.
func (es *epochs) enter() *epoch {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.mu.current.open++
	return es.mu.current
}

// leave takes it out again; err tells that not all of it was delivered.
func (es *epochs) leave(e *epoch, err error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e.failLocked(err)
	e.leaveLocked()
}

// fail notes an error of a slab that is not done yet.
func (es *epochs) fail(e *epoch, err error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e.failLocked(err)
}

func (e *epoch) failLocked(err error) {
	if e.err == nil && err != nil {
		e.err = err
		close(e.broken)
	}
}

func (e *epoch) leaveLocked() {
	if e.open--; e.open == 0 {
		close(e.done)
	}
}

// rotate closes the current epoch as that of checkpoint id.
func (es *epochs) rotate(id checkpoint.ID) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.mu.current
	e.id = id
	es.mu.last = max(es.mu.last, id)
	es.mu.closed = append(es.mu.closed, e)
	es.mu.current = newEpoch()
	e.leaveLocked()
}

// flush waits for all epochs up to id. One that failed stays, and fails every
// flush until the attempt is abandoned: what was lost in it is below the position
// of every later checkpoint.
func (es *epochs) flush(ctx context.Context, id checkpoint.ID) error {
	for {
		e, err := es.oldest(id)
		if e == nil || err != nil {
			return err
		}
		if err := es.failure(e); err != nil {
			return err
		}
		select {
		case <-e.done:
		case <-e.broken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := es.failure(e); err != nil {
			return err
		}
		es.drop(e)
	}
}

func (es *epochs) oldest(id checkpoint.ID) (*epoch, error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if id <= es.mu.lost {
		return nil, es.mu.why
	}
	if len(es.mu.closed) == 0 || es.mu.closed[0].id > id {
		return nil, nil
	}
	return es.mu.closed[0], nil
}

func (es *epochs) failure(e *epoch) error {
	es.mu.Lock()
	defer es.mu.Unlock()
	return e.err
}

func (es *epochs) drop(e *epoch) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if len(es.mu.closed) > 0 && es.mu.closed[0] == e {
		es.mu.closed = es.mu.closed[1:]
	}
}

// abandon fails what is outstanding and starts afresh. Slabs that are still under
// way leave their old epochs, which nobody waits for any more.
func (es *epochs) abandon(why error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.abandonLocked(why)
}

// reset is abandon, and forgets which checkpoints there were: a new build begins,
// and uses the numbers of those that were never complete again.
func (es *epochs) reset() {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.abandonLocked(errDiscarded)
	es.mu.last, es.mu.lost, es.mu.why = 0, 0, nil
}

// end is abandon for good: every later flush fails too.
func (es *epochs) end(why error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.abandonLocked(why)
	es.mu.lost = math.MaxInt64
}

func (es *epochs) abandonLocked(why error) {
	for _, e := range es.mu.closed {
		e.failLocked(why)
	}
	es.mu.closed = nil
	es.mu.current = newEpoch()
	es.mu.lost, es.mu.why = max(es.mu.lost, es.mu.last), why
}
