package buffer

import (
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
