package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// countingInTopic is counting with its checkpoints in a topic, exactly once.
func countingInTopic(e *kafkatest.Cluster, in, out, topic, extra string) string {
	yaml := counting(e, in, out, "", extra)
	yaml = strings.Replace(yaml, `store: { directory: "" }`, fmt.Sprintf("store: { topic: %s, partitions: 4 }", topic), 1)
	return strings.Replace(yaml, "topic: "+out+" }", "topic: "+out+", delivery: exactly_once, transaction_timeout: 10m }", 1)
}

// visible counts the records of a topic that are committed.
func visible(t *testing.T, e *kafkatest.Cluster, topic string) (n uint64) {
	t.Helper()
	for _, rs := range kafkatest.ReadCommitted(t, e, topic) {
		n += uint64(len(rs))
	}
	return n
}

// Savepoints of a stream under load are of the transaction that has just been committed:
// what they count is there to be read, and what they have of each other fits.
func TestSavepointIsOfACommittedTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out, topic, to := kafkatest.Topic(t, e, 3), kafkatest.Topic(t, e, 1), kafkatest.Unique(t), t.TempDir()
		s := run(t, e, countingInTopic(e, in, out, topic, fmt.Sprintf("interval: 50ms, savepoint_directory: %q", to)))
		kafkatest.Fill(t, e, in, 5)
		kafkatest.Eventually(t, 10*time.Second, "it runs", func() bool { return visible(t, e, out) == 15 })
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			for range 40 {
				kafkatest.Fill(t, e, in, 20)
				time.Sleep(7 * time.Millisecond) // virtual, in the bubble
			}
		}()
		var before uint64
		for range 8 {
			got := savepointOf(t.Context(), t, "counts")
			require.NoError(t, got.Err)
			require.True(t, got.Stored)
			seen := visible(t, e, out)
			_, records := consistent(t, got.File)
			require.GreaterOrEqual(t, seen, records, "what it covers is committed")
			require.GreaterOrEqual(t, records, before)
			before = records
			time.Sleep(20 * time.Millisecond) // virtual, in the bubble
		}
		<-fed
		s.stop(t)
		require.EqualValues(t, 3*805, visible(t, e, out))
	})
}

// There is no savepoint of a transaction that may not have been committed, and the next one
// is of what was committed after it.
func TestNoSavepointOfATransactionInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out, topic, to := kafkatest.Topic(t, e, 3), kafkatest.Topic(t, e, 1), kafkatest.Unique(t), t.TempDir()
		s := run(t, e, countingInTopic(e, in, out, topic, fmt.Sprintf("interval: 5m, savepoint_directory: %q", to)))
		for i := range uint64(3) {
			kafkatest.Fill(t, e, in, 10)
			kafkatest.Eventually(t, 10*time.Second, "it is written", func() bool {
				return uint64(len(kafkatest.ReadUncommitted(t, e, out)[0])) >= 30*(i+1)
			})
			hold := e.Hold(t, kmsg.EndTxn)
			asked := make(chan []engine.Savepoint, 1)
			go func() { asked <- engine.Savepoints(t.Context()) }()
			hold.Await(t, 1, 10*time.Second)
			require.NoError(t, kafka.Fence(t.Context(), kafkatest.Client(t, e), "tidemark-counts-0-of-1"))
			hold.Release()
			got := <-asked
			require.Len(t, got, 1)
			require.ErrorContains(t, got[0].Err, "it is not known whether the checkpoint is complete")
			require.Empty(t, got[0].File)
			require.Equal(t, 30*i, visible(t, e, out))
			kafkatest.Eventually(t, time.Minute, "it goes on", func() bool {
				return savepointOf(t.Context(), t, "counts").Err == nil && visible(t, e, out) == 30*(i+1)
			})
		}
		s.stop(t)
		files, err := os.ReadDir(to)
		require.NoError(t, err)
		// The last one is where the job begins anew, in a folder.
		last := ""
		var most uint64
		for _, f := range files {
			if _, n := consistent(t, filepath.Join(to, f.Name())); n >= most {
				last, most = filepath.Join(to, f.Name()), n
			}
		}
		require.EqualValues(t, 90, most)
		f, err := savepoint.Open(t.Context(), last)
		require.NoError(t, err)
		defer f.Close()
		merged, err := savepoint.Merge([]*savepoint.File{f}, savepoint.Target{ShardOf: kafka.ShardOf})
		require.NoError(t, err)
		moved := filepath.Join(to, "moved")
		require.NoError(t, store.Importer{Options: store.Options{Directory: moved}}.Import(t.Context(), merged))
		s = run(t, e, counting(e, in, out, moved, "interval: 1h"))
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, 10*time.Second, "it goes on there", func() bool { return visible(t, e, out) == 120 })
		require.EqualValues(t, 90, counted.Load())
		s.stop(t)
	})
}
