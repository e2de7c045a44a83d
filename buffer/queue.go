package buffer

import (
	"context"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// queueSize is how many batches of results wait for the pipeline; whoever has more waits.
const queueSize = 16

// queue hands results to the pipeline, in order. One of a key that is under way waits
// until that has been answered: with several threads the pipeline would let it overtake.
type queue struct {
	// all is filled by put and emptied by take. It is never closed.
	all chan emission

	mu struct {
		sync.Mutex
		// head was taken out of all and could not go yet.
		head *emission
		busy map[string]int
	}
	// freed tells that keys are not busy any more; capacity 1, one look is enough.
	freed chan struct{}
}

func newQueue() *queue {
	q := &queue{all: make(chan emission, queueSize), freed: make(chan struct{}, 1)}
	q.mu.busy = map[string]int{}
	return q
}

func (q *queue) put(ctx context.Context, e emission) error {
	select {
	case q.all <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns what may go next. Once over is closed and there is nothing left it returns
// service.ErrEndOfBuffer. It is called by one goroutine at a time.
func (q *queue) take(ctx context.Context, over <-chan struct{}) (emission, error) {
	for {
		if e, ok := q.next(); ok {
			return e, nil
		}
		q.mu.Lock()
		waits := q.mu.head != nil
		q.mu.Unlock()
		if waits {
			select {
			case <-q.freed:
				continue
			case <-ctx.Done():
				return emission{}, ctx.Err()
			}
		}
		select {
		case e := <-q.all:
			q.push(e)
		case <-over:
			select {
			case e := <-q.all:
				q.push(e)
			default:
				return emission{}, service.ErrEndOfBuffer
			}
		case <-ctx.Done():
			return emission{}, ctx.Err()
		}
	}
}

func (q *queue) push(e emission) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.head = &e
}

// next lets the head go if none of its keys is busy.
func (q *queue) next() (emission, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.head == nil {
		return emission{}, false
	}
	for _, k := range q.mu.head.keys {
		if q.mu.busy[k] > 0 {
			return emission{}, false
		}
	}
	e := *q.mu.head
	q.mu.head = nil
	for _, k := range e.keys {
		q.mu.busy[k]++
	}
	return e, true
}

// done tells that a batch was answered.
func (q *queue) done(e emission) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range e.keys {
		if q.mu.busy[k]--; q.mu.busy[k] == 0 {
			delete(q.mu.busy, k)
		}
	}
	select {
	case q.freed <- struct{}{}:
	default:
	}
}
