package window

import (
	"fmt"
	"time"

	"github.com/tidemarkhq/tidemark/watermark"
)

// Span is the time of a window: from Start on, up to End and without it.
type Span struct{ Start, End watermark.Time }

// Contains tells whether an event time is in the span.
func (s Span) Contains(t watermark.Time) bool { return s.Start <= t && t < s.End }

// String prints the span.
func (s Span) String() string { return fmt.Sprintf("[%v, %v)", s.Start, s.End) }

// touches tells whether two sessions are one.
func (s Span) touches(o Span) bool { return s.Start <= o.End && o.Start <= s.End }

func (s Span) union(o Span) Span { return Span{min(s.Start, o.Start), max(s.End, o.End)} }

// before orders windows by when they fire.
func (s Span) before(o Span) bool { return s.End < o.End || s.End == o.End && s.Start < o.Start }

// Kind is how windows follow each other.
type Kind uint8

// The kinds of windows.
const (
	// Tumbling windows have a size and follow each other without a gap.
	Tumbling Kind = iota + 1
	// Sliding windows have a size, and one begins with every slide.
	Sliding
	// Session windows are as long as records follow each other within a gap.
	Session
)

// Assigner tells which windows a record belongs to. All durations are whole
// milliseconds.
type Assigner struct {
	Kind Kind
	// Size of tumbling and sliding windows; Slide of sliding ones; Gap of sessions. Each
	// is above 0 where it counts.
	Size, Slide, Gap time.Duration
	// Offset moves tumbling and sliding windows away from 1970 UTC.
	Offset time.Duration
}

// String says in words what windows there are.
func (a Assigner) String() string {
	switch a.Kind {
	case Session:
		return fmt.Sprintf("sessions with a gap of %v", a.Gap)
	case Tumbling:
		return fmt.Sprintf("tumbling windows of %v, offset %v,", a.Size, a.Offset)
	}
	return fmt.Sprintf("sliding windows of %v every %v, offset %v,", a.Size, a.Slide, a.Offset)
}

// Assign appends the windows of a record to dst, in the order in which they fire.
func (a Assigner) Assign(dst []Span, t watermark.Time) []Span {
	switch a.Kind {
	case Session:
		return append(dst, Span{t, t.Add(a.Gap)})
	case Tumbling:
		start := a.start(t, a.Size)
		return append(dst, Span{start, start.Add(a.Size)})
	}
	last := a.start(t, a.Slide)
	before := a.Size - 1 - (a.Size-1)%a.Slide // where the first one begins, at most
	for ; before >= 0; before -= a.Slide {
		start := last.Add(-before)
		if s := (Span{start, start.Add(a.Size)}); s.Contains(t) {
			dst = append(dst, s)
		}
	}
	return dst
}

// start returns where the last window begins that begins at t or before.
func (a Assigner) start(t watermark.Time, every time.Duration) watermark.Time {
	e := int64(every / time.Millisecond)
	since := (int64(t) - int64(a.Offset/time.Millisecond)) % e
	if since < 0 {
		since += e
	}
	return t.Add(-time.Duration(since) * time.Millisecond)
}
