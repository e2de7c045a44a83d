package watermark_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/watermark"
)

// tracked returns a tracker of partitions "a", "b" … that have these watermarks.
func tracked(r watermark.Rules, ws ...watermark.Time) *watermark.Tracker[string] {
	from := map[string]watermark.Progress{}
	for i, w := range ws {
		from[string(rune('a'+i))] = watermark.Progress{Own: w, Seen: watermark.None}
	}
	t := watermark.NewTracker[string]()
	t.Add(from, r)
	return t
}

func add(t *watermark.Tracker[string], k string, p watermark.Progress, r watermark.Rules) {
	t.Add(map[string]watermark.Progress{k: p}, r)
}

func TestTheSlowestCounts(t *testing.T) {
	tr := tracked(watermark.Rules{}, 30, 10, 20)
	require.EqualValues(t, 10, tr.Merged().Now())
	tr.Advance("b", 25)
	require.EqualValues(t, 20, tr.Merged().Now())
	tr.Advance("b", 5)
	require.EqualValues(t, 20, tr.Merged().Now(), "a watermark does not fall")
	add(tr, "d", watermark.Start, watermark.Rules{})
	require.Equal(t, watermark.None, tr.Merged().Now(), "nothing is known of the new one")
	require.EqualValues(t, 20, tr.Merged().High())
	tr.Remove("d")
	tr.Remove("c")
	require.EqualValues(t, 25, tr.Merged().Now(), "one that is gone holds nobody back")
	tr.Advance("c", 100)
	tr.Quiet("c", time.Hour)
	tr.Finish("c")
	tr.Decide()
	require.EqualValues(t, 25, tr.Merged().Now(), "nor does a late word about it")
}

func TestThoseThatBeginTogetherHoldEachOtherBack(t *testing.T) {
	tr := tracked(watermark.Rules{}, 100, 10)
	require.EqualValues(t, 10, tr.Merged().High())
	p, _ := tr.Merged().Of("a")
	require.EqualValues(t, 10, p.Seen)
}

func TestAPartitionThatMovesInPullsTheOthersBack(t *testing.T) {
	tr := tracked(watermark.Rules{}, 100)
	add(tr, "old", watermark.Progress{Own: 40, Seen: 35}, watermark.Rules{})
	require.EqualValues(t, 40, tr.Merged().Now())
	for k, want := range map[string]watermark.Progress{"a": {Own: 100, Seen: 100}, "old": {Own: 40, Seen: 40}} {
		p, ok := tr.Merged().Of(k)
		require.True(t, ok)
		require.Equal(t, want, p, k)
	}
}

func TestIdle(t *testing.T) {
	const after = time.Minute
	tr := tracked(watermark.Rules{IdleAfter: after}, 100, 10)
	tr.Decide()
	require.False(t, tr.Merged().IsIdle("b"), "it may have something to read")
	tr.Quiet("b", after-1)
	tr.Decide()
	require.EqualValues(t, 10, tr.Merged().Now())
	tr.Quiet("b", after)
	require.EqualValues(t, 10, tr.Merged().Now(), "not before it is decided")
	tr.Decide()
	require.True(t, tr.Merged().IsIdle("b"))
	require.EqualValues(t, 100, tr.Merged().Now())

	tr.Quiet("b", 0)
	require.False(t, tr.Merged().IsIdle("b"))
	require.EqualValues(t, 10, tr.Merged().Now(), "it has something to read, of which nothing is known yet")
	p, _ := tr.Merged().Of("b")
	require.EqualValues(t, 100, p.Seen, "its windows have fired")

	tr.Quiet("b", after)
	tr.Decide()
	tr.Advance("b", 5)
	require.False(t, tr.Merged().IsIdle("b"), "a late record is a record")
	tr.Decide()
	require.False(t, tr.Merged().IsIdle("b"), "its time begins anew")
}

func TestNobodyIsIdleWithoutATime(t *testing.T) {
	tr := tracked(watermark.Rules{}, 1)
	tr.Quiet("a", 1000*time.Hour)
	tr.Decide()
	require.False(t, tr.Merged().IsIdle("a"))
}

func TestAllIdle(t *testing.T) {
	tr := watermark.NewTracker[string]()
	require.True(t, tr.Merged().Idle())
	require.Equal(t, watermark.None, tr.Merged().Now(), "no partition at all is idle, not the end")

	tr = tracked(watermark.Rules{IdleAfter: 1}, 100, 10)
	for _, k := range []string{"a", "b"} {
		tr.Quiet(k, 1)
		tr.Decide()
	}
	require.True(t, tr.Merged().Idle())
	require.EqualValues(t, 100, tr.Merged().Now(), "nothing is under way that could be behind the fastest")
	tr.Remove("a")
	require.EqualValues(t, 10, tr.Merged().Now())
	p, _ := tr.Merged().Of("b")
	require.EqualValues(t, 100, p.Seen)
}

func TestFinished(t *testing.T) {
	tr := tracked(watermark.Rules{IdleAfter: 1}, 100, 10)
	tr.Finish("b")
	require.EqualValues(t, 100, tr.Merged().Now())
	tr.Quiet("a", 1)
	tr.Decide()
	require.EqualValues(t, 100, tr.Merged().Now(), "an idle one may have more")
	tr.Advance("b", 3)
	tr.Quiet("b", 0)
	require.True(t, tr.Merged().Idle(), "what has finished does not come back")
	tr.Finish("a")
	require.Equal(t, watermark.End, tr.Merged().Now())
	require.True(t, tr.Merged().Idle())
}

func TestAlignment(t *testing.T) {
	r := watermark.Rules{IdleAfter: time.Minute, MaxDrift: 10 * time.Millisecond}
	tr := tracked(r, 100, 110, 111)
	held := func() (held []string) {
		for _, k := range []string{"a", "b", "c", "new"} {
			if tr.Held(k) {
				held = append(held, k)
			}
		}
		return held
	}
	require.Empty(t, held(), "not before it is decided")
	tr.Decide()
	require.Equal(t, []string{"c"}, held())

	tr.Quiet("c", time.Hour)
	tr.Decide()
	require.False(t, tr.Merged().IsIdle("c"), "it is us who keep it from being read")
	tr.Advance("a", 101)
	tr.Quiet("c", 0)
	tr.Decide()
	require.Empty(t, held())
	tr.Quiet("c", time.Minute)
	tr.Decide()
	require.True(t, tr.Merged().IsIdle("c"))

	add(tr, "new", watermark.Start, r)
	tr.Decide()
	require.Equal(t, []string{"a", "b"}, held(), "it has something to read, of which nothing is known yet")
	tr.Quiet("new", 1)
	tr.Decide()
	require.Empty(t, held(), "it is empty")
	tr.Finish("a")
	tr.Advance("b", 1000)
	tr.Decide()
	require.Empty(t, held(), "nobody is left to wait for")
}

func TestWhoHasNoDriftDoesNotWait(t *testing.T) {
	tr := tracked(watermark.Rules{}, 100, 1000)
	add(tr, "c", watermark.Progress{Own: 1000}, watermark.Rules{MaxDrift: time.Millisecond})
	tr.Decide()
	require.False(t, tr.Held("b"))
	require.True(t, tr.Held("c"), "but is waited for")
}

// What changes together counts together: event time is never where it would be in between.
func TestWhatChangesTogetherCountsTogether(t *testing.T) {
	m := watermark.NewMerger[string]()
	m.Add(map[string]watermark.Progress{"a": {Own: 10, Seen: watermark.None}, "b": {Own: 1000, Seen: watermark.None}, "c": {Own: 20, Seen: watermark.None}})
	m.SetIdle("b", true)
	m.SetIdle("c", true)
	m.Together(func() {
		m.SetIdle("a", true)
		m.Advance("c", 20)
	})
	require.EqualValues(t, 20, m.Now())
	require.EqualValues(t, 20, m.High())
	m.Together(func() {})
	require.EqualValues(t, 20, m.High())
	m.Advance("c", 30)
	require.EqualValues(t, 30, m.High(), "and others count by themselves again")
}

func TestWhichTimesAreKnown(t *testing.T) {
	for at, want := range map[watermark.Time]bool{
		watermark.None: false, watermark.None + 1: true, -1: true, 0: true, watermark.End - 2: true,
		watermark.End - 1: false, watermark.End: false,
	} {
		require.Equal(t, want, at.Known(), int64(at))
		if want {
			require.Greater(t, at.Add(time.Millisecond), at, "something can be after it")
		}
	}
}
