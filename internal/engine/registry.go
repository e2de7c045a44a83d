package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// registry finds the coordinator of a stream. There is one per Benthos manager,
// kept in its generic values, so that two streams of one process that happen to
// have the same id in different managers (StreamBuilder) do not meet.
type registry struct {
	mu sync.Mutex
	// builds holds the newest build of each stream, by stream id. It is replaced,
	// never reused, when the stream is built anew.
	builds map[string]*Coordinator
	// resources are those that take part in checkpoints, by label.
	resources map[string]*Resource
	// writers are the builds that write transactions, by transactional id.
	writers map[string]*Coordinator
	// streams is how many streams there are in builds.
	streams atomic.Int32
}

type registryKey struct{}

// For returns the coordinator of the stream build that res belongs to. A new
// build begins when the one before has begun to end; it knows its predecessor
// and waits for it when it starts.
func For(res *service.Resources) *Coordinator {
	return registryOf(res).coordinator(res.StreamID(), res.Logger())
}

func registryOf(res *service.Resources) *registry {
	v, _ := res.GetOrSetGeneric(registryKey{}, &registry{builds: map[string]*Coordinator{}})
	return v.(*registry)
}

func (r *registry) coordinator(stream string, log *service.Logger) *Coordinator {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.builds[stream]
	if c == nil || c.ending() {
		c = newCoordinator(r, stream, c, log)
		r.builds[stream] = c
		r.streams.Store(int32(len(r.builds)))
	}
	return c
}

// renew replaces a build that was constructed and never started: the one that is
// being constructed now is another. If it is not, because two inputs of one build
// have the same name, the first of them must not run apart from the other.
func (r *registry) renew(old *Coordinator, name string) *Coordinator {
	r.mu.Lock()
	defer r.mu.Unlock()
	old.supersede(fmt.Errorf("two inputs of the stream join checkpoints as %q: give each a label of its own", name))
	c := newCoordinator(r, old.stream, old.pred.Load(), old.log)
	r.builds[old.stream] = c
	return c
}

// remove forgets a build that has ended. If it never started, the one before it
// may still be there for the next to wait for.
func (r *registry) remove(c *Coordinator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.builds[c.stream] != c {
		return
	}
	delete(r.builds, c.stream)
	if pred := c.pred.Load(); pred != nil {
		r.builds[c.stream] = pred
	}
	r.streams.Store(int32(len(r.builds)))
}
