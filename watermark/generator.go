package watermark

import "time"

// Generator derives the watermark of one partition from its records. There is one for
// each partition.
//
// After a restart or a rewind a generator is made anew and Resume is called, before
// anything else, with the watermark that the checkpoint holds; then come the records
// after the position of that checkpoint, in the same order as before. So if its
// watermark depends on these two only, the same records are late again and no others.
type Generator interface {
	// Observe is called for every record, in the order of offsets, with its event
	// time.
	Observe(t Time)
	// Watermark returns what follows from the records so far, None if nothing does. A
	// value below an earlier one counts for nothing.
	Watermark() Time
	// Resume tells what watermark the partition had reached, None if it had none.
	Resume(w Time)
}

// Ascending is for partitions whose event times never decrease: the watermark is the
// highest one so far.
func Ascending() Generator { return BoundedOutOfOrderness(0) }

// BoundedOutOfOrderness is for partitions in which a record comes at most bound, in
// event time, behind a later one: the watermark is the highest event time so far minus
// bound. A fraction of a millisecond counts as a whole one, a negative bound as 0.
func BoundedOutOfOrderness(bound time.Duration) Generator {
	ms := (max(bound, 0) + time.Millisecond - 1).Truncate(time.Millisecond)
	return &bounded{bound: ms, watermark: None}
}

type bounded struct {
	bound     time.Duration
	watermark Time
}

func (b *bounded) Observe(t Time)  { b.watermark = max(b.watermark, t.Add(-b.bound)) }
func (b *bounded) Watermark() Time { return b.watermark }
func (b *bounded) Resume(w Time)   { b.watermark = max(b.watermark, w) }

// Punctuated is for partitions whose records say themselves how far event time has
// come. The zero value is not ready for use.
type Punctuated struct{ watermark Time }

// NewPunctuated returns a generator that nothing was said to.
func NewPunctuated() *Punctuated { return &Punctuated{watermark: None} }

// Say takes a watermark that a record carries, or None. It counts for the records that
// follow.
func (p *Punctuated) Say(w Time) { p.watermark = max(p.watermark, w) }

// Observe does nothing.
func (p *Punctuated) Observe(Time) {}

// Watermark returns the highest watermark so far.
func (p *Punctuated) Watermark() Time { return p.watermark }

// Resume is Say.
func (p *Punctuated) Resume(w Time) { p.Say(w) }
