package processor

import (
	"sort"
	"sync"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// partition is what is known of one partition, through whichever thread of the pipeline
// its records come.
type partition struct {
	id   checkpoint.Partition
	make func(checkpoint.Partition) generator
	// assigner is the registered one, if it is to be asked.
	assigner TimestampAssigner

	// mu is held while records of one batch pass.
	mu  sync.Mutex
	gen generator
	// entry is the batch that passed last, with the attempt and the assignment that it
	// belongs to, and next the offset after its last record.
	entry         *checkpoint.Entry
	attempt, lane int
	next          checkpoint.Offset
	// first is where the last batch began, offsets are those of its records that have event
	// times, before the watermarks in front of them: what of it is rejected comes again, and
	// is as late as it was.
	first   checkpoint.Offset
	offsets []checkpoint.Offset
	before  []watermark.Time
}

// pass is the way of one batch's records past their generator.
type pass struct {
	p   *partition
	gen generator
	// again: the records were observed already, or cannot be told from others.
	again bool
	// last: they are of the last batch, of which everything is remembered. A generator would
	// not know what was between those that come again. What was not observed follows it.
	last bool
	// recalled is the index behind the record that was recalled last.
	recalled int
}

// begin returns the pass of a batch that begins with an offset. Only one pass of a
// partition exists at a time; whoever has it holds mu.
func (p *partition) begin(e *checkpoint.Entry, first checkpoint.Offset) pass {
	if e == nil {
		if p.gen == nil {
			p.gen = p.make(p.id)
		}
		return pass{p: p, gen: p.gen, again: true} // there is nothing to remember it by
	}
	reached := timeOf(e.Watermark())
	switch {
	case p.gen == nil || p.attempt != e.Attempt || p.lane != e.Lane:
		// At the start, after a rewind, and where the partition was assigned anew, perhaps
		// with another log: from where the last checkpoint left it.
		p.gen, p.attempt, p.lane, p.next = p.make(p.id), e.Attempt, e.Lane, first
		p.gen.Resume(reached)
	case e == p.entry:
		return pass{p: p, gen: p.gen} // a processor in front made several batches of one
	case first >= p.first && first < p.next:
		return pass{p: p, gen: p.gen, last: true}
	case first < p.next:
		gen := p.make(p.id)
		gen.Resume(reached)
		return pass{p: p, gen: gen, again: true}
	case reached > p.gen.Watermark():
		p.gen.Resume(reached) // somebody else has read the partition in between
	}
	p.entry, p.first = e, first
	p.offsets, p.before = p.offsets[:0], p.before[:0]
	return pass{p: p, gen: p.gen}
}

// observe returns the watermarks in front of a record and behind it.
func (ps *pass) observe(at checkpoint.Offset, r record) (before, after watermark.Time) {
	p := ps.p
	if ps.last && at < p.next {
		return ps.recall(at)
	}
	before = ps.gen.Watermark()
	ps.gen.observe(r)
	if !ps.again {
		p.next = max(p.next, at+1)
		p.offsets, p.before = append(p.offsets, at), append(p.before, before)
	}
	return before, ps.gen.Watermark()
}

// recall is observe for a record of the last batch. There are several of one offset if a
// processor in front made several messages of one.
func (ps *pass) recall(at checkpoint.Offset) (before, after watermark.Time) {
	p := ps.p
	i := sort.Search(len(p.offsets), func(i int) bool { return p.offsets[i] >= at })
	if n := ps.recalled; n > i && n < len(p.offsets) && p.offsets[n] == at {
		i = n
	}
	ps.recalled = i + 1
	before, after = ps.gen.Watermark(), ps.gen.Watermark()
	if i < len(p.before) {
		before = p.before[i]
	}
	if i+1 < len(p.before) {
		after = p.before[i+1]
	}
	return before, after
}

// timeOf and watermarkOf translate between checkpoints and event times.
func timeOf(w checkpoint.Watermark) watermark.Time {
	if !w.Known {
		return watermark.None
	}
	return watermark.Time(w.At)
}

func watermarkOf(t watermark.Time) checkpoint.Watermark {
	return checkpoint.Watermark{Known: t != watermark.None, At: int64(t)}
}
