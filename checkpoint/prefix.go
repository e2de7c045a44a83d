package checkpoint

import "slices"

// Prefix turns acknowledgements that come in any order into the position that a
// partition may be checkpointed at: the offset after its acknowledged prefix.
type Prefix struct {
	position  Offset
	watermark Watermark
	spans     []*Span
}

// Span is a run of offsets that is acknowledged as a whole.
type Span struct {
	// End is the offset after the last one of the span.
	End Offset
	// Watermark is what the records up to there have led to, if that is known by the
	// time the span is acknowledged.
	Watermark Watermark
	done      bool
}

// NewPrefix starts at a position.
func NewPrefix(at Offset) *Prefix { return &Prefix{position: at} }

// Position returns the offset after the acknowledged prefix.
func (p *Prefix) Position() Offset { return p.position }

// Watermark returns what the acknowledged prefix has led to.
func (p *Prefix) Watermark() Watermark { return p.watermark }

// Advance raises the watermark: that of the checkpoint at which the prefix starts.
func (p *Prefix) Advance(w Watermark) { p.watermark = p.watermark.Max(w) }

// Open appends a span that ends at end, not acknowledged yet.
func (p *Prefix) Open(end Offset) *Span {
	s := &Span{End: end}
	p.spans = append(p.spans, s)
	return s
}

// Split ends an open span at an offset inside it, and returns one for what follows.
func (p *Prefix) Split(s *Span, at Offset) *Span {
	rest := &Span{End: s.End}
	s.End = at
	p.spans = slices.Insert(p.spans, slices.Index(p.spans, s)+1, rest)
	return rest
}

// Pass appends offsets up to end that need no acknowledgement: transaction
// markers, gaps, filtered records.
func (p *Prefix) Pass(end Offset) {
	if n := len(p.spans); n > 0 {
		// What follows a span is passed when the span is; a span that is done
		// would have been removed if it were the first.
		p.spans = append(p.spans, &Span{End: end, done: true})
		return
	}
	p.position = max(p.position, end)
}

// Done acknowledges a span. A span of before a Reset is not known any more and is
// ignored.
func (p *Prefix) Done(s *Span) {
	s.done = true
	n := 0
	for n < len(p.spans) && p.spans[n].done {
		p.position = max(p.position, p.spans[n].End)
		p.Advance(p.spans[n].Watermark)
		n++
	}
	p.spans = append(p.spans[:0], p.spans[n:]...)
}

// Pending returns the number of spans that are not acknowledged, or wait for one
// that is not.
func (p *Prefix) Pending() int { return len(p.spans) }

// Reset forgets everything, the watermark too, and starts at a position.
func (p *Prefix) Reset(at Offset) { *p = Prefix{position: at} }
