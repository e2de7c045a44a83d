package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// Resource is an operator that belongs to no stream by itself: Benthos builds resources at
// first use, and once for all streams. It joins the only stream there is, or the one whose
// input names it.
//
// What uses it may take an error for an answer and drop messages on it, as dedupe does. So
// where it cannot tell whose it is, every stream that it might be of is stopped before the
// error is returned: what is dropped afterwards is not acknowledged.
type Resource struct {
	reg   *registry
	label string
	op    checkpoint.Operator

	// current is what the resource is bound to; nil before the first use.
	current atomic.Pointer[binding]

	mu struct {
		sync.Mutex
		// stream is the id of the stream that named it, if one did.
		stream string
		named  bool
	}
}

// forgetful is an operator that remembers something of the stream, apart from its state: it
// has to forget that before it joins another build.
type forgetful interface{ Forget() }

type binding struct {
	c      *Coordinator
	handle checkpoint.OperatorHandle
	named  bool
}

// NewResource returns the resource of a component. It replaces one of the same label.
func NewResource(res *service.Resources, op checkpoint.Operator) *Resource {
	r := &Resource{reg: registryOf(res), label: res.Label(), op: op}
	r.reg.mu.Lock()
	defer r.reg.mu.Unlock()
	if r.reg.resources == nil {
		r.reg.resources = map[string]*Resource{}
	}
	r.reg.resources[r.label] = r
	return r
}

// Close says that the resource is gone.
func (r *Resource) Close() {
	r.reg.mu.Lock()
	defer r.reg.mu.Unlock()
	if r.reg.resources[r.label] == r {
		delete(r.reg.resources, r.label)
	}
}

// Handle returns the handle of the stream that the resource belongs to. After an error
// that stream has been stopped.
func (r *Resource) Handle() (checkpoint.OperatorHandle, error) {
	if b := r.current.Load(); b != nil && !b.c.Ended() && (b.named || r.reg.streams.Load() < 2) {
		return b.handle, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live := r.reg.live(r.mu.stream, r.mu.named)
	var err error
	switch {
	case len(live) == 1:
		var b *binding
		if b, err = r.bindLocked(live[0]); err == nil {
			return b.handle, nil
		}
	case len(live) == 0:
		err = fmt.Errorf("cache %q keeps its contents in the checkpoints of a stream, and there is none: "+
			"the stream needs an input kafka_checkpointed, or another cache", r.label)
	default:
		err = fmt.Errorf("cache %q may be used by %d streams and can belong to one: name it in checkpoint.caches of that one's input", r.label, len(live))
	}
	for _, c := range live {
		c.Fatal(err)
	}
	return nil, err
}

// Fastest returns the highest watermark of a record that was read so far, which may still
// be under way; watermark.None if there is none.
func (r *Resource) Fastest() watermark.Time {
	b := r.current.Load()
	if b == nil {
		return watermark.None
	}
	et := b.c.eventTime
	et.mu.Lock()
	defer et.mu.Unlock()
	return et.mu.fastest
}

func (r *Resource) bindLocked(c *Coordinator) (*binding, error) {
	if b := r.current.Load(); b != nil && b.c == c {
		b = &binding{c: c, handle: b.handle, named: r.mu.named}
		r.current.Store(b)
		return b, nil
	}
	if err := c.NeedsAllPartitions(r.label, "use a cache that is not part of checkpoints"); err != nil {
		return nil, err
	}
	if f, ok := r.op.(forgetful); ok {
		f.Forget()
	}
	h, err := c.JoinOperator(r.label, r.op)
	if err != nil {
		return nil, err
	}
	b := &binding{c: c, handle: h, named: r.mu.named}
	r.current.Store(b)
	return b, nil
}

// BindCaches makes caches those of a source's stream: its input names them. They are built
// if they are not yet. The stream must have been restored, so that an earlier build of it
// does not use them any more, and nothing may have been read.
func BindCaches(ctx context.Context, res *service.Resources, h checkpoint.SourceHandle, labels []string) error {
	s, ok := h.(*source)
	if !ok {
		return errors.New("the source does not belong to a stream's checkpoints")
	}
	for _, label := range labels {
		if !res.HasCache(label) {
			return fmt.Errorf("checkpoint.caches has %q, and there is no cache resource of that label", label)
		}
		if err := res.AccessCache(ctx, label, func(service.Cache) {}); err != nil {
			return fmt.Errorf("building the cache %q of checkpoint.caches: %w", label, err)
		}
		if err := s.c.bindCache(label); err != nil {
			return err
		}
	}
	return nil
}

func (c *Coordinator) bindCache(label string) error {
	c.reg.mu.Lock()
	r := c.reg.resources[label]
	c.reg.mu.Unlock()
	if r == nil {
		return fmt.Errorf("checkpoint.caches has %q, which is no cache of type checkpointed", label)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.current.Load(); b != nil && b.c.stream != c.stream && !b.c.Ended() {
		err := fmt.Errorf("cache %q is named in checkpoint.caches of %v and of %v: it can belong to one stream", label, b.c, c)
		b.c.Fatal(err)
		return err
	}
	r.mu.stream, r.mu.named = c.stream, true
	_, err := r.bindLocked(c)
	return err
}

// live returns the builds that may still take part in checkpoints, of one stream or of
// all; of each stream the newest.
func (r *registry) live(stream string, only bool) []*Coordinator {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Coordinator
	for id, c := range r.builds {
		if only && id != stream {
			continue
		}
		if sources, _ := c.Sources(); sources > 0 && !c.Ended() {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Coordinator) int { return strings.Compare(a.stream, b.stream) })
	return all
}

var errNoLabel = errors.New("a cache that is part of checkpoints needs a label, by which its contents are kept: put it into cache_resources")

// CheckLabel refuses a resource without a label.
func CheckLabel(res *service.Resources) error {
	if res.Label() == "" {
		return errNoLabel
	}
	return nil
}
