package tidemark_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark"
	"github.com/tidemarkhq/tidemark/checkpoint"
)

// printer is an output that holds lines back until a checkpoint wants them out.
type printer struct {
	handle checkpoint.SinkHandle

	mu         sync.Mutex
	lines      []string
	discarding bool
}

func newPrinter(_ *service.ParsedConfig, res *service.Resources) (out service.Output, maxInFlight int, err error) {
	p := &printer{}
	p.handle, err = tidemark.Coordinator(res).JoinSink("printer", p)
	return p, 1, err
}

// Connect implements service.Output.
func (p *printer) Connect(context.Context) error { return p.handle.Failed() }

// Write implements service.Output: it accepts a line and returns, which
// acknowledges it. Lines of an abandoned attempt are dropped.
func (p *printer) Write(_ context.Context, msg *service.Message) error {
	if err := p.handle.Failed(); err != nil {
		return err
	}
	line, err := msg.AsBytes()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if origin := checkpoint.OriginOf(msg.Context()); p.discarding || origin.Entry.State() == checkpoint.Discarded {
		return nil
	}
	p.lines = append(p.lines, string(line))
	return nil
}

// Close implements service.Output.
func (p *printer) Close(context.Context) error {
	p.handle.Leave()
	return nil
}

// Rotate implements checkpoint.Sink. One list serves all epochs: flushing more
// than was asked for is allowed.
func (p *printer) Rotate(checkpoint.ID) {}

// Flush implements checkpoint.Sink.
func (p *printer) Flush(context.Context, checkpoint.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.lines {
		fmt.Println(line)
	}
	p.lines = nil
	return nil
}

// Discard implements checkpoint.Sink.
func (p *printer) Discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines, p.discarding = nil, true
}

// Abort implements checkpoint.Sink. What was discarded is nowhere else.
func (p *printer) Abort(context.Context) error { return nil }

// Accept implements checkpoint.Sink.
func (p *printer) Accept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discarding = false
}
