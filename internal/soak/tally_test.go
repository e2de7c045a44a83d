package soak_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/soak"
)

// The fold is what adding up by hand makes, asked in any order.
func TestFoldIsTheSumOfAllBelow(t *testing.T) {
	var fold soak.Fold
	for _, n := range []int64{0, 1, 25_000, 9_999, 10_000, 10_001, 30_000, 3} {
		var want soak.Tally
		for i := range n {
			want.Add(2, i)
		}
		require.Equal(t, want, fold.Below(2, n), n)
		var got soak.Tally
		require.NoError(t, got.Decode(want.Encode()))
		require.Equal(t, want, got)
	}
}

// Each fault of state and of rewinds turns the audit red, and nothing else does.
func TestTraceShowsEachFault(t *testing.T) {
	var fold soak.Fold
	below := func(n int64) soak.Tally { return fold.Below(0, n) }
	other := below(7)
	other.Sum++
	tests := []struct {
		name   string
		events []soak.Event
		want   map[soak.Fault]int
	}{
		{"a clean life", []soak.Event{
			{Kind: soak.Restored},
			{Kind: soak.Loaded, Number: 7, Tally: below(7)},
			{Kind: soak.Wrote, Number: 7, To: 9},
			{Kind: soak.Discarded},
			{Kind: soak.Restored},
			{Kind: soak.Accepted},
			{Kind: soak.Loaded, Attempt: 1, Number: 8, Tally: below(8)},
			{Kind: soak.Wrote, Attempt: 1, Number: 8, To: 9},
		}, map[soak.Fault]int{}},
		{"a record twice in the state", []soak.Event{{Kind: soak.Loaded, Number: 7, Tally: below(8)}}, map[soak.Fault]int{soak.WrongState: 1}},
		{"a record for another", []soak.Event{{Kind: soak.Loaded, Number: 7, Tally: other}}, map[soak.Fault]int{soak.WrongState: 1}},
		{"a record that was left out", []soak.Event{{Kind: soak.Mismatch, Number: 7, Tally: below(6)}}, map[soak.Fault]int{soak.WrongState: 1}},
		{"a write during a rewind", []soak.Event{
			{Kind: soak.Discarded}, {Kind: soak.Wrote, Number: 1, To: 2},
		}, map[soak.Fault]int{soak.AbandonedAttempt: 1}},
		{"a write of the attempt before", []soak.Event{
			{Kind: soak.Discarded}, {Kind: soak.Accepted}, {Kind: soak.Wrote, Number: 1, To: 2},
		}, map[soak.Fault]int{soak.AbandonedAttempt: 1}},
		{"an arrival of the attempt before", []soak.Event{
			{Kind: soak.Discarded}, {Kind: soak.Accepted}, {Kind: soak.Abandoned, Number: 1},
		}, map[soak.Fault]int{soak.AbandonedAttempt: 1}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			a := soak.NewAudit(1)
			soak.CheckTrace(a, &fold, tc.events)
			_, counts := a.Violations()
			require.Equal(t, tc.want, counts, "%v", a)
		})
	}
}

// A kill may tear the last line of a trace, and no other.
func TestTraceMayBeTornAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	line := `{"kind":"restored","life":1}` + "\n"
	require.NoError(t, os.WriteFile(path, []byte(line+line+line[:9]), 0o600))
	events, err := soak.ReadTrace(path)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.NoError(t, os.WriteFile(path, []byte(line[:9]+"\n"+line), 0o600))
	_, err = soak.ReadTrace(path)
	require.Error(t, err)
}
