package registry

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkhq/tidemark/format"
)

const (
	// forgetRefusal is how long it is believed that there is no such schema, or that one is
	// refused: long enough for a storm of such records, short enough that a new schema is
	// soon known.
	forgetRefusal = 5 * time.Second
	// forgetOutage is how long a registry that did not answer is not asked the same again.
	forgetOutage = time.Second
)

// memo remembers answers by what was asked, and lets one caller at a time ask for the same.
// What is known is read without a lock.
type memo[K comparable, V any] struct {
	most int
	// known is replaced as a whole, under mu, which is rare.
	known atomic.Pointer[map[K]known[V]]

	mu struct {
		sync.Mutex
		asked  map[K]*question[V]
		failed map[K]failure
	}
}

// known is an answer; a zero until means for ever.
type known[V any] struct {
	value V
	until time.Time
}

// failure is an answer that there is none.
type failure struct {
	err   error
	until time.Time
}

// question is one that is being asked. done is closed, by who asks, once value and err are set.
type question[V any] struct {
	done  chan struct{}
	value V
	err   error
	// abandoned tells that the asker's own context ended, so that another must ask.
	abandoned bool
}

func newMemo[K comparable, V any](most int) *memo[K, V] {
	m := &memo[K, V]{most: most}
	m.known.Store(&map[K]known[V]{})
	m.mu.asked, m.mu.failed = make(map[K]*question[V]), make(map[K]failure)
	return m
}

// get returns what is known of key, or asks. An answer holds for the time given, 0 meaning for
// ever; while it is asked for again, and if that fails because of an outage, the old one counts.
func (m *memo[K, V]) get(ctx context.Context, key K, holds time.Duration, ask func(context.Context) (V, error)) (V, error) {
	k, ok := (*m.known.Load())[key]
	if ok && (k.until.IsZero() || time.Now().Before(k.until)) {
		return k.value, nil
	}
	for {
		q, mine, err := m.enter(key)
		switch {
		case err != nil:
			var none V
			return none, err
		case mine:
			return m.lead(ctx, key, q, holds, ask)
		case ok:
			return k.value, nil
		}
		select {
		case <-q.done:
			if !q.abandoned {
				return q.value, q.err
			}
		case <-ctx.Done():
			var none V
			return none, format.Unavailable(fmt.Errorf("schema registry: waiting for an answer: %w", ctx.Err()))
		}
	}
}

// enter joins a question, or starts one, unless its failure is remembered.
func (m *memo[K, V]) enter(key K) (q *question[V], mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, ok := m.mu.failed[key]; ok {
		if time.Now().Before(f.until) {
			return nil, false, f.err
		}
		delete(m.mu.failed, key)
	}
	if q, ok := m.mu.asked[key]; ok {
		return q, false, nil
	}
	// Between the look at what is known and this lock another may have had its answer.
	if k, ok := (*m.known.Load())[key]; ok && (k.until.IsZero() || time.Now().Before(k.until)) {
		q := &question[V]{done: make(chan struct{}), value: k.value}
		close(q.done)
		return q, false, nil
	}
	q = &question[V]{done: make(chan struct{})}
	m.mu.asked[key] = q
	return q, true, nil
}

// lead asks on behalf of all who wait.
func (m *memo[K, V]) lead(ctx context.Context, key K, q *question[V], holds time.Duration, ask func(context.Context) (V, error)) (V, error) {
	// A question that panics must not leave the others waiting for ever.
	q.abandoned = true
	defer func() {
		m.mu.Lock()
		delete(m.mu.asked, key)
		m.mu.Unlock()
		close(q.done)
	}()
	q.value, q.err = ask(ctx)
	q.abandoned = q.err != nil && ctx.Err() != nil
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case q.err == nil:
		m.learnLocked(key, q.value, holds)
	case q.abandoned:
	case format.IsUnavailable(q.err):
		if old, ok := (*m.known.Load())[key]; ok {
			q.value, q.err = old.value, nil
			m.learnLocked(key, old.value, forgetOutage)
			break
		}
		m.failLocked(key, q.err, forgetOutage)
	default:
		m.failLocked(key, q.err, forgetRefusal)
	}
	return q.value, q.err
}

func (m *memo[K, V]) learnLocked(key K, value V, holds time.Duration) {
	next := maps.Clone(*m.known.Load())
	if len(next) >= m.most {
		// Any will do: it is asked for again if it is needed again.
		for old := range next {
			delete(next, old)
			break
		}
	}
	k := known[V]{value: value}
	if holds > 0 {
		k.until = time.Now().Add(holds)
	}
	next[key] = k
	m.known.Store(&next)
}

func (m *memo[K, V]) failLocked(key K, err error, holds time.Duration) {
	now := time.Now()
	if len(m.mu.failed) >= m.most {
		maps.DeleteFunc(m.mu.failed, func(_ K, f failure) bool { return !now.Before(f.until) })
	}
	if len(m.mu.failed) >= m.most {
		clear(m.mu.failed)
	}
	m.mu.failed[key] = failure{err: err, until: now.Add(holds)}
}
