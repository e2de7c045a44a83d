package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func TestOriginIsFoundInDerivedContexts(t *testing.T) {
	type key struct{}
	parent := context.WithValue(t.Context(), key{}, "parent")
	origin := &checkpoint.Origin{Context: parent, Offset: 7}
	child, cancel := context.WithCancel(context.WithValue(origin, key{}, "child"))
	defer cancel()
	require.Same(t, origin, checkpoint.OriginOf(child))
	require.Equal(t, "parent", origin.Value(key{}))
	require.Nil(t, checkpoint.OriginOf(parent))
}

func TestErrorsKeepTheirMark(t *testing.T) {
	cause := errors.New("too large")
	err := fmt.Errorf("writing: %w", checkpoint.Permanent(cause))
	require.True(t, checkpoint.IsPermanent(err))
	require.ErrorIs(t, err, cause)
	require.False(t, checkpoint.IsPermanent(cause))
	require.NoError(t, checkpoint.Permanent(nil))
	require.NoError(t, checkpoint.Fatal(nil))

	fatal := fmt.Errorf("connecting: %w", checkpoint.Fatal(err))
	require.ErrorIs(t, fatal, checkpoint.ErrFatal)
	require.ErrorIs(t, fatal, cause)
	require.Equal(t, fatal, checkpoint.Fatal(fatal), "what is marked stays as it is")
	p := checkpoint.Partition{Source: "in", Topic: "orders", ID: 3}
	require.EqualError(t, checkpoint.RecordError(p, 12, cause), `topic "orders" partition 3 offset 12: too large`)
}

func TestPositions(t *testing.T) {
	a, b := checkpoint.Partition{Source: "a", Topic: "t", ID: 10}, checkpoint.Partition{Source: "b", Topic: "t", ID: 2}
	b9 := checkpoint.Partition{Source: "b", Topic: "t", ID: 9}
	ps := checkpoint.Positions{a: {Next: 1}, b9: {Next: 3, Stop: 3}, b: {Next: 2, Stop: checkpoint.Unbounded}}
	require.Equal(t, []checkpoint.Partition{a, b, b9}, ps.Sorted())
	require.Equal(t, checkpoint.Positions{b: ps[b], b9: ps[b9]}, ps.Of("b"))
	clone := ps.Clone()
	clone[a] = checkpoint.Position{Next: 9}
	require.Equal(t, checkpoint.Offset(1), ps[a].Next)
	require.True(t, ps[b9].Finished())
	require.False(t, ps[b].Finished(), "unbounded never ends")
	require.Equal(t, "b:t/2", b.String())
}

// Where a record is in event time is said once: of those who say it at once one is heard,
// and whoever looks meanwhile sees nothing or all of it.
func TestAnEventTimeIsSaidOnce(t *testing.T) {
	require.Equal(t, checkpoint.EventTime{}, new(checkpoint.Origin).EventTime())
	for _, want := range []checkpoint.EventTime{{}, {Known: true}, {At: -5, Known: true}, {At: 5, Known: true, Watermark: checkpoint.Watermark{At: 3, Known: true}}} {
		o := &checkpoint.Origin{}
		require.True(t, o.SetEventTime(want))
		require.False(t, o.SetEventTime(checkpoint.EventTime{At: 9, Known: true}))
		require.Equal(t, want, o.EventTime())
		require.Equal(t, checkpoint.EventTime{}, o.Derived(t.Context(), nil).EventTime())
	}
	for range 100 {
		o := &checkpoint.Origin{}
		var heard atomic.Int64
		var wg sync.WaitGroup
		for i := range int64(4) {
			wg.Go(func() {
				if o.SetEventTime(checkpoint.EventTime{At: i, Known: true, Watermark: checkpoint.Watermark{At: -i, Known: true}}) {
					heard.Add(1)
				}
			})
			wg.Go(func() {
				if is := o.EventTime(); is != (checkpoint.EventTime{}) {
					assert.Equal(t, checkpoint.EventTime{At: is.At, Known: true, Watermark: checkpoint.Watermark{At: -is.At, Known: true}}, is)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, heard.Load())
	}
}
