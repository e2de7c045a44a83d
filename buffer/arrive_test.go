package buffer

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// arrivals are reports to windows of the process, and what they lead to.
type arrivals struct {
	t *testing.T
	b *buffer
}

func newArrivals(t *testing.T) *arrivals {
	b := &buffer{conf: &config{perProcess: true}}
	b.forget()
	b.mu.scopes[checkpoint.Scope{}] = &window.Windows{}
	return &arrivals{t, b}
}

func at(ms int64) checkpoint.Watermark { return checkpoint.Watermark{Known: true, At: ms} }

func (a *arrivals) report(ps ...checkpoint.Arrived) {
	a.t.Helper()
	all := map[checkpoint.Partition]checkpoint.Arrived{}
	for i, p := range ps {
		all[checkpoint.Partition{Topic: "t", ID: int32(i)}] = p
	}
	require.NoError(a.t, a.b.arrive(all, true))
}

func (a *arrivals) reached(want watermark.Time) {
	a.t.Helper()
	require.Equal(a.t, want, a.b.mu.merger.Now())
	require.Equal(a.t, want, a.b.mu.merger.High(), "event time was further in between: windows have fired")
}

// A report counts as a whole: whichever of its partitions comes first, event time does not
// come to where it would be without the others.
func TestAReportCountsAsAWhole(t *testing.T) {
	for range 50 {
		a := newArrivals(t)
		a.report(checkpoint.Arrived{Watermark: at(10)}, checkpoint.Arrived{Watermark: at(1000), Idle: true}, checkpoint.Arrived{Watermark: at(20), Idle: true})
		a.reached(10)
		a.report(checkpoint.Arrived{Watermark: at(10), Idle: true}, checkpoint.Arrived{Watermark: at(1000), Idle: true}, checkpoint.Arrived{Watermark: at(20)})
		a.reached(20) // One became idle, and another has something again.

		a = newArrivals(t)
		a.report(checkpoint.Arrived{Watermark: at(10), Finished: true}, checkpoint.Arrived{Watermark: at(1000), Idle: true}, checkpoint.Arrived{Watermark: at(20)})
		a.reached(20)

		a = newArrivals(t)
		a.report(checkpoint.Arrived{Watermark: at(10)})
		a.report(checkpoint.Arrived{Watermark: at(1000)}, checkpoint.Arrived{Watermark: at(20)})
		a.reached(20) // One is new, as another moves on.
	}
}

// Records may come before the report that has their partition, and those of several
// partitions in one batch.
func TestABatchCountsAsAWhole(t *testing.T) {
	for range 50 {
		a := newArrivals(t)
		a.report(checkpoint.Arrived{Watermark: at(10)})
		p := func(id int32) checkpoint.Partition { return checkpoint.Partition{Topic: "t", ID: id} }
		a.b.reachLocked(reached{p(0): 1000, p(1): 20})
		a.reached(20)
	}
}

// A partition that was assigned anew may be of another log, which is behind and empty.
func TestAPartitionAssignedAnewBecomesIdle(t *testing.T) {
	a := newArrivals(t)
	a.report(checkpoint.Arrived{Watermark: at(100), Lane: 1}, checkpoint.Arrived{Watermark: at(100), Lane: 2})
	a.reached(100)
	a.report(checkpoint.Arrived{Lane: 3}, checkpoint.Arrived{Watermark: at(200), Lane: 2})
	require.Equal(t, watermark.None, a.b.mu.merger.Now())
	a.report(checkpoint.Arrived{Lane: 3, Idle: true}, checkpoint.Arrived{Watermark: at(300), Lane: 2})
	a.reached(300)
}

// Records that came after a report was made tell more than it: the partition is not idle.
func TestWhatRecordsSayAfterAReportCounts(t *testing.T) {
	a := newArrivals(t)
	a.report(checkpoint.Arrived{Watermark: at(100), Lane: 1}, checkpoint.Arrived{Watermark: at(10), Lane: 2})
	a.b.reachLocked(reached{checkpoint.Partition{Topic: "t", ID: 1}: 20})
	a.report(checkpoint.Arrived{Watermark: at(100), Lane: 1}, checkpoint.Arrived{Watermark: at(10), Lane: 2, Idle: true})
	a.reached(20)
}

// restoring is an operator's handle while partitions are being taken over.
type restoring struct {
	checkpoint.OperatorHandle
	state *arriving
}

func (r *restoring) State() checkpoint.State { return r.state }

// arriving is state that is there for some scopes only.
type arriving struct {
	checkpoint.State
	restored map[checkpoint.Scope]bool
}

func (r *arriving) look(s checkpoint.Scope) error {
	if !r.restored[s] {
		return fmt.Errorf("reading state of %s: %w", s, checkpoint.ErrNotRestored)
	}
	return nil
}

func (r *arriving) Get(s checkpoint.Scope, _ []byte) ([]byte, error) { return nil, r.look(s) }

func (r *arriving) Scan(s checkpoint.Scope, _, _ []byte, _ func(key, value []byte) error) error {
	return r.look(s)
}

// A partition is reported before its state is there: it holds event time back, and its
// windows are read with a later report. To go back would not help, and keeps the takeover
// from its end.
func TestAPartitionThatIsBeingTakenOver(t *testing.T) {
	ready, coming := checkpoint.Partition{Topic: "t", ID: 0}, checkpoint.Partition{Topic: "t", ID: 1}
	state := &arriving{restored: map[checkpoint.Scope]bool{ready: true}}
	b := &buffer{conf: &config{}, handle: &restoring{state: state}}
	b.forget()
	report := func(of checkpoint.Watermark) {
		t.Helper()
		require.NoError(t, b.arrive(map[checkpoint.Partition]checkpoint.Arrived{ready: {Watermark: at(1000)}, coming: {Watermark: of}}, true))
	}
	report(checkpoint.Watermark{})
	require.Contains(t, b.mu.scopes, ready)
	require.NotContains(t, b.mu.scopes, coming)
	require.Equal(t, watermark.None, b.mu.merger.Now(), "it holds event time back")
	state.restored[coming] = true
	report(at(10))
	require.Contains(t, b.mu.scopes, coming)
	require.Equal(t, watermark.Time(10), b.mu.merger.Now())
}
