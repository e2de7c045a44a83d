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
	// entry is the batch that passed last, with the attempt it belongs to, and next the
	// offset after its last record.
	entry   *checkpoint.Entry
	attempt int
	next    checkpoint.Offset
	// offsets are those of the last batch, before the watermarks in front of them: what
	// of it is rejected comes again, and is as late as it was.
	offsets []checkpoint.Offset
	before  []watermark.Time
}

// pass is the way of one batch's records past their generator.
type pass struct {
	p   *partition
	gen generator
	// again: the records were observed already, or cannot be told from others.
	again bool
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
	case p.gen == nil || p.attempt != e.Attempt:
		// At the start and after a rewind: from where the last checkpoint left it.
		p.gen, p.attempt, p.next = p.make(p.id), e.Attempt, first
		p.gen.Resume(reached)
	case e == p.entry:
		return pass{p: p, gen: p.gen} // a processor in front made several batches of one
	case first < p.next:
		gen := p.make(p.id)
		gen.Resume(p.recall(first, reached))
		return pass{p: p, gen: gen, again: true}
	case reached > p.gen.Watermark():
		p.gen.Resume(reached) // somebody else has read the partition in between
	}
	p.entry = e
	p.offsets, p.before = p.offsets[:0], p.before[:0]
	return pass{p: p, gen: p.gen}
}

// recall returns the watermark in front of a record of the last batch; otherwise if it
// is not one of them.
func (p *partition) recall(at checkpoint.Offset, otherwise watermark.Time) watermark.Time {
	i := sort.Search(len(p.offsets), func(i int) bool { return p.offsets[i] >= at })
	if i < len(p.offsets) && p.offsets[i] == at {
		return p.before[i]
	}
	return otherwise
}

// observe returns the watermarks in front of a record and after it.
func (ps pass) observe(at checkpoint.Offset, r record) (before, after watermark.Time) {
	before = ps.gen.Watermark()
	ps.gen.observe(r)
	if p := ps.p; !ps.again {
		p.next = max(p.next, at+1)
		p.offsets, p.before = append(p.offsets, at), append(p.before, before)
	}
	return before, ps.gen.Watermark()
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
