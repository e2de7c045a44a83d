package engine_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/output"
)

// stream is a running Benthos stream.
type stream struct {
	*service.Stream
	// ended is closed when it has ended.
	ended <-chan struct{}
	logs  *strings.Builder
}

func run(t *testing.T, e *kafkatest.Cluster, yaml string) *stream {
	env := service.NewEnvironment()
	require.NoError(t, input.Register(env, e.Dial))
	require.NoError(t, output.Register(env, e.Dial))
	require.NoError(t, env.RegisterBatchProcessor("counter", service.NewConfigSpec(), newCounter))
	b := env.NewStreamBuilder()
	logs := &strings.Builder{} // slog writes one line at a time
	b.SetLogger(slog.New(slog.NewTextHandler(logs, nil)))
	require.NoError(t, b.SetYAML(yaml+"\nhttp: { enabled: false }\n"))
	s, err := b.Build()
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(context.Background())
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = s.Stop(ctx)
		<-ended
		if t.Failed() {
			t.Log(logs)
		}
	})
	return &stream{s, ended, logs}
}

// stop stops it in order.
func (s *stream) stop(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.Stop(ctx))
	<-s.ended
}

// counter counts messages in its state.
type counter struct {
	handle checkpoint.OperatorHandle
	mu     sync.Mutex
	n      uint64
}

// counted is what the last counter found in its state.
var counted atomic.Uint64

func newCounter(_ *service.ParsedConfig, res *service.Resources) (service.BatchProcessor, error) {
	c := &counter{}
	var err error
	c.handle, err = engine.For(res).JoinOperator("counter", c)
	return c, err
}

func (c *counter) ProcessBatch(_ context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += uint64(len(b))
	return []service.MessageBatch{b}, nil
}

func (c *counter) Freeze(checkpoint.ID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handle.State().Put(checkpoint.Scope{}, []byte("n"), binary.BigEndian.AppendUint64(nil, c.n))
}

func (c *counter) Restore(context.Context) error {
	v, err := c.handle.State().Get(checkpoint.Scope{}, []byte("n"))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n = 0
	if v != nil {
		c.n = binary.BigEndian.Uint64(v)
	}
	counted.Store(c.n)
	return nil
}

func (c *counter) Close(context.Context) error { return nil }
