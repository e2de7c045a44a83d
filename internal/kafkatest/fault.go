package kafkatest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fail answers the next times requests of a key with an error, for every topic,
// partition or group in them; the broker does nothing else with them. Negative
// times: until Remove is called on what is returned. For narrower faults use
// Fault.
func (c *Cluster) Fail(key kmsg.Key, times int, err *kerr.Error) *kfake.FaultHandle {
	if times == 0 {
		return &kfake.FaultHandle{}
	}
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: times})
}

// FailNth answers the n-th request of a key from now on (the next one is the
// first) with an error, as Fail does.
func (c *Cluster) FailNth(key kmsg.Key, n int, err *kerr.Error) *kfake.FaultHandle {
	var (
		last kmsg.Request
		seen int
	)
	return c.Fault(kfake.Fault{
		Keys: []kmsg.Key{key}, Err: err,
		// Asked once for every partition of a request, all on one goroutine.
		When: func(r kmsg.Request) bool {
			if r != last {
				last = r
				seen++
			}
			return seen == n
		},
	})
}

// Hold keeps requests of the given keys from being handled until it is released.
// On a connection whose request is held all later ones wait as well; clients have
// connections of their own for producing, fetching and joining groups, and one
// for everything else.
func (c *Cluster) Hold(t testing.TB, keys ...kmsg.Key) *Hold {
	h := newHold()
	// A cluster can only be closed, and a bubble only end, with nobody waiting.
	t.Cleanup(h.Release)
	for _, key := range keys {
		c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			select {
			case <-h.released:
				c.DropControl()
			default:
				h.add()
				c.SleepControl(func() { <-h.released })
				if h.drops() {
					return nil, errDropped, true
				}
			}
			return nil, nil, false
		})
	}
	return h
}

// errDropped ends the connection of a request that Drop threw away.
var errDropped = errors.New("held and then dropped by the test")

// Hold is a gate that requests or answers wait at.
type Hold struct {
	// released is closed by the first Release or Drop; nobody sends.
	released chan struct{}

	mu struct {
		sync.Mutex
		held   int
		open   bool
		lethal bool
	}
}

func newHold() *Hold { return &Hold{released: make(chan struct{})} }

// Held returns how many have come to the gate so far.
func (h *Hold) Held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.held
}

// Await waits until n have come to the gate.
func (h *Hold) Await(t testing.TB, n int, within time.Duration) {
	t.Helper()
	Until(t, within, func() error {
		if held := h.Held(); held < n {
			return fmt.Errorf("%d held, want %d", held, n)
		}
		return nil
	})
}

// Release opens the gate for good: what waits goes on.
func (h *Hold) Release() { h.end(false) }

// Drop opens the gate for good, but throws away what waits and cuts its
// connections.
func (h *Hold) Drop() { h.end(true) }

func (h *Hold) end(lethal bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.open {
		return
	}
	h.mu.open, h.mu.lethal = true, lethal
	close(h.released)
}

func (h *Hold) add() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.held++
}

// drops tells whether the gate was opened by throwing away what waited.
func (h *Hold) drops() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.lethal
}
