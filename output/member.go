package output

import (
	"fmt"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// member is the output's part in the checkpoints of a stream. An output in a
// stream's own tree joins when it is constructed. One among the resources belongs
// to no stream: it joins that of the first record it sees.
type member struct {
	name     string
	sink     checkpoint.Sink
	resource bool
	// afresh is called when a new build takes the place of one that has ended:
	// nothing of the old one's checkpoints counts for the new one's.
	afresh func()

	// changing is held to join the next build.
	changing sync.Mutex
	mu       struct {
		sync.Mutex
		coordinator checkpoint.Coordinator
		handle      checkpoint.SinkHandle
	}
}

// join makes the output a sink of c.
func (m *member) join(c checkpoint.Coordinator) error {
	handle, err := c.JoinSink(m.name, m.sink)
	if err != nil {
		return fmt.Errorf("joining the checkpoints of the stream: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.coordinator, m.mu.handle = c, handle
	return nil
}

// handle returns the handle of the stream that the output belongs to, or nil.
func (m *member) handle() checkpoint.SinkHandle {
	_, handle := m.current()
	return handle
}

// of returns the handle if c is the coordinator that the output belongs to, or nil
// if it belongs to another. Records of another stream come through an `inproc`
// input; they are delivered before they are acknowledged. A resource that two
// streams write to is an error, because it cannot tell whose rewind it has to
// follow.
func (m *member) of(c checkpoint.Coordinator) (checkpoint.SinkHandle, error) {
	mine, handle := m.current()
	switch {
	case mine == c:
		return handle, nil
	case !m.resource:
		return nil, nil
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	switch mine, handle = m.current(); {
	case mine == c:
		return handle, nil
	case mine != nil && !over(mine):
		return nil, fmt.Errorf("output resource %q belongs to %s and got a record of %s: "+
			"give each stream an output of its own", m.name, streamName(mine), streamName(c))
	case mine != nil:
		handle.Leave()
		m.afresh()
	}
	if err := m.join(c); err != nil {
		return nil, err
	}
	return m.handle(), nil
}

// meet lets a resource change to the stream that a batch comes from. It has to come
// before the batch is bound to an attempt, because a change ends that. Errors are
// for whoever judges the records.
func (m *member) meet(batch service.MessageBatch) {
	if !m.resource {
		return
	}
	for _, msg := range batch {
		if o := checkpoint.OriginOf(msg.Context()); o != nil && o.Entry != nil {
			_, _ = m.of(o.Entry.Coordinator())
			return
		}
	}
}

func (m *member) current() (checkpoint.Coordinator, checkpoint.SinkHandle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.coordinator, m.mu.handle
}

// streamName names a stream for a message.
func streamName(c checkpoint.Coordinator) string {
	if s, ok := c.(fmt.Stringer); ok {
		return fmt.Sprintf("stream %q", s)
	}
	return "another stream"
}

// over tells whether a build of a stream has ended, so that the next one may take
// its place.
func over(c checkpoint.Coordinator) bool {
	e, ok := c.(interface{ Ended() bool })
	return ok && e.Ended()
}

// failed returns the error that has stopped the stream for good, if any. That of a
// build that has ended is none of the next one's, which a resource is for as well.
func (m *member) failed() error {
	c, h := m.current()
	if h == nil || m.resource && over(c) {
		return nil
	}
	return h.Failed()
}

// fatal stops the stream for good, if there is one.
func (m *member) fatal(err error) {
	if h := m.handle(); h != nil {
		h.Fatal(err)
	}
}

// leave ends the part.
func (m *member) leave() {
	if h := m.handle(); h != nil {
		h.Leave()
	}
}
