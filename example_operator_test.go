package tidemark_test

import (
	"context"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark"
	"github.com/tidemarkhq/tidemark/checkpoint"
)

// count is a processor that numbers the occurrences of each word. The numbers are
// its state: they go on after a restart, and count nothing twice.
type count struct{ state checkpoint.State }

func newCount(_ *service.ParsedConfig, res *service.Resources) (service.Processor, error) {
	c := &count{}
	handle, err := tidemark.Coordinator(res).JoinOperator("count", c)
	if err != nil {
		return nil, err
	}
	c.state = handle.State()
	return c, nil
}

// Process implements service.Processor.
func (c *count) Process(_ context.Context, msg *service.Message) (service.MessageBatch, error) {
	word, err := msg.AsBytes()
	if err != nil {
		return nil, err
	}
	old, err := c.state.Get(checkpoint.Scope{}, word)
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(string(old)) // Nothing yet is 0.
	now := strconv.Itoa(n + 1)
	if err := c.state.Put(checkpoint.Scope{}, word, []byte(now)); err != nil {
		return nil, err
	}
	msg.SetBytes([]byte(string(word) + " " + now))
	return service.MessageBatch{msg}, nil
}

// Close implements service.Processor.
func (c *count) Close(context.Context) error { return nil }

// Freeze implements checkpoint.Operator. Everything is in the state already.
func (c *count) Freeze(checkpoint.ID) error { return nil }

// Restore implements checkpoint.Operator. Nothing is remembered apart from it.
func (c *count) Restore(context.Context) error { return nil }
