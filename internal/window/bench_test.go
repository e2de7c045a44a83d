package window_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// One record into a tumbling window of ten seconds, with a count and a sum, of 1,000 keys
// that come one after the other, 100 records a second each.
func BenchmarkAdd(b *testing.B) {
	w, err := window.Open(window.Config{
		Assigner:   window.Assigner{Kind: window.Tumbling, Size: 10 * time.Second},
		Aggregates: []window.Aggregate{{Op: window.Count}, {Op: window.Sum}},
	}, space{})
	require.NoError(b, err)
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "user-%d", i)
	}
	values := []any{nil, int64(7)}
	b.ReportAllocs()
	fired := 0
	for i := range b.N {
		at := watermark.Time(i / 100)
		if _, err := w.Add(keys[i%1000], window.Record{Time: at, Values: values}); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			if _, err := w.Advance(at.Add(-2*time.Second), func(window.Result) (bool, error) { fired++; return false, nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(fired)/float64(b.N), "fired/op")
}

// overlaid keeps windows in an overlay, as the engine does.
type overlaid struct {
	space
	over *checkpoint.Overlay
}

var overlaidScope = checkpoint.Scope{Source: "in", Topic: "orders", ID: 3}

func (o overlaid) Put(key, value []byte) error {
	o.over.Set("windows", overlaidScope, key, value)
	return nil
}

func (o overlaid) Delete(key []byte) error { return o.Put(key, nil) }

// What a checkpoint takes for each of 100,000 keys that have changed, while the pipeline
// stands still.
func BenchmarkFreeze(b *testing.B) {
	o := overlaid{space{}, checkpoint.NewOverlay()}
	w, err := window.Open(window.Config{
		Assigner:   window.Assigner{Kind: window.Tumbling, Size: time.Hour},
		Aggregates: []window.Aggregate{{Op: window.Count}, {Op: window.Sum}},
	}, o)
	require.NoError(b, err)
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "user-%09d", i)
	}
	values := []any{nil, int64(7)}
	b.ReportAllocs()
	id := checkpoint.ID(0)
	for b.Loop() {
		b.StopTimer()
		for _, key := range keys {
			if _, err := w.Add(key, window.Record{Time: 1, Values: values}); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := w.Freeze(); err != nil {
			b.Fatal(err)
		}
		id++
		o.over.Freeze(id)
		o.over.Persisted(id)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/key")
}
