package watermark_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/watermark"
)

func TestBoundedOutOfOrderness(t *testing.T) {
	for _, tc := range []struct {
		name  string
		bound time.Duration
		times []watermark.Time
		want  watermark.Time
	}{
		{"nothing", time.Second, nil, watermark.None},
		{"ascending", 0, []watermark.Time{1, 2, 5}, 5},
		{"disorder", 3 * time.Millisecond, []watermark.Time{10, 8, 9}, 7},
		{"before 1970", 3 * time.Millisecond, []watermark.Time{-10, -12}, -13},
		{"a fraction counts", 2*time.Millisecond + 1, []watermark.Time{10}, 7},
		{"negative", -time.Second, []watermark.Time{10}, 10},
		{"the lowest", time.Second, []watermark.Time{math.MinInt64 + 5}, math.MinInt64 + 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := watermark.BoundedOutOfOrderness(tc.bound)
			for _, at := range tc.times {
				g.Observe(at)
			}
			require.Equal(t, tc.want, g.Watermark())
		})
	}
}

func TestGeneratorsGoOnWhereTheyWere(t *testing.T) {
	for name, g := range map[string]watermark.Generator{"periodic": watermark.Ascending(), "punctuated": watermark.NewPunctuated()} {
		t.Run(name, func(t *testing.T) {
			g.Resume(watermark.None)
			require.Equal(t, watermark.None, g.Watermark())
			g.Resume(50)
			g.Observe(40)
			require.EqualValues(t, 50, g.Watermark())
		})
	}
}

func TestPunctuated(t *testing.T) {
	g := watermark.NewPunctuated()
	g.Observe(100)
	require.Equal(t, watermark.None, g.Watermark(), "only what was said counts")
	for _, w := range []watermark.Time{7, watermark.None, 3} {
		g.Say(w)
	}
	require.EqualValues(t, 7, g.Watermark())
}

func TestTime(t *testing.T) {
	require.EqualValues(t, 1500, watermark.Of(time.Unix(1, 500_999_999)))
	require.EqualValues(t, -1, watermark.Of(time.Unix(0, -1)))
	for _, tc := range []struct {
		t    watermark.Time
		d    time.Duration
		want watermark.Time
	}{
		{5, 2 * time.Millisecond, 7},
		{5, -2 * time.Millisecond, 3},
		{watermark.None, time.Hour, watermark.None},
		{watermark.End, -time.Hour, watermark.End},
		{watermark.End - 5, time.Hour, watermark.End - 1},
		{watermark.None + 5, -time.Hour, watermark.None + 1},
	} {
		require.Equal(t, tc.want, tc.t.Add(tc.d), "%v + %v", tc.t, tc.d)
	}
	require.Equal(t, "none 7 end", watermark.None.String()+" "+watermark.Time(7).String()+" "+watermark.End.String())
	require.True(t, watermark.Time(0).Known())
	require.False(t, watermark.None.Known() || watermark.End.Known())
}
