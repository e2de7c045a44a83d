package soak_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/soak"
)

// story drives an audit of one partition by hand. Every delivery takes the next
// output offset, every step a second.
type story struct {
	audit  *soak.Audit
	offset int64
	now    time.Time
}

func newStory() *story {
	return &story{audit: soak.NewAudit(1), now: time.Unix(1_000_000, 0)}
}

// deliver delivers the numbers from..to.
func (s *story) deliver(from, to int64) {
	for n := from; n <= to; n++ {
		s.audit.Delivered(0, n, s.offset, s.now)
		s.offset++
	}
	s.now = s.now.Add(time.Second)
}

// commit commits an offset; the output's end is taken then.
func (s *story) commit(at int64) {
	s.audit.Committed(0, at, s.now, s.offset)
	s.now = s.now.Add(time.Second)
}

// stories are what an audit may be told, and the faults that are in it.
var stories = []struct {
	name string
	tell func(s *story)
	want map[soak.Fault]int
}{
	{name: "a clean run", tell: func(s *story) {
		s.deliver(0, 9)
		s.commit(10)
	}},
	{name: "a restart at the commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(5)
		s.deliver(5, 7)
		s.deliver(5, 9)
		s.commit(10)
	}},
	{name: "two restarts at one commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(5)
		s.deliver(5, 7)
		s.deliver(5, 6)
		s.deliver(5, 9)
		s.commit(10)
	}},
	{name: "a restart before any commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.deliver(0, 9)
		s.commit(10)
	}},
	{name: "a record that is exempt", tell: func(s *story) {
		s.audit.Exempt(0, 3)
		s.audit.Exempt(0, 9)
		s.deliver(0, 2)
		s.deliver(4, 5)
		s.commit(4)
		s.deliver(4, 8)
		s.commit(10)
	}},
	{name: "a record too many", tell: func(s *story) {
		s.audit.Exempt(0, 3)
		s.deliver(0, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.Altered: 1}},
	{name: "a gap", tell: func(s *story) {
		s.deliver(0, 3)
		s.deliver(5, 9)
		s.commit(4)
	}, want: map[soak.Fault]int{soak.Disorder: 1, soak.Lost: 1}},
	{name: "a gap that is filled later", tell: func(s *story) {
		s.deliver(0, 3)
		s.deliver(5, 5)
		s.deliver(4, 4)
		s.deliver(6, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.Disorder: 3}},
	{name: "two records swapped", tell: func(s *story) {
		s.deliver(0, 3)
		for _, n := range []int64{5, 4} {
			s.deliver(n, n)
		}
		s.deliver(6, 9)
	}, want: map[soak.Fault]int{soak.Disorder: 3}},
	{name: "the end is missing", tell: func(s *story) {
		s.deliver(0, 8)
		s.commit(9)
	}, want: map[soak.Fault]int{soak.Lost: 1}},
	{name: "a commit before its records, which come later", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(6)
		s.deliver(5, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.EarlyCommit: 1}},
	{name: "a commit one too far at the end", tell: func(s *story) {
		s.deliver(0, 9)
		s.commit(11)
		s.deliver(10, 10)
	}, want: map[soak.Fault]int{soak.EarlyCommit: 2, soak.Altered: 1}},
	{name: "a crash after a commit one too far", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(6)
		s.deliver(6, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.EarlyCommit: 2, soak.Disorder: 1, soak.Lost: 1}},
	{name: "a restart before the commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(5)
		s.deliver(5, 7)
		s.deliver(4, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.WrongRestart: 1}},
	{name: "a restart at an earlier commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(5)
		s.deliver(5, 7)
		s.commit(8)
		s.deliver(5, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.WrongRestart: 1}},
	{name: "a restart after the commit", tell: func(s *story) {
		s.deliver(0, 4)
		s.commit(5)
		s.deliver(5, 8)
		s.deliver(6, 9)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.WrongRestart: 1}},
	{name: "a restart at a commit that comes later", tell: func(s *story) {
		s.deliver(0, 7)
		s.commit(3)
		s.deliver(6, 9)
		s.commit(6)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.WrongRestart: 1}},
	{name: "a commit that goes back where that may be", tell: func(s *story) {
		s.audit.TakenBack()
		s.deliver(0, 9)
		s.commit(7)
		s.commit(6)
		s.commit(10)
	}},
	{name: "a commit that goes back", tell: func(s *story) {
		s.deliver(0, 9)
		s.commit(10)
		s.commit(7)
		s.commit(10)
	}, want: map[soak.Fault]int{soak.CommitBack: 1}},
}

// Each fault that the harnesses look for turns the audit red, and nothing else
// does.
func TestAuditFindsEachFault(t *testing.T) {
	for _, tc := range stories {
		t.Run(tc.name, func(t *testing.T) {
			s := newStory()
			tc.tell(s)
			s.audit.Settle()
			s.audit.Finish([]int64{10}, []int64{10})
			_, counts := s.audit.Violations()
			want := tc.want
			if want == nil {
				want = map[soak.Fault]int{}
			}
			require.Equal(t, want, counts, "%v", s.audit)
		})
	}
}

// A commit may be known before the output below the end that was taken for it.
func TestAuditWaitsForTheOutput(t *testing.T) {
	a, now := soak.NewAudit(1), time.Unix(1_000_000, 0)
	a.Committed(0, 3, now, 3)
	require.False(t, a.Red())
	a.Delivered(0, 0, 0, now)
	a.Delivered(0, 1, 1, now)
	a.Delivered(0, 2, 2, now)
	a.Delivered(0, 3, 3, now)
	a.Committed(0, 6, now, 5)
	a.Delivered(0, 4, 4, now)
	require.False(t, a.Red())
	a.Delivered(0, 5, 5, now)
	require.True(t, a.Red(), "number 5 came after the end that was taken for commit 6")
}

// A restart tells how long ago its first record had been written before.
func TestAuditMeasuresRepeats(t *testing.T) {
	s := newStory()
	s.deliver(0, 4) // at 0 s
	s.commit(3)     // at 1 s
	s.deliver(5, 7) // at 2 s
	s.deliver(8, 9) // at 3 s
	s.deliver(3, 6) // at 4 s
	s.deliver(3, 9)
	restarts := s.audit.Settle()
	require.Len(t, restarts, 2)
	require.Equal(t, int64(3), restarts[0].From)
	require.Equal(t, int64(7), restarts[0].Repeats())
	require.Equal(t, 3*time.Second, restarts[0].Span)
	// The second one repeats what the first one had written, not what came before.
	require.Equal(t, int64(4), restarts[1].Repeats())
	require.Zero(t, restarts[1].Span)
	require.False(t, s.audit.Red(), "%v", s.audit)
	require.Empty(t, s.audit.Settle())
}

// A restart at a commit that was the last one a while ago is wrong, unless that is
// tolerated.
func TestAuditTolerates(t *testing.T) {
	for tolerance, red := range map[time.Duration]bool{0: true, time.Second: true, 4 * time.Second: false} {
		s := newStory()
		s.audit.Tolerate(tolerance)
		s.deliver(0, 4) // at 0 s
		s.commit(5)     // at 1 s
		s.deliver(5, 7) // at 2 s
		s.commit(8)     // at 3 s
		s.deliver(8, 8) // at 4 s
		s.deliver(5, 9) // at 5 s
		s.audit.Settle()
		require.Equal(t, red, s.audit.Red(), "%v: %v", tolerance, s.audit)
	}
}

// Commits may be known before the restart that happened in front of them.
func TestAuditKeepsWhatALateRestartNeeds(t *testing.T) {
	a, now := soak.NewAudit(1), time.Unix(1_000_000, 0)
	second := func(n int) time.Time { return now.Add(time.Duration(n) * time.Second) }
	for n := range int64(8) {
		a.Delivered(0, n, n, second(1))
	}
	a.Committed(0, 5, second(0), 5)
	a.Committed(0, 8, second(3), -1)
	require.Empty(t, a.Settle())
	for n := range int64(5) {
		a.Delivered(0, n+5, n+8, second(2))
	}
	restarts := a.Settle()
	require.Len(t, restarts, 1)
	require.Zero(t, restarts[0].Span)
	require.False(t, a.Red(), "%v", a)
}

// A record shows where it belongs, and every change to it shows.
func TestNumberingShowsChanges(t *testing.T) {
	n := soak.NewNumbering(5, 100)
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for p := range int32(5) {
		for i := range int64(40) {
			r := n.Record("in", p, i)
			require.Len(t, r.Value, 100)
			require.Equal(t, int(p), hash.Partition(&kgo.Record{Key: r.Key}, 5), "its key belongs to another partition")
			gotP, gotI, err := n.Number(r)
			require.NoError(t, err)
			require.Equal(t, p, gotP)
			require.Equal(t, i, gotI)
			for at := range r.Value {
				changed := n.Record("in", p, i)
				changed.Value[at] ^= 1
				if got, gotI, err := n.Number(changed); err == nil {
					require.Fail(t, "a change does not show", "byte %d of %q: %d/%d", at, r.Value, got, gotI)
				}
			}
		}
	}
	r := n.Record("in", 1, 1)
	r.Key = n.Record("in", 1, 2).Key
	_, _, err := n.Number(r)
	require.Error(t, err)
}

func TestAuditOfWhatIsDeliveredOnce(t *testing.T) {
	s := newStory()
	s.audit.Once()
	s.deliver(0, 5)
	require.False(t, s.audit.Red(), "%v", s.audit)
	s.deliver(4, 6)
	_, counts := s.audit.Violations()
	require.Equal(t, map[soak.Fault]int{soak.Doubled: 1}, counts)
	require.Empty(t, s.audit.Settle(), "it is no restart")
}
