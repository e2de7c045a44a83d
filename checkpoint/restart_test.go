package checkpoint_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestRestartSpacing checks how long each rewind of a stream waits, and when there
// were too many. Failures are given by their time since the start; a rewind itself
// takes no time but its back-off.
func TestRestartSpacing(t *testing.T) {
	const never = time.Duration(math.MaxInt64)
	s := time.Second
	for _, test := range []struct {
		name   string
		conf   checkpoint.Restart
		random float64
		at     []time.Duration
		want   []time.Duration // never = the stream is stopped
	}{
		{
			name: "doubles up to the longest", conf: checkpoint.Restart{InitialBackoff: s, MaxBackoff: 5 * s, Multiplier: 2},
			at: []time.Duration{0, 2 * s, 5 * s, 10 * s, 16 * s}, want: []time.Duration{s, 2 * s, 4 * s, 5 * s, 5 * s},
		},
		{
			name: "starts anew after a quiet time", conf: checkpoint.Restart{InitialBackoff: s, MaxBackoff: 8 * s, Multiplier: 2, ResetAfter: 10 * s},
			// 2 s back-off and 10 s of quiet after the first: just not enough, then enough.
			at: []time.Duration{0, 12 * s, 29 * s}, want: []time.Duration{s, 2 * s, s},
		},
		{
			name: "quiet is as long as the longest back-off by default", conf: checkpoint.Restart{InitialBackoff: s, MaxBackoff: 4 * s, Multiplier: 2},
			at: []time.Duration{0, 6 * s, 15 * s}, want: []time.Duration{s, 2 * s, s},
		},
		{
			name: "jitter takes", conf: checkpoint.Restart{InitialBackoff: 10 * s, MaxBackoff: 20 * s, Multiplier: 2, Jitter: 0.1}, random: 0,
			at: []time.Duration{0, s}, want: []time.Duration{9 * s, 18 * s},
		},
		{
			name: "jitter gives", conf: checkpoint.Restart{InitialBackoff: 10 * s, MaxBackoff: 20 * s, Multiplier: 2, Jitter: 0.5}, random: 0.75,
			at: []time.Duration{0}, want: []time.Duration{12500 * time.Millisecond},
		},
		{
			name: "a multiplier below one does not shrink", conf: checkpoint.Restart{InitialBackoff: s, MaxBackoff: 8 * s, Multiplier: 0.5},
			at: []time.Duration{0, s, 2 * s}, want: []time.Duration{s, s, s},
		},
		{
			name: "too many within the window", conf: checkpoint.Restart{MaxBackoff: s, MaxRestarts: 2, Window: 10 * s},
			at: []time.Duration{0, 11 * s, 12 * s, 13 * s}, want: []time.Duration{0, 0, 0, never},
		},
		{
			name: "without a window all count", conf: checkpoint.Restart{MaxBackoff: s, MaxRestarts: 2},
			at: []time.Duration{0, 1000 * time.Hour, 2000 * time.Hour}, want: []time.Duration{0, 0, never},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.random == 0 && test.conf.Jitter == 0 {
				test.random = 0.5
			}
			began := time.Unix(0, 0)
			m := checkpoint.NewMachine(checkpoint.Config{TolerableFailures: -1, Restart: test.conf}, func() float64 { return test.random })
			m.Start(began, 0, 0)
			for i, at := range test.at {
				now := began.Add(at)
				acts := m.Fail(now, errors.New("boom"))
				if test.want[i] == never {
					require.Equal(t, "dead", m.String())
					require.ErrorIs(t, m.Fatal(), checkpoint.ErrFatal)
					continue
				}
				require.Equal(t, checkpoint.Discard, acts[0].Op)
				require.Equal(t, test.want[i], acts[0].Wait, "failure %d", i)
				m.Drained(now)
				m.Aborted(now, checkpoint.Running, nil)
				m.Tick(now.Add(test.want[i]), checkpoint.Running)
				m.Restored(now.Add(test.want[i]), nil)
				require.Equal(t, "running", m.String())
			}
		})
	}
}

// Partitions that went to another process are no failure, nor is what whoever got them does
// to the transactions of those who had them: nothing is waited for, and it does
// not count.
func TestMovedPartitionsAreNoFailure(t *testing.T) {
	conf := checkpoint.Config{Restart: checkpoint.Restart{InitialBackoff: time.Second, MaxBackoff: time.Minute, Multiplier: 2, MaxRestarts: 1}}
	m := checkpoint.NewMachine(conf, func() float64 { return 0.5 })
	now := time.Unix(0, 0)
	m.Start(now, 0, 0)
	goBack := func(cause error) time.Duration {
		acts := m.Fail(now, cause)
		require.Equal(t, checkpoint.Discard, acts[0].Op)
		m.Drained(now)
		m.Aborted(now, checkpoint.Running, nil)
		m.Tick(now.Add(acts[0].Wait), checkpoint.Running)
		require.Equal(t, checkpoint.Resume, m.Restored(now, nil)[0].Op)
		return acts[0].Wait
	}
	for range 5 {
		require.Zero(t, goBack(fmt.Errorf("lost: %w", checkpoint.ErrMoved)))
		require.Zero(t, goBack(fmt.Errorf("old epoch: %w", checkpoint.ErrFenced)))
	}
	require.Equal(t, time.Second, goBack(errors.New("refused")), "the first one that counts")
	require.Equal(t, checkpoint.Die, m.Fail(now, errors.New("refused"))[0].Op)
}

// A checkpoint of which nobody knows whether it is complete makes the stream go back, and the
// one that turns out to be is the last.
func TestACheckpointInDoubt(t *testing.T) {
	m := checkpoint.NewMachine(checkpoint.Config{Timeout: time.Minute, TolerableFailures: -1}, func() float64 { return 0 })
	now := time.Unix(0, 0)
	m.Start(now, 3, 3)
	m.Request(now, checkpoint.Aligned, false)
	m.Aligned(now)
	m.CutTaken(now, checkpoint.Aligned, nil)
	m.Flushed(now, checkpoint.Aligned, 4, nil)
	acts := m.Persisted(now, checkpoint.Aligned, 4, fmt.Errorf("no answer: %w", checkpoint.ErrInDoubt))
	require.Equal(t, checkpoint.Failed, acts[0].Op)
	require.Equal(t, checkpoint.Discard, acts[1].Op)
	require.Equal(t, checkpoint.ID(3), m.LastComplete())
	m.Found(4)
	require.Equal(t, checkpoint.ID(4), m.LastComplete())
}
