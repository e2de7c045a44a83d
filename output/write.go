package output

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// permanent tells an error that no repetition heals.
func permanent(err error) bool { return kafka.Classify(kafka.Write, err).Meaning == kafka.Permanent }

// WriteBatch implements service.BatchOutput.
func (o *Output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	for {
		if err := o.member.failed(); err != nil {
			return err
		}
		if o.producer.client.Load() == nil {
			if o.transaction != nil && o.transaction.Over() {
				return checkpoint.ErrDead
			}
			return service.ErrNotConnected
		}
		o.member.meet(batch)
		b := &batchWriter{o: o, ctx: ctx, batch: batch, began: time.Now()}
		err := b.prepare()
		if err == nil {
			err = b.write()
		}
		if err == nil {
			return b.result()
		}
		if !errors.Is(err, errDiscarded) {
			return err
		}
		switch own := o.countOwn(batch); {
		case own == len(batch):
			return nil // they come again
		case own > 0:
			return err
		}
		if err := o.producer.awaitAccept(ctx); err != nil {
			return err
		}
	}
}

// countOwn returns how many messages are of the stream that the output belongs to.
func (o *Output) countOwn(batch service.MessageBatch) int {
	n := 0
	for _, m := range batch {
		origin := checkpoint.OriginOf(m.Context())
		if origin == nil || origin.Entry == nil {
			continue
		}
		if h, err := o.member.of(origin.Entry.Coordinator()); err == nil && h != nil {
			n++
		}
	}
	return n
}

// batchWriter writes one batch.
type batchWriter struct {
	o     *Output
	ctx   context.Context
	batch service.MessageBatch
	began time.Time
	work  work
	// wait: at least one record has to be delivered before it is acknowledged, so
	// all are, to keep their order.
	wait bool
	// seen: a first record was judged, which work.own and work.ack are about.
	seen bool
	// failed holds the errors of messages by their place; nil if there are none.
	failed map[int]error

	// The last entry and what was decided about it: most batches have one.
	entry   *checkpoint.Entry
	verdict verdict
	topic   string
}

// verdict is what to do with a record.
type verdict struct {
	// drop: its attempt was abandoned.
	drop bool
	// early: it may be acknowledged before it is delivered.
	early  bool
	handle checkpoint.SinkHandle
}

// prepare makes records of the messages and decides how they are delivered.
func (b *batchWriter) prepare() error {
	b.work.attempt, _ = b.o.producer.current()
	records := make([]kgo.Record, len(b.batch))
	n := 0
	for i, m := range b.batch {
		origin := checkpoint.OriginOf(m.Context())
		v, err := b.judge(origin)
		if err != nil {
			return err
		}
		if v.drop {
			b.skip(n)
			continue
		}
		r := &records[n]
		if err := b.shape(r, m, origin); err != nil {
			if b.ctx.Err() != nil {
				return context.Cause(b.ctx)
			}
			if b.work.attempt.Err() != nil {
				return context.Cause(b.work.attempt)
			}
			*r = kgo.Record{}
			b.skip(n)
			switch {
			case public.IsUnavailable(err):
				return err // of all of the batch, which is tried again
			case !errors.Is(err, public.ErrNothing):
				b.reject(i, err)
			}
			continue
		}
		b.combine(n, v, origin)
		if b.work.index != nil {
			b.work.index = append(b.work.index, i)
			b.work.messages = append(b.work.messages, m)
		}
		n++
	}
	b.work.records = records[:n]
	if b.work.index == nil {
		b.work.messages = b.batch
	}
	return nil
}

// combine lets one record's verdict count for the batch.
func (b *batchWriter) combine(n int, v verdict, origin *checkpoint.Origin) {
	if !b.seen {
		b.seen = true
		b.work.own, b.work.foreign = v.handle != nil, v.handle == nil
		b.work.ack = ack{early: v.early, handle: v.handle}
	} else if v.handle != b.work.ack.handle {
		b.work.own, b.work.foreign = false, false
		b.wait = b.wait || b.o.conf.Delivery != None
	}
	if !v.early {
		b.wait = true
		return
	}
	if v.handle != nil && b.o.conf.Delivery != None && v.handle.Suspect(origin) {
		b.wait = true
		if b.work.suspects == nil {
			b.work.suspects = make(map[int]bool)
		}
		b.work.suspects[n] = true
	}
}

// skip leaves a message out, as the first one where n records precede it.
func (b *batchWriter) skip(n int) {
	if b.work.index != nil {
		return
	}
	b.work.index = make([]int, n, len(b.batch))
	b.work.messages = make(service.MessageBatch, n, len(b.batch))
	copy(b.work.messages, b.batch[:n])
	for j := range n {
		b.work.index[j] = j
	}
}

// judge decides about a record by where it comes from.
func (b *batchWriter) judge(origin *checkpoint.Origin) (verdict, error) {
	none := b.o.conf.Delivery == None
	if origin == nil || origin.Entry == nil {
		if b.o.transaction != nil {
			return verdict{}, b.o.foreign()
		}
		b.o.uncovered(none)
		return verdict{early: none}, nil
	}
	if origin.Entry == b.entry {
		return b.verdict, nil
	}
	v, err := b.o.judge(origin)
	if err != nil {
		return verdict{}, err
	}
	b.entry, b.verdict = origin.Entry, v
	return v, nil
}

func (o *Output) judge(origin *checkpoint.Origin) (verdict, error) {
	entry := origin.Entry
	handle, err := o.member.of(entry.Coordinator())
	if err != nil {
		return verdict{}, err
	}
	switch entry.State() {
	case checkpoint.Discarded:
		return verdict{drop: true}, nil
	case checkpoint.Left:
		return verdict{}, o.bypassed(origin)
	}
	if o.conf.Delivery == None {
		return verdict{early: true, handle: handle}, nil
	}
	if o.transaction != nil && (handle == nil || !entry.Covered()) {
		return verdict{}, o.foreign()
	}
	if handle == nil || !entry.Covered() {
		o.uncovered(false)
		return verdict{handle: handle}, nil
	}
	return verdict{early: o.conf.Flush != FlushOnAck && handle.Joined(), handle: handle}, nil
}

// foreign stops the stream: what does not come again from a checkpoint cannot be delivered
// exactly once.
func (o *Output) foreign() error {
	err := checkpoint.Fatal(errors.New("delivery is exactly_once, but a message came from an input that takes no part in the checkpoints of the stream: " +
		"read with kafka_checkpointed only, or set delivery to at_least_once"))
	o.member.fatal(err)
	return err
}

// bypassed stops the stream: what was acknowledged before it came here would be
// lost one day.
func (o *Output) bypassed(origin *checkpoint.Origin) error {
	err := checkpoint.Fatal(checkpoint.RecordError(origin.Entry.Partition, origin.Offset, errors.New(
		"was acknowledged to its input before it reached the output: a component in between acknowledges what it has not passed on, "+
			"as a `memory` buffer does, and would lose it in a crash; remove that component")))
	o.member.fatal(err)
	return err
}

// uncovered warns once where the configuration expects checkpoints.
func (o *Output) uncovered(expected bool) {
	if o.conf.Flush != FlushOnCheckpoint || expected {
		return
	}
	o.warnUncovered.Do(func() {
		o.log.Warn("flush is on_checkpoint, but a message came that no checkpoint covers, from an input that takes no part in checkpoints " +
			"or with checkpoints off; such messages are acknowledged when the brokers have them. Set flush to auto to expect them")
	})
}

// shape makes a record and looks its topic up.
func (b *batchWriter) shape(r *kgo.Record, m *service.Message, origin *checkpoint.Origin) error {
	if err := b.o.shaper.shape(b.ctx, r, m, origin); err != nil {
		return err
	}
	if b.o.shaper.partition != nil {
		return b.o.producer.checkPartition(b.ctx, b.work.attempt, r.Topic, r.Partition, b.began)
	}
	if r.Topic == b.topic {
		return nil
	}
	if err := b.o.producer.checkTopic(b.ctx, b.work.attempt, r.Topic); err != nil {
		return err
	}
	b.topic = r.Topic
	return nil
}

// reject notes an error that is a message's own.
func (b *batchWriter) reject(i int, err error) {
	b.fail(i, checkpoint.Permanent(err))
}

func (b *batchWriter) fail(i int, err error) {
	if b.failed == nil {
		b.failed = make(map[int]error)
	}
	b.failed[i] = err
}

// write enqueues the records, and waits for them if it has to.
func (b *batchWriter) write() error {
	if len(b.work.records) == 0 {
		return nil
	}
	if !b.wait {
		_, err := b.o.producer.enqueue(b.ctx, b.work.attempt, b.work.load, b.work.ack)
		return err
	}
	failed, err := b.o.producer.await(b.ctx, &b.work)
	if err != nil {
		return err
	}
	for at, err := range failed {
		i := at
		if b.work.index != nil {
			i = b.work.index[at]
		}
		if b.o.producer.final(kafka.Classify(kafka.Write, err).Meaning) && b.work.ack.handle != nil {
			b.work.ack.handle.Fatal(err)
		}
		b.fail(i, final(err))
	}
	return nil
}

// result is the answer where the batch as a whole got through.
func (b *batchWriter) result() error {
	if len(b.failed) == 0 {
		return nil
	}
	var sample error
	for i := range b.batch {
		if err := b.failed[i]; err != nil {
			b.o.stats.failed(b.o.shaper.topicOf(b.batch[i]), 1)
			if sample == nil {
				sample = err
			}
		}
	}
	headline := fmt.Errorf("%d of %d messages were not written: %w", len(b.failed), len(b.batch), sample)
	if b.o.conf.LogFailuresOnly {
		b.o.log.Errorf("%v", headline)
		return nil
	}
	if len(b.batch) == 1 {
		return sample
	}
	res := service.NewBatchError(b.batch, headline)
	for i, err := range b.failed {
		res = res.Failed(i, err)
	}
	return res
}
