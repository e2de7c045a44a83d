package cache

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/watermark"
)

var onlyPartition = checkpoint.Partition{Topic: "t"}

// standing is a source of one partition, which stands at a watermark.
type standing struct{ at atomic.Int64 }

func (s *standing) Positions() checkpoint.Positions {
	w := checkpoint.Watermark{Known: true, At: s.at.Load()}
	return checkpoint.Positions{onlyPartition: {Stop: checkpoint.Unbounded, Watermark: w}}
}

func (*standing) Commit(context.Context, *checkpoint.Manifest) error { return nil }
func (*standing) Rewind(context.Context, checkpoint.Positions) error { return nil }
func (*standing) Hold(map[checkpoint.Partition]bool, time.Duration)  {}

func (s *standing) Progress() (map[checkpoint.Partition]checkpoint.Progress, bool) {
	return map[checkpoint.Partition]checkpoint.Progress{onlyPartition: {Position: s.Positions()[onlyPartition], Lane: 1}}, true
}

// After a reload the stream may begin further back than the build before it had come: its
// last checkpoint failed, or it is another job.
func TestTheClockOfAnEarlierBuildIsForgotten(t *testing.T) {
	res, dir := service.MockResources(), t.TempDir()
	c := newCache(config{byEventTime: true, ttl: time.Minute}, res)
	build := func() (*standing, checkpoint.SourceHandle) {
		s := &standing{}
		h, err := engine.For(res).JoinSource("in", s, checkpoint.Config{
			Sets: true, Interval: time.Hour, Directory: dir, Static: true, Job: "j", TolerableFailures: -1,
		})
		require.NoError(t, err)
		_, err = engine.JoinAssigner(res, watermark.Rules{}, 10*time.Millisecond, func() any { return nil })
		require.NoError(t, err)
		_, err = h.Restore(t.Context())
		require.NoError(t, err)
		return s, h
	}
	reach := func(want watermark.Time) {
		t.Helper()
		kafkatest.Eventually(t, 10*time.Second, "the clock is there", func() bool { return c.clock.now() == want })
	}
	s, h := build()
	require.NoError(t, c.Add(t.Context(), "first", nil, nil))
	reach(0)
	require.NoError(t, c.Add(t.Context(), "k", nil, nil)) // expires at 60 000
	require.NoError(t, h.Checkpoint(t.Context()))
	s.at.Store(1_000_000)
	reach(1_000_000)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	h.Stopping()
	require.Error(t, h.Close(gone), "what came after the checkpoint is lost")

	_, h = build()
	require.ErrorIs(t, c.Add(t.Context(), "k", nil, nil), service.ErrKeyAlreadyExists, "event time is at 0")
	reach(0)
	require.ErrorIs(t, c.Add(t.Context(), "k", nil, nil), service.ErrKeyAlreadyExists)
	require.NoError(t, h.Close(t.Context()))
}
