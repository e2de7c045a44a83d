package engine_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// The disk under the store takes 5 seconds for a sync, and all the while every
// slice of 100 ms has records moving into the output topic; with an operator's
// state too, where only the cut itself may hold the pipeline.
func TestNoPauseWhileTheStoreSyncs(t *testing.T) {
	for kind, processors := range map[string]string{
		"running cut": "",
		"aligned cut": "pipeline: { processors: [ { counter: {} } ] }",
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d disk
				engine.OpenStoresWith(t, func(o *store.Options) { o.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(d.op)) })
				e := kafkatest.Virtual(t)
				in, out := kafkatest.Topic(t, e, 2), kafkatest.Topic(t, e, 2)
				total := func() (n int64) {
					for _, end := range kafkatest.Ends(t, e, out) {
						n += end
					}
					return n
				}
				feedEnd := feed(t, e, in)
				s := run(t, e, fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    topics: [ %s ]
    assignment: static
    start_from: earliest
    checkpoint: { interval: 1s, store: { directory: %s } }
%s
output:
  kafka_checkpointed:
    seed_brokers: [ %q ]
    topic: %s
`, e.Seeds()[0], in, t.TempDir(), processors, e.Seeds()[0], out))

				// The client's first request may be for one of the partitions alone, the one without
				// records, and is answered after fetch_max_wait of 5 s.
				kafkatest.Eventually(t, 10*time.Second, "records move", func() bool { return total() > 0 })
				time.Sleep(3500 * time.Millisecond) // virtual, as all time here
				require.Positive(t, d.syncs.Load(), "checkpoints are taken")
				d.hold()
				defer d.release() // or a failed test would wait for its stream for ever
				kafkatest.Until(t, 2*time.Second, func() error {
					if d.waiting.Load() == 0 {
						return fmt.Errorf("no sync waits")
					}
					return nil
				})
				before := total()
				for slice := range 50 {
					time.Sleep(100 * time.Millisecond)
					now := total()
					require.Greater(t, now, before, "slice %d", slice)
					before = now
				}
				require.Positive(t, d.waiting.Load(), "the sync waited all the time")
				d.release()
				fed := feedEnd()
				kafkatest.Until(t, 10*time.Second, func() error {
					if n := total(); n != fed {
						return fmt.Errorf("%d of %d records are there", n, fed)
					}
					return nil
				})
				s.stop(t)
			})
		})
	}
}

// disk makes syncs wait.
type disk struct {
	mu      sync.Mutex
	held    chan struct{}
	syncs   atomic.Int64
	waiting atomic.Int64
}

func (d *disk) op(o errorfs.Op) error {
	switch o.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
	default:
		return nil
	}
	d.syncs.Add(1)
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		d.waiting.Add(1)
		<-held
		d.waiting.Add(-1)
	}
	return nil
}

func (d *disk) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = make(chan struct{})
}

func (d *disk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

// feed writes a record every 10 ms of the bubble's time, until the function that it
// returns is called, which tells how many.
func feed(t *testing.T, e kafkatest.Endpoint, topic string) (end func() int64) {
	cl, err := kgo.NewClient(append(e.(*kafkatest.Cluster).ClientOptions(), kgo.DefaultProduceTopic(topic))...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var n int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			cl.Produce(context.Background(), kgo.StringRecord("x"), nil)
			n++
		}
	}()
	end = func() int64 {
		cancel()
		<-done
		require.NoError(t, cl.Flush(context.Background()))
		return n
	}
	t.Cleanup(func() {
		end()
		cl.Close()
	})
	return end
}
