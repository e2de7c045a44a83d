package input

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func records(offsets ...int64) []*kgo.Record {
	var rs []*kgo.Record
	for _, o := range offsets {
		rs = append(rs, &kgo.Record{Topic: "t", Offset: o})
	}
	return rs
}

func offsets(rs []*kgo.Record) []int64 {
	var os []int64
	for _, r := range rs {
		os = append(os, r.Offset)
	}
	return os
}

func flowingLane(at, stop checkpoint.Offset) *lane {
	l := newLane("t", 0)
	l.begin(starting{at: at, stop: stop})
	return l
}

func TestLaneDropsWhatItHadAlready(t *testing.T) {
	l := flowingLane(5, checkpoint.Unbounded)
	l.accept(records(3, 4, 5, 6))
	l.accept(records(5, 6, 7))
	l.accept(records(6, 7))
	require.Equal(t, []int64{5, 6, 7}, offsets(l.take(10).records))
	require.Nil(t, l.take(10))
}

func TestLanePositionIsTheAcknowledgedPrefix(t *testing.T) {
	l := flowingLane(0, checkpoint.Unbounded)
	l.accept(records(0, 1, 2, 5, 6))
	a, b := l.take(3), l.take(3)
	require.Equal(t, []int64{5, 6}, offsets(b.records))
	l.prefix.Done(b.span)
	require.Equal(t, checkpoint.Offset(0), l.prefix.Position(), "the second batch is not a prefix")
	l.prefix.Done(a.span)
	require.Equal(t, checkpoint.Offset(7), l.prefix.Position())
}

func TestLaneStopsBeforeItsStop(t *testing.T) {
	l := flowingLane(0, 3)
	l.accept(records(0, 1, 2, 3, 4))
	require.True(t, l.read())
	b := l.take(10)
	require.Equal(t, []int64{0, 1, 2}, offsets(b.records))
	require.False(t, l.finished())
	l.prefix.Done(b.span)
	require.True(t, l.finished())
}

func TestLaneFinishesOverAGapBeforeItsStop(t *testing.T) {
	l := flowingLane(0, 10)
	l.accept(records(0, 1, 15))
	b := l.take(10)
	require.Equal(t, []int64{0, 1}, offsets(b.records))
	l.prefix.Done(b.span)
	require.True(t, l.finished())

	l = flowingLane(4, 10)
	l.accept(records(12))
	require.True(t, l.finished(), "nothing to emit at all")
}

func TestLaneWithNothingToReadIsFinishedAtOnce(t *testing.T) {
	require.True(t, flowingLane(0, 0).finished())
	require.True(t, flowingLane(7, 7).finished())
	require.False(t, flowingLane(0, checkpoint.Unbounded).finished())
}

func TestLaneTakenBackForgetsEverything(t *testing.T) {
	l := flowingLane(0, checkpoint.Unbounded)
	l.accept(records(0, 1, 2, 3))
	b := l.take(2)
	l.back(0, checkpoint.Watermark{})
	require.True(t, b.stale())
	require.Zero(t, l.queued)
	l.accept(records(0, 1))
	again := l.take(10)
	require.Equal(t, []int64{0, 1}, offsets(again.records))
	require.False(t, again.stale())
	l.prefix.Done(b.span) // the acknowledgement of the abandoned batch
	require.Equal(t, checkpoint.Offset(0), l.prefix.Position())
}

// control marks records as transaction markers, as the client delivers them.
func control(t *testing.T, rs []*kgo.Record, at ...int64) []*kgo.Record {
	t.Helper()
	for _, r := range rs {
		for _, o := range at {
			if r.Offset == o {
				r.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true})
			}
		}
	}
	return rs
}

func TestLaneMovesPastControlRecords(t *testing.T) {
	l := flowingLane(0, checkpoint.Unbounded)
	l.accept(control(t, records(0, 1, 2), 2))
	b := l.take(10)
	require.Equal(t, []int64{0, 1}, offsets(b.records))
	l.prefix.Done(b.span)
	require.Equal(t, checkpoint.Offset(3), l.prefix.Position())

	l.accept(control(t, records(3, 4), 3, 4))
	require.Nil(t, l.take(10))
	require.Equal(t, checkpoint.Offset(5), l.prefix.Position())
}

// TestLaneAgainstADumbTwin feeds random fetches, with gaps and repetitions, takes
// and acknowledges at random, and compares with a list.
func TestLaneAgainstADumbTwin(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		l := flowingLane(0, checkpoint.Unbounded)
		var log, emitted []int64 // what exists, what came out
		for o, n := int64(0), 0; n < 100; n++ {
			log = append(log, o)
			o += 1 + int64(rnd.IntN(3))
		}
		var open []*batch
		at := 0
		for at < len(log) || l.queued > 0 || len(open) > 0 {
			switch rnd.IntN(3) {
			case 0:
				from := max(0, at-rnd.IntN(5))
				to := min(len(log), at+rnd.IntN(10))
				l.accept(records(log[from:to]...))
				at = max(at, to)
			case 1:
				if b := l.take(1 + rnd.IntN(7)); b != nil {
					emitted = append(emitted, offsets(b.records)...)
					open = append(open, b)
				}
			case 2:
				if len(open) > 0 {
					i := rnd.IntN(len(open))
					l.prefix.Done(open[i].span)
					open = append(open[:i], open[i+1:]...)
				}
			}
			want := checkpoint.Offset(0)
			if len(emitted) > 0 {
				want = checkpoint.Offset(emitted[len(emitted)-1] + 1)
			}
			for _, b := range open {
				if first := checkpoint.Offset(b.records[0].Offset); l.prefix.Position() > first {
					t.Fatalf("seed %d: position %d is behind offset %d, which is not acknowledged", seed, l.prefix.Position(), first)
				}
			}
			if len(open) == 0 && l.prefix.Position() != want {
				t.Fatalf("seed %d: all is acknowledged to %d, position is %d", seed, want, l.prefix.Position())
			}
		}
		require.Equal(t, log, emitted, "seed %d", seed)
	}
}
