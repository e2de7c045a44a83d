package behaviour

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// said returns when a stream has logged a text, in virtual time.
func (s *stream) said(text string) []time.Time {
	var all []time.Time
	for line := range strings.Lines(s.logs.String()) {
		if !strings.Contains(line, text) {
			continue
		}
		stamp, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		require.NoError(s.t, err)
		all = append(all, at)
	}
	return all
}

func TestFieldCheckpointTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{3 * time.Second, 12 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			hold := e.Hold(t, kmsg.Produce)
			defer hold.Release() // or else a failure could not stop the stream
			s := start(t, e, copyYAML(in, out, "g", fmt.Sprintf("checkpoint: { timeout: %v }", timeout)))
			hold.Await(t, 1, patience)
			began := time.Now()
			kafkatest.Eventually(t, patience, "a checkpoint fails", func() bool { return len(s.said("Checkpoint 2 failed")) > 0 })
			require.InDelta(t, (2*timeout + time.Second).Seconds(), s.said("Checkpoint 2 failed")[0].Sub(began).Seconds(), 2.5)
			hold.Release()
		})
	}
}

func TestFieldCheckpointMinPause(t *testing.T) {
	for pause, want := range map[string]float64{"0s": 60, "19s": 3} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			_, m := startMeasured(t, e, copyYAML(in, out, "g", "checkpoint: { min_pause: "+pause+" }"))
			time.Sleep(time.Minute) // virtual
			n, _ := m.get("tidemark_checkpoints_completed")
			require.InDelta(t, want, n, 3)
		})
	}
}

func TestFieldCheckpointTolerableFailures(t *testing.T) {
	for tolerable, rewinds := range map[int]bool{-1: false, 1: true} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			hold := e.Hold(t, kmsg.Produce)
			defer hold.Release() // or else a failure could not stop the stream
			s := start(t, e, copyYAML(in, out, "g", fmt.Sprintf("checkpoint: { timeout: 2s, tolerable_failures: %d }", tolerable)))
			time.Sleep(25 * time.Second) // virtual
			require.NotEmpty(t, s.said("Checkpoint 2 failed"))
			require.Equal(t, rewinds, len(s.said("Going back to checkpoint")) > 0)
			hold.Release()
			kafkatest.Eventually(t, patience, "it goes on", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == 5 })
		})
	}
}

func TestFieldCheckpointJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		for i, job := range []string{"one", "one", "two"} {
			s := start(t, e, copyYAML(in, out, "g", "start_from: earliest\n    checkpoint: { job: "+job+" }"))
			time.Sleep(20 * time.Second) // virtual
			require.NoError(t, s.stop())
			require.Contains(t, kafkatest.Committed(t, e, "g", in)[0].Metadata, job)
			require.Equal(t, []int64{[]int64{5, 5, 10}[i]}, kafkatest.Ends(t, e, out), "another job starts afresh")
		}
	})
}

func TestFieldCheckpointShutdownTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{3 * time.Second, 12 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			hold := e.Hold(t, kmsg.Produce)
			defer hold.Release() // or else a failure could not stop the stream
			s := start(t, e, copyYAML(in, out, "g", fmt.Sprintf("checkpoint: { interval: 1h, shutdown_timeout: %v }", timeout)))
			hold.Await(t, 1, patience)
			began := time.Now()
			_ = s.stop()
			require.InDelta(t, timeout.Seconds(), time.Since(began).Seconds(), 2.5)
			hold.Release()
		})
	}
}

func TestFieldsOfRetainedCheckpoints(t *testing.T) {
	for retain, restores := range map[int]bool{5: true, 1: false} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			yaml := func(extra string) string {
				return copyYAML(in, out, "", fmt.Sprintf("checkpoint: { interval: 1h, store: { directory: %q }, retain: %d%s }", "$DIR", retain, extra))
			}
			dir := t.TempDir()
			var ids []int64
			for round := range 3 {
				kafkatest.Fill(t, e, in, 10)
				s, m := startMeasured(t, e, strings.ReplaceAll(yaml(""), "$DIR", dir))
				kafkatest.Eventually(t, patience, "all are written", func() bool { return kafkatest.Ends(t, e, out)[0] == int64(10*(round+1)) })
				require.NoError(t, s.stop())
				id, _ := m.get("tidemark_last_checkpoint_id")
				ids = append(ids, id)
			}
			s := start(t, e, strings.ReplaceAll(yaml(fmt.Sprintf(", restore_from: %d", ids[0])), "$DIR", dir))
			if !restores {
				s.ended()
				require.Contains(t, s.logs.String(), "Stream stopped for good")
				require.Contains(t, s.logs.String(), "restore_from")
				require.Equal(t, []int64{30}, kafkatest.Ends(t, e, out))
				return
			}
			kafkatest.Eventually(t, patience, "it goes on from the first", func() bool { return kafkatest.Ends(t, e, out)[0] == 50 })
			require.Equal(t, append(span(0, 30), span(10, 30)...), numbers(t, e, out)[0])
			require.NoError(t, s.stop())
		})
	}
}

var waited = regexp.MustCompile(`Going back to checkpoint \d+ in ([0-9.a-zµ]+),`)

// waits runs a stream that nothing of can be delivered for two virtual minutes in
// a bubble, and returns how long it waited before each restart.
func waits(t *testing.T, restart string) (all []time.Duration, s *stream) {
	t.Helper()
	e := kafkatest.Virtual(t)
	in, out := topics(t, e, 1)
	kafkatest.Fill(t, e, in, 5)
	outage := e.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
	s = start(t, e, copyYAML(in, out, "g", "checkpoint: { restart: { "+restart+" } }")+"    record_delivery_timeout: 1s\n")
	time.Sleep(2 * time.Minute)
	for _, m := range waited.FindAllStringSubmatch(s.logs.String(), -1) {
		d, err := time.ParseDuration(m[1])
		require.NoError(t, err)
		all = append(all, d)
	}
	outage.Remove()
	return all, s
}

func TestFieldsOfRestart(t *testing.T) {
	seconds := func(all []time.Duration, n int) (ss []float64) {
		for _, d := range all[:min(n, len(all))] {
			ss = append(ss, d.Seconds())
		}
		return ss
	}
	for yaml, want := range map[string][]float64{
		"jitter: 0, initial_backoff: 3s, max_backoff: 10s":                                   {3, 6, 10, 10},
		"jitter: 0, initial_backoff: 2s, max_backoff: 1h, multiplier: 3":                     {2, 6, 18},
		"jitter: 0, initial_backoff: 3s, max_backoff: 1h, multiplier: 1":                     {3, 3, 3, 3},
		"jitter: 0, initial_backoff: 1s, max_backoff: 1h, multiplier: 1.1, reset_after: 1ms": {1, 1, 1},
		"jitter: 0, initial_backoff: 1s, max_backoff: 1h, multiplier: 1.1, reset_after: 1h":  {1, 1.1, 1.21},
	} {
		t.Run(yaml, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all, _ := waits(t, yaml)
				require.InDeltaSlice(t, want, seconds(all, len(want)), 0.01)
			})
		})
	}
	t.Run("jitter", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			all, _ := waits(t, "jitter: 0.5, initial_backoff: 4s, multiplier: 1")
			require.Greater(t, len(all), 5)
			different := false
			for _, d := range all {
				require.InDelta(t, 4, d.Seconds(), 2)
				different = different || d != all[0]
			}
			require.True(t, different)
		})
	})
}

func TestFieldsThatLimitRestarts(t *testing.T) {
	for window, fatal := range map[string]bool{"1h": true, "1s": false} {
		synctest.Test(t, func(t *testing.T) {
			all, s := waits(t, "jitter: 0, initial_backoff: 2s, multiplier: 1, max_restarts: 2, window: "+window)
			require.Equal(t, fatal, len(s.said("Stream stopped for good: ")) > 0)
			if fatal {
				require.Len(t, all, 2)
				require.Contains(t, s.logs.String(), "restarted 2 times within 1h0m0s")
				return
			}
			require.Greater(t, len(all), 5)
		})
	}
}
