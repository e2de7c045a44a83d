package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/watermark"
)

// cache is the checkpointed cache. It implements service.Cache and checkpoint.Operator.
type cache struct {
	conf     config
	resource *engine.Resource

	mu struct {
		sync.Mutex
		// of is whose state what is below is about.
		of checkpoint.OperatorHandle
		sweep
	}
	clock clock
}

// sweep finds entries that have expired.
type sweep struct {
	// found are timers that are due, in order; scanned is the last one that was found, and
	// all before it are gone; looked is the time up to which there are no more. next is when
	// to look again.
	found   [][]byte
	scanned []byte
	looked  watermark.Time
	next    time.Time
}

// sweepEvery is the time between two looks for timers that are due, if the last one found
// all: a look costs as much as there are changes that no checkpoint has taken.
const sweepEvery = time.Second

// scope of the contents: a cache is not told the partition of a record.
var scope = checkpoint.Scope{}

// clock is what a time to live counts by.
type clock interface {
	// begin is when that of an entry begins that is set now; now is how far time has come.
	begin() watermark.Time
	now() watermark.Time
}

type wallClock struct{}

func (c wallClock) begin() watermark.Time { return c.now() }

func (wallClock) now() watermark.Time { return watermark.Of(time.Now()) }

// eventClock follows the watermark of the stream.
type eventClock struct {
	*cache
	mu     sync.Mutex
	merger *watermark.Merger[checkpoint.Partition]
	// lanes are the assignments of partitions by the last report.
	lanes map[checkpoint.Partition]int
}

var (
	_ service.Cache       = (*cache)(nil)
	_ checkpoint.Operator = (*cache)(nil)
	_ checkpoint.Clocked  = (*eventClock)(nil)
)

func newCache(conf config, res *service.Resources) *cache {
	c := &cache{conf: conf, clock: wallClock{}}
	c.mu.looked = watermark.None
	if !conf.byEventTime {
		c.resource = engine.NewResource(res, c)
		return c
	}
	e := &eventClock{cache: c}
	e.Forget()
	c.clock = e
	c.resource = engine.NewResource(res, e)
	return c
}

// begin is not below the record that the entry is about, although nobody says which that
// is: the stream's own watermark is behind what is under way, by hours where a backlog is
// read, and would let entries expire before their time.
func (e *eventClock) begin() watermark.Time { return max(e.now(), e.resource.Fastest()) }

func (e *eventClock) now() watermark.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.merger.High()
}

// Arrived implements checkpoint.Clocked.
func (e *eventClock) Arrived(_ context.Context, ps map[checkpoint.Partition]checkpoint.Arrived, settled bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !settled {
		return nil
	}
	// At once: in between, event time could come further than all of it leads to.
	e.merger.Together(func() { e.arriveLocked(ps) })
	return nil
}

func (e *eventClock) arriveLocked(ps map[checkpoint.Partition]checkpoint.Arrived) {
	m := e.merger
	fresh := map[checkpoint.Partition]watermark.Progress{}
	for p, a := range ps {
		if a.Ended {
			delete(ps, p) // Nothing more comes, but time goes on.
			continue
		}
		own := watermark.None
		if a.Watermark.Known {
			own = watermark.Time(a.Watermark.At)
		}
		was, ok := m.Of(p)
		if !ok || e.lanes[p] != a.Lane {
			fresh[p] = watermark.Progress{Own: own, Seen: watermark.None}
		} else if own > was.Own {
			m.Advance(p, own)
		}
		e.lanes[p] = a.Lane
	}
	m.Add(fresh)
	for p, a := range ps {
		m.SetIdle(p, a.Idle)
	}
	for p := range m.Known() {
		if _, ok := ps[p]; !ok {
			m.Remove(p)
			delete(e.lanes, p)
		}
	}
}

// Restore implements checkpoint.Operator: after a rewind event time begins where the last
// checkpoint left it.
func (e *eventClock) Restore(ctx context.Context) error {
	e.Forget()
	return e.cache.Restore(ctx)
}

// Forget is called when the cache joins a build of a stream: its event time is another one.
func (e *eventClock) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.merger = watermark.NewMerger[checkpoint.Partition]()
	e.lanes = map[checkpoint.Partition]int{}
}

// Restore implements checkpoint.Operator.
func (c *cache) Restore(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.sweep = sweep{looked: watermark.None}
	return nil
}

// Freeze implements checkpoint.Operator: everything is in the state already.
func (c *cache) Freeze(checkpoint.ID) error { return nil }

// use returns the state, for as long as the cache's lock is held.
func (c *cache) useLocked() (checkpoint.State, error) {
	h, err := c.resource.Handle()
	if err != nil {
		return nil, err
	}
	if h != c.mu.of {
		c.mu.of, c.mu.sweep = h, sweep{looked: watermark.None}
	}
	return h.State(), nil
}

// fail stops the stream that the cache belongs to before an error is returned: some
// processors drop a message on an error, and that would be acknowledged.
func (c *cache) failLocked(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cache %w", err)
	if c.mu.of != nil {
		c.mu.of.Fatal(err)
	}
	return err
}

// Get implements service.Cache.
func (c *cache) Get(_ context.Context, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.useLocked()
	if err != nil {
		return nil, err
	}
	e, there, err := c.lookLocked(state, key)
	if err != nil {
		return nil, c.failLocked(err)
	}
	if !there {
		return nil, service.ErrKeyNotFound
	}
	return e.value, nil
}

// Set implements service.Cache.
func (c *cache) Set(_ context.Context, key string, value []byte, ttl *time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.useLocked()
	if err != nil {
		return err
	}
	return c.failLocked(c.putLocked(state, key, value, ttl))
}

// Add implements service.Cache.
func (c *cache) Add(_ context.Context, key string, value []byte, ttl *time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.useLocked()
	if err != nil {
		return err
	}
	_, there, err := c.lookLocked(state, key)
	if err != nil {
		return c.failLocked(err)
	}
	if there {
		return service.ErrKeyAlreadyExists
	}
	return c.failLocked(c.putLocked(state, key, value, ttl))
}

// Delete implements service.Cache.
func (c *cache) Delete(_ context.Context, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.useLocked()
	if err != nil {
		return err
	}
	return c.failLocked(state.Delete(scope, entryName(key)))
}

// Close implements service.Cache.
func (c *cache) Close(context.Context) error {
	c.resource.Close()
	return nil
}

// lookLocked returns an entry that has not expired.
func (c *cache) lookLocked(state checkpoint.State, key string) (e entry, there bool, err error) {
	b, err := state.Get(scope, entryName(key))
	if err != nil || b == nil {
		return e, false, err
	}
	if e, err = decode(b); err != nil {
		return e, false, err
	}
	return e, e.expires == watermark.None || e.expires == watermark.End || e.expires > c.clock.now(), nil
}

func (c *cache) putLocked(state checkpoint.State, key string, value []byte, ttl *time.Duration) error {
	e := entry{expires: watermark.End, ttl: c.conf.ttl, value: value}
	if ttl != nil {
		e.ttl = *ttl
	}
	// Two for one, so that there are fewer and fewer.
	if err := c.sweepLocked(state, 2); err != nil {
		return err
	}
	if e.ttl > 0 {
		e.expires = c.clock.begin().Add(max(e.ttl, time.Millisecond))
		if err := state.Put(scope, timerName(e.expires, key), nil); err != nil {
			return err
		}
	}
	return state.Put(scope, entryName(key), e.encode())
}

// sweepAtOnce is how many timers are looked up in one go.
const sweepAtOnce = 1000

var errEnough = errors.New("enough")

// sweepLocked drops up to n entries that have expired.
func (c *cache) sweepLocked(state checkpoint.State, n int) error {
	now := c.clock.now()
	if len(c.mu.found) == 0 && now > c.mu.looked && !time.Now().Before(c.mu.next) {
		if err := c.findLocked(state, now); err != nil {
			return err
		}
	}
	for ; n > 0 && len(c.mu.found) > 0; n-- {
		if err := c.expireLocked(state, c.mu.found[0], now); err != nil {
			return err
		}
		c.mu.found = c.mu.found[1:]
	}
	return nil
}

// findLocked looks timers up that are due.
func (c *cache) findLocked(state checkpoint.State, now watermark.Time) error {
	c.mu.found = nil
	err := state.Scan(scope, []byte{spaceTimer}, c.mu.scanned, func(name, _ []byte) error {
		at, _, err := timerOf(name)
		if err != nil {
			return err
		}
		if at > now || len(c.mu.found) == sweepAtOnce {
			return errEnough
		}
		c.mu.found = append(c.mu.found, name)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(c.mu.found) < sweepAtOnce {
		c.mu.looked, c.mu.next = now, time.Now().Add(sweepEvery)
	}
	if last := len(c.mu.found) - 1; last >= 0 {
		c.mu.scanned = c.mu.found[last]
	}
	return nil
}

// expireLocked drops the entry of a timer, unless it has been set again since.
func (c *cache) expireLocked(state checkpoint.State, timer []byte, now watermark.Time) error {
	at, key, err := timerOf(timer)
	if err != nil {
		return err
	}
	b, err := state.Get(scope, entryName(key))
	if err != nil {
		return err
	}
	if b != nil {
		e, err := decode(b)
		if err != nil {
			return err
		}
		if e.expires == at {
			if err := c.dropLocked(state, key, e, now); err != nil {
				return err
			}
		}
	}
	return state.Delete(scope, timer)
}

// dropLocked drops an entry; but one that was set before the watermark was known lives
// from now on.
func (c *cache) dropLocked(state checkpoint.State, key string, e entry, now watermark.Time) error {
	if e.expires != watermark.None {
		return state.Delete(scope, entryName(key))
	}
	e.expires = now.Add(e.ttl)
	if err := state.Put(scope, timerName(e.expires, key), nil); err != nil {
		return err
	}
	return state.Put(scope, entryName(key), e.encode())
}
