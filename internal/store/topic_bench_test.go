package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// BenchmarkTopicRestore reads a million keys of 100 B back, in one partition of the store and
// spread over several.
func BenchmarkTopicRestore(b *testing.B) {
	const keys = 1_000_000
	for _, scopes := range []int{1, 8} {
		for _, where := range []string{"memory", "disk"} {
			b.Run(fmt.Sprintf("scopes=%d/copy=%s", scopes, where), func(b *testing.B) {
				r := newTopicRig(b, kafkatest.Fake(b), DefaultTopicPartitions)
				list := r.fill(scopes, keys)
				before := processorTime(b)
				for b.Loop() {
					topic := r.open(testJob, func(o *TopicOptions) {
						if where == "disk" {
							o.Directory = b.TempDir()
						}
					})
					_, err := topic.Restore(b.Context(), list)
					require.NoError(b, err)
					b.StopTimer()
					if where == "memory" {
						b.ReportMetric(float64(residentBytes(b))/(1<<20), "RSS-MiB")
					}
					require.NoError(b, topic.Close())
					b.StartTimer()
				}
				b.ReportMetric(keys*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
				// On a machine that others use as well this says more; the broker's share is in it.
				b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			})
		}
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill writes keys, spread over scopes, in transactions of 100 000.
func (r *topicRig) fill(scopes, keys int) []checkpoint.Scope {
	r.Helper()
	list := make([]checkpoint.Scope, scopes)
	for i := range list {
		list[i] = scopeOf(int32(i))
	}
	t, p := r.open(testJob), r.producer("filler")
	_, err := t.Restore(patient(r), list)
	require.NoError(r, err)
	rnd := rand.New(rand.NewPCG(1, 1))
	const group = 100_000
	for id := 0; id*group < keys; id++ {
		var changes []checkpoint.Change
		for i := range group {
			n := id*group + i
			value := make([]byte, 104)
			for at := 0; at < len(value); at += 8 {
				binary.NativeEndian.PutUint64(value[at:], rnd.Uint64())
			}
			changes = append(changes, checkpoint.Change{
				Operator: testOperator, Scope: list[n%scopes], Key: fmt.Appendf(nil, "customer-%09d", n*7919%keys), Value: value[:100],
			})
		}
		w, err := t.Checkpoint(manifestOf(testJob, checkpoint.ID(id+1), nil), changes, p.id)
		require.NoError(r, err)
		require.NoError(r, p.cl.BeginTransaction())
		for _, rec := range w.Records {
			p.cl.Produce(context.Background(), rec, nil)
		}
		require.NoError(r, p.cl.Flush(patient(r)))
		p.end(kgo.TryCommit)
	}
	return list
}

// BenchmarkTopicCheckpoint prepares and applies 1000 changes, without writing them.
func BenchmarkTopicCheckpoint(b *testing.B) {
	r := newTopicRig(b, kafkatest.Fake(b), DefaultTopicPartitions)
	t := r.open(testJob)
	_, err := t.Restore(b.Context(), []checkpoint.Scope{scopeOf(1)})
	require.NoError(b, err)
	var changes []checkpoint.Change
	for i := range 1000 {
		changes = append(changes, checkpoint.Change{Operator: testOperator, Scope: scopeOf(1), Key: fmt.Appendf(nil, "customer-%09d", i), Value: make([]byte, 100)})
	}
	var applied time.Duration
	for b.Loop() {
		w, err := t.Checkpoint(manifestOf(testJob, 1, nil), changes, "a")
		require.NoError(b, err)
		begun := time.Now()
		require.NoError(b, t.Applied(w))
		applied += time.Since(begun)
	}
	b.ReportMetric(float64(applied.Microseconds())/float64(b.N), "applied-us/op")
}
