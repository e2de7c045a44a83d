package output

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// work is one batch on its way.
type work struct {
	load
	// index holds the place in the batch of each record; nil if they are the same.
	index []int
	// suspects marks records that the broker has refused before; nil if there are
	// none.
	suspects map[int]bool
	// attempt that was current when the batch arrived.
	attempt *attempt
	// own tells that all records are of the stream that may go back to its last
	// checkpoint, so that they come again if it does; foreign that none is.
	own, foreign bool
	// ack is how the batch may be acknowledged.
	ack ack
}

// await delivers a batch that is acknowledged afterwards. It returns what failed
// by the record's place in the load, or nil; the error is ctx's.
func (p *producer) await(ctx context.Context, w *work) (map[int]error, error) {
	failed := make(map[int]error)
	todo := make([]int, len(w.records))
	for i := range todo {
		todo[i] = i
	}
	for {
		a, discarding := p.current()
		if w.own && (discarding || a != w.attempt) {
			return nil, nil
		}
		if discarding {
			if err := p.awaitAccept(ctx); err != nil {
				return nil, err
			}
			continue
		}
		d := delivery{p: p, ctx: ctx, attempt: a, work: w, failed: failed}
		err := d.deliver(todo)
		todo = d.cutOff(todo)
		switch {
		case err == nil && len(todo) == 0:
			return failed, nil
		case a.Err() == nil:
			return nil, err
		case !w.own && !w.foreign:
			return nil, errDiscarded // who sent the others must send them again
		}
	}
}

// delivery is one try to deliver records within one attempt.
type delivery struct {
	p       *producer
	ctx     context.Context
	attempt *attempt
	work    *work
	// failed holds what failed, by place.
	failed map[int]error
	// sent tells which partition records of a send went to of which some failed, by
	// place.
	sent map[int]target
}

// target is a partition of a topic.
type target struct {
	topic     string
	partition int32
}

// deliver sends the records in order. Those that were refused before are sent
// where nothing else can fail with them.
func (d *delivery) deliver(todo []int) error {
	for len(todo) > 0 {
		n := d.run(todo)
		if d.work.suspects[todo[0]] {
			if err := d.isolate(todo[:n], nil); err != nil {
				return err
			}
			todo = todo[n:]
			continue
		}
		if err := d.send(todo[:n], d.p.enqueue); err != nil {
			return err
		}
		if refused := d.refused(todo[:n]); len(refused) > 0 {
			if err := d.isolate(todo[:n], refused); err != nil {
				return err
			}
		}
		todo = todo[n:]
	}
	return nil
}

// run returns how many records from the first on are suspects, or not, as it is.
func (d *delivery) run(todo []int) int {
	n := 1
	for n < len(todo) && d.work.suspects[todo[n]] == d.work.suspects[todo[0]] {
		n++
	}
	return n
}

// refused lists the records that the broker refused together with others. The
// client fails all that wait for a partition when a broker refuses one batch for
// one record in it, so most of these are not to blame.
func (d *delivery) refused(todo []int) []int {
	var refused []int
	for _, i := range todo {
		if refusesBatch(d.failed[i]) {
			refused = append(refused, i)
		}
	}
	return refused
}

// refusesBatch tells an error that one record causes for its whole batch.
func refusesBatch(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) ||
		errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp) ||
		errors.Is(err, kerr.PolicyViolation) || errors.Is(err, kerr.UnsupportedForMessageFormat)
}

// isolate finds out which of the records are refused for themselves, with nothing
// else in the client. Those of refused were already, together; the others were
// delivered.
func (d *delivery) isolate(todo, refused []int) error {
	d.p.lane.Lock()
	defer d.p.lane.Unlock()
	if err := d.p.room.awaitEmpty(d.ctx, d.attempt, d.p.hurry); err != nil {
		return err
	}
	if len(refused) > 0 {
		return d.split(todo, refused)
	}
	return d.bisect(todo)
}

func (d *delivery) bisect(todo []int) error {
	if err := d.send(todo, d.p.enqueueAlone); err != nil {
		return err
	}
	refused := d.refused(todo)
	if len(todo) == 1 || len(refused) == 0 {
		return nil
	}
	return d.split(todo, refused)
}

// split sends the refused ones of the records again, in parts.
func (d *delivery) split(todo, refused []int) error {
	late := d.behind(todo, refused)
	for part := range slices.Chunk(refused, (len(refused)+1)/2) {
		if err := d.bisect(part); err != nil {
			return err
		}
	}
	return d.repair(todo, refused, late)
}

// behind lists the records that were delivered although one of others, of the same
// partition, is before them: they were handed to the client after it had failed all
// that it had.
func (d *delivery) behind(todo, others []int) []int {
	if len(others) == 0 {
		return nil
	}
	first := make(map[target]int)
	for _, i := range others {
		if at, ok := first[d.sent[i]]; !ok || i < at {
			first[d.sent[i]] = i
		}
	}
	var behind []int
	for _, i := range todo {
		if at, ok := first[d.sent[i]]; ok && i > at && d.failed[i] == nil {
			behind = append(behind, i)
		}
	}
	return behind
}

// repair delivers again what stands in the wrong order now that the innocent ones of
// the refused records were delivered: all from the first one on that had overtaken one
// of them. Or else an earlier value of a key would stand last.
func (d *delivery) repair(todo, refused, late []int) error {
	innocent := slices.DeleteFunc(slices.Clone(refused), func(i int) bool { return d.failed[i] != nil })
	overtook := d.behind(late, innocent)
	if len(overtook) == 0 {
		return nil
	}
	again := append(d.behind(todo, overtook), overtook...)
	slices.Sort(again)
	return d.bisect(slices.Compact(again))
}

type enqueueFunc func(context.Context, *attempt, load, ack) ([]*slab, error)

// send enqueues the records, waits for them, and notes what failed.
func (d *delivery) send(todo []int, enqueue enqueueFunc) error {
	slabs, err := enqueue(d.ctx, d.attempt, d.pick(todo), ack{})
	// Not before: the client fails a whole batch for one refused record, and all that
	// wait behind it, but delivers what it is given a moment later, which overtakes
	// the innocent ones of that batch and has to be repeated. The longer it lingers,
	// the more goes at once.
	defer d.p.hurry()()
	at := 0
	for _, s := range slabs {
		if err := d.settled(s); err != nil {
			return err
		}
		for i := range s.records {
			delete(d.failed, todo[at])
			if s.errs != nil && s.errs[i] != nil {
				d.failed[todo[at]] = s.errs[i]
			}
			at++
		}
	}
	d.note(todo, slabs)
	for ; at < len(todo); at++ {
		d.failed[todo[at]] = err
	}
	return err
}

// note notes where records went, if some have failed.
func (d *delivery) note(todo []int, slabs []*slab) {
	if !slices.ContainsFunc(slabs, func(s *slab) bool { return s.errs != nil }) {
		return
	}
	if d.sent == nil {
		d.sent = make(map[int]target)
	}
	at := 0
	for _, s := range slabs {
		for i := range s.records {
			d.sent[todo[at]] = target{s.records[i].Topic, s.records[i].Partition}
			at++
		}
	}
}

// settled waits for a slab. When the attempt ends, records of the stream must not
// be waited for: only when it has them back does it make the client give them up.
func (d *delivery) settled(s *slab) error {
	ended := d.attempt.Done()
	if d.work.foreign {
		ended = nil
	}
	select {
	case <-s.done:
		return nil
	case <-ended:
		return context.Cause(d.attempt)
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
}

// pick copies the records: the client keeps what it has once been given until it
// is settled, and has changed it.
func (d *delivery) pick(todo []int) load {
	var l load
	for _, i := range todo {
		r := d.work.records[i]
		l.records = append(l.records, kgo.Record{
			Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp, Topic: r.Topic, Partition: r.Partition,
		})
		l.messages = append(l.messages, d.work.messages[i])
	}
	return l
}

// cutOff lists the records that the end of an attempt kept from being delivered,
// and that must be tried again in the next one.
func (d *delivery) cutOff(todo []int) []int {
	var left []int
	for _, i := range todo {
		if err := d.failed[i]; errors.Is(err, errDiscarded) || errors.Is(err, kgo.ErrAborting) {
			delete(d.failed, i)
			left = append(left, i)
		}
	}
	return left
}

// final marks an error for whoever gets it.
func final(err error) error {
	if permanent(err) {
		return checkpoint.Permanent(err)
	}
	return err
}
