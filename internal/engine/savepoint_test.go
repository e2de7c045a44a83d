package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// counting is a stream that counts its records; $EXTRA is added to its checkpoint.
func counting(e *kafkatest.Cluster, in, out, dir, extra string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    topics: [ %s ]
    assignment: static
    start_from: earliest
    checkpoint: { job: counts, store: { directory: %q }, %s }
pipeline: { processors: [ { counter: {} } ] }
output:
  kafka_checkpointed: { seed_brokers: [ %q ], topic: %s }
`, e.Seeds()[0], in, dir, extra, e.Seeds()[0], out)
}

// savepointOf takes the savepoint of a stream, which is the only one of its job.
func savepointOf(ctx context.Context, t *testing.T, job string) engine.Savepoint {
	t.Helper()
	for _, s := range engine.Savepoints(ctx) {
		if s.Job == job {
			return s
		}
	}
	t.Fatalf("no stream of job %s is running", job)
	return engine.Savepoint{}
}

// consistent reads a savepoint and requires that its state counts exactly what is below
// its positions.
func consistent(t *testing.T, path string) (id checkpoint.ID, records uint64) {
	t.Helper()
	f, err := savepoint.Open(t.Context(), path)
	require.NoError(t, err)
	defer f.Close()
	for _, pos := range f.Manifest().Positions {
		records += uint64(pos.Next)
	}
	var count uint64
	require.NoError(t, f.Each(t.Context(), func(e savepoint.Entry) error {
		require.Equal(t, "counter", e.Operator)
		count = binary.BigEndian.Uint64(e.Value)
		return nil
	}))
	require.Equal(t, records, count, "positions and state of one checkpoint")
	return f.Manifest().ID, records
}

// Savepoints of a stream under load are of one checkpoint each, and the stream goes on.
func TestSavepointOfARunningStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out, dir := kafkatest.Topic(t, e, 3), kafkatest.Topic(t, e, 1), t.TempDir()
		to := filepath.Join(dir, "savepoints")
		s := run(t, e, counting(e, in, out, filepath.Join(dir, "store"), fmt.Sprintf("interval: 20ms, savepoint_directory: %q", to)))
		kafkatest.Fill(t, e, in, 5)
		kafkatest.Eventually(t, 10*time.Second, "it runs", func() bool { return kafkatest.Ends(t, e, out)[0] == 15 })
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			for range 30 {
				kafkatest.Fill(t, e, in, 20)
				time.Sleep(7 * time.Millisecond) // virtual, in the bubble
			}
		}()
		var before uint64
		var last checkpoint.ID
		for range 8 {
			got := savepointOf(t.Context(), t, "counts")
			require.NoError(t, got.Err)
			require.True(t, got.Stored)
			id, records := consistent(t, got.File)
			require.Equal(t, got.ID, id)
			require.Greater(t, id, last)
			require.GreaterOrEqual(t, records, before)
			before, last = records, id
			require.Contains(t, s.logs.String(), fmt.Sprintf("Savepoint of checkpoint %d written to %s", id, got.File))
			time.Sleep(20 * time.Millisecond) // virtual, in the bubble
		}
		<-fed
		kafkatest.Eventually(t, 10*time.Second, "all is written", func() bool { return kafkatest.Ends(t, e, out)[0] == 3*605 })
		got := savepointOf(t.Context(), t, "counts")
		require.NoError(t, got.Err)
		_, records := consistent(t, got.File)
		require.EqualValues(t, 3*605, records)
		s.stop(t)

		// The last of them is where another store begins.
		f, err := savepoint.Open(t.Context(), got.File)
		require.NoError(t, err)
		defer f.Close()
		moved := filepath.Join(dir, "moved")
		require.NoError(t, store.Importer{Options: store.Options{Directory: moved}}.Import(t.Context(), f))
		s = run(t, e, counting(e, in, out, moved, "interval: 1h"))
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, 10*time.Second, "it goes on", func() bool { return kafkatest.Ends(t, e, out)[0] == 3*615 })
		require.EqualValues(t, 3*605, counted.Load())
		s.stop(t)
		require.EqualValues(t, 3*615, kafkatest.Ends(t, e, out)[0])
	})
}

// Why there is no savepoint is said, and nothing is left behind.
func TestSavepointThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		engine.OpenStoresWith(t, func(o *store.Options) {
			o.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return syscall.ENOSPC
				}
				return nil
			}))
		})
		e := kafkatest.Virtual(t)
		in, out, dir := kafkatest.Topic(t, e, 1), kafkatest.Topic(t, e, 1), t.TempDir()
		to := filepath.Join(dir, "savepoints")
		require.NoError(t, os.WriteFile(to, nil, 0o600))
		s := run(t, e, counting(e, in, out, filepath.Join(dir, "store"), fmt.Sprintf("interval: 1h, savepoint_directory: %q", to)))
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, 10*time.Second, "it runs", func() bool { return kafkatest.Ends(t, e, out)[0] == 10 })

		got := savepointOf(t.Context(), t, "counts")
		require.ErrorContains(t, got.Err, "making checkpoint.savepoint_directory")
		require.Contains(t, s.logs.String(), "No savepoint was taken: making checkpoint.savepoint_directory")
		require.NoError(t, os.Remove(to))

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, savepointOf(gone, t, "counts").Err, context.Canceled)

		full.Store(true)
		got = savepointOf(t.Context(), t, "counts")
		require.ErrorContains(t, got.Err, "persisting checkpoint")
		require.ErrorIs(t, got.Err, syscall.ENOSPC)
		full.Store(false)

		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, 10*time.Second, "it goes on", func() bool { return kafkatest.Ends(t, e, out)[0] == 20 })
		got = savepointOf(t.Context(), t, "counts")
		require.NoError(t, got.Err)
		_, records := consistent(t, got.File)
		require.EqualValues(t, 20, records)
		left, err := os.ReadDir(to)
		require.NoError(t, err)
		require.Len(t, left, 1)
		s.stop(t)
	})
}
