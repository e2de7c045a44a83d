package output

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// chaos drives an output as a coordinator does, with writers beside it and faults
// at the broker, and notes what must be in the topic.
type chaos struct {
	c   *kafkatest.Cluster
	s   *stream
	o   *Output
	rng *rand.Rand

	mu      sync.Mutex
	attempt int
	next    int
	// sinceCut are values that were acknowledged in this attempt and belong to no
	// flushed checkpoint yet.
	sinceCut []string
	// must are values that a checkpoint covers.
	must []string
	id   checkpoint.ID
}

func (x *chaos) write(ctx context.Context, poison float64) {
	x.mu.Lock()
	attempt, n := x.attempt, 1+x.rng.IntN(80)
	rs := make([]*kgo.Record, n)
	for i := range rs {
		word := "value"
		if x.rng.Float64() < poison {
			word = "poison"
		}
		rs[i] = &kgo.Record{Key: fmt.Appendf(nil, "%d", x.rng.IntN(10)), Value: fmt.Appendf(nil, "%d/%d/%s", attempt, x.next+i, word)}
	}
	batch, entry := x.s.batch(x.next, rs...)
	x.next += n
	x.mu.Unlock()

	err := x.o.WriteBatch(ctx, batch)

	x.mu.Lock()
	defer x.mu.Unlock()
	live := entry.State() == checkpoint.Live // else it comes again, and success promises nothing
	x.s.ledger.Leave(entry)
	if err == nil && live {
		for _, r := range rs {
			x.sinceCut = append(x.sinceCut, string(r.Value))
		}
	}
}

// cut takes a checkpoint and waits for its flush.
func (x *chaos) cut(t *testing.T) {
	x.mu.Lock()
	x.id++
	id, covered := x.id, x.sinceCut
	x.sinceCut = nil
	x.s.sink.Rotate(id)
	x.mu.Unlock()
	err := x.s.sink.Flush(within(t, 300*time.Millisecond), id)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil {
		x.must = append(x.must, covered...)
		return
	}
	x.sinceCut = append(covered, x.sinceCut...)
}

// rewind abandons the attempt and returns where the topic's partitions ended then.
func (x *chaos) rewind(t *testing.T, topic string, writers *sync.WaitGroup, stop func()) []int64 {
	x.mu.Lock()
	x.s.ledger.Abandon()
	x.s.sink.Discard()
	x.sinceCut = nil
	x.mu.Unlock()
	stop()
	writers.Wait() // as the ledger drains
	require.NoError(t, x.s.sink.Abort(within(t, 30*time.Second)))
	ends := kafkatest.Ends(t, x.c, topic)
	x.s.sink.Accept()
	x.s.locked(func() { x.s.fails = nil })
	x.s.ledger.Renew()
	x.attempt++
	return ends
}

func TestCheckpointsCoverAndRewindsAreComplete(t *testing.T) {
	rng := kafkatest.Random(t)
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 3)
	refusePoison(c, kerr.InvalidRecord)
	x := &chaos{c: c, s: newStream("a", true), rng: rng}
	x.o = open(t, c, x.s, "topic: "+topic+"\ncompression: none\nmax_buffered_records: 150\nlinger: 5ms\nmetadata_max_age: 20ms")
	faults := []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas}
	var rewinds [][]int64
	for range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		// Before the writers draw too.
		poison, cuts := []float64{0, 0, 0.002}[rng.IntN(3)], 1+rng.IntN(6)
		for range 2 {
			writers.Go(func() {
				for ctx.Err() == nil {
					x.write(ctx, poison)
				}
			})
		}
		for range cuts {
			x.mu.Lock()
			fault, times, more := faults[rng.IntN(len(faults))], rng.IntN(3), x.next+rng.IntN(500)
			x.mu.Unlock()
			c.Fail(kmsg.Produce, times, fault)
			kafkatest.Eventually(t, 30*time.Second, "the writers write", func() bool {
				x.mu.Lock()
				defer x.mu.Unlock()
				return x.next > more
			})
			x.cut(t)
		}
		rewinds = append(rewinds, x.rewind(t, topic, &writers, cancel))
	}
	x.check(t, topic, rewinds)
}

func (x *chaos) check(t *testing.T, topic string, rewinds [][]int64) {
	have := map[string]bool{}
	for p, rs := range kafkatest.ReadCommitted(t, x.c, topic) {
		for _, r := range rs {
			have[string(r.Value)] = true
			var attempt int
			_, err := fmt.Sscanf(string(r.Value), "%d/", &attempt)
			require.NoError(t, err)
			if attempt < len(rewinds) {
				require.Less(t, r.Offset, rewinds[attempt][p], "%s reached partition %d after its attempt was abandoned", r.Value, p)
			}
			require.False(t, strings.HasSuffix(string(r.Value), "poison"))
		}
	}
	for _, v := range x.must {
		require.True(t, have[v], "%s was covered by a checkpoint and is not there", v)
	}
	require.NotEmpty(t, x.must)
	t.Logf("%d records covered, %d in the topic, %d rewinds", len(x.must), len(have), len(rewinds))
}
