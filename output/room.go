package output

import (
	"context"
	"sync"
)

// room bounds what waits for the brokers. The client has a bound of its own, but
// what waits there cannot be let go again without failing what is buffered too.
type room struct {
	maxRecords int
	// maxBytes: 0 = no bound.
	maxBytes int64

	mu struct {
		sync.Mutex
		records int
		bytes   int64
		// changed is closed whenever something is given back; nil if nobody waits.
		changed chan struct{}
	}
}

// take waits until the records fit in, or there is nothing else. It returns the
// cause if the attempt or ctx ends first. hurry is in force while it waits.
func (r *room) take(ctx context.Context, a *attempt, records int, bytes int64, hurry func() func()) error {
	return r.await(ctx, a, hurry, func() bool {
		in := &r.mu
		if in.records > 0 && (in.records+records > r.maxRecords || r.maxBytes > 0 && in.bytes+bytes > r.maxBytes) {
			return false
		}
		in.records += records
		in.bytes += bytes
		return true
	})
}

// awaitEmpty waits until there is nothing in the room.
func (r *room) awaitEmpty(ctx context.Context, a *attempt, hurry func() func()) error {
	return r.await(ctx, a, hurry, func() bool { return r.mu.records == 0 })
}

func (r *room) await(ctx context.Context, a *attempt, hurry func() func(), done func() bool) error {
	var stop func()
	for {
		r.mu.Lock()
		if done() {
			r.mu.Unlock()
			return nil
		}
		if r.mu.changed == nil {
			r.mu.changed = make(chan struct{})
		}
		changed := r.mu.changed
		r.mu.Unlock()
		if stop == nil {
			stop = hurry()
			defer stop()
		}
		select {
		case <-changed:
		case <-a.Done():
			return context.Cause(a)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give makes room again.
func (r *room) give(records int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.records -= records
	r.mu.bytes -= bytes
	if r.mu.changed != nil {
		close(r.mu.changed)
		r.mu.changed = nil
	}
}

// inUse returns how many records wait for the brokers.
func (r *room) inUse() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.records
}
