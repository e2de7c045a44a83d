package processor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/mapping"
	"github.com/tidemarkhq/tidemark/watermark"
)

// assigner is a processor that assigns event times.
type assigner struct {
	conf      *config
	log       *service.Logger
	handle    *engine.Assigner
	shared    *shared
	bad, late *service.MetricCounter
}

// shared is what the instances of a processor in the threads of a pipeline share.
type shared struct {
	mu         sync.Mutex
	partitions map[checkpoint.Partition]*partition
	// doubt is said once.
	doubt sync.Once
}

func (s *shared) partition(id checkpoint.Partition, conf *config) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[id]
	if p == nil {
		p = &partition{id: id, make: conf.generator}
		if conf.assigner != nil {
			p.assigner = conf.assigner(id)
		}
		s.partitions[id] = p
	}
	return p
}

func newAssigner(conf *config, res *service.Resources) (*assigner, error) {
	handle, err := engine.JoinAssigner(res, conf.rules, conf.interval,
		func() any { return &shared{partitions: map[checkpoint.Partition]*partition{}} })
	if err != nil {
		return nil, err
	}
	return &assigner{
		conf: conf, log: res.Logger(), handle: handle, shared: handle.Shared.(*shared),
		bad:  res.Metrics().NewCounter("tidemark_bad_records", "topic"),
		late: res.Metrics().NewCounter("tidemark_late_records", "topic"),
	}, nil
}

// ProcessBatch implements service.BatchProcessor.
func (a *assigner) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	out := make(service.MessageBatch, 0, len(batch))
	w := walk{a: a}
	defer w.end()
	q := mapping.On(batch, a.conf.timestamp, a.conf.watermark)
	for i, m := range batch {
		w.turn(m)
		r, err := a.record(q, i, m, w.pass.p)
		if err == nil {
			out = append(out, w.assign(m, r))
			continue
		}
		a.bad.Incr(1, w.id.Topic)
		if a.conf.skipBad {
			continue
		}
		m = w.note(m, checkpoint.EventTime{})
		m.SetError(fmt.Errorf("assigning an event time: %w", err))
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return []service.MessageBatch{out}, nil
}

// Close implements service.BatchProcessor.
func (a *assigner) Close(context.Context) error { return nil }

// record finds out what a message says about event time.
func (a *assigner) record(q *mapping.Query, i int, m *service.Message, p *partition) (r record, err error) {
	r.message, r.says = m, watermark.None
	if r.time, err = a.eventTime(q, i, m, p); err != nil {
		return r, err
	}
	if a.conf.watermark == nil {
		return r, nil
	}
	says, err := a.query(q, a.conf.watermark, i)
	if errors.Is(err, errNoTimestamp) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("the watermark that it carries: %w", err)
	}
	r.says = says
	return r, nil
}

func (a *assigner) eventTime(q *mapping.Query, i int, m *service.Message, p *partition) (watermark.Time, error) {
	switch {
	case a.conf.timestamp != nil:
		return a.query(q, a.conf.timestamp, i)
	case p.assigner != nil:
		t, err := p.assigner.EventTime(m, kafkaTimestamp(m))
		if err == nil && !t.Known() {
			err = errNoTimestamp
		}
		return t, err
	}
	if t := kafkaTimestamp(m); t.Known() {
		return t, nil
	}
	return watermark.None, fmt.Errorf("%w: neither a Kafka record's nor kafka_timestamp_ms in its metadata; brokers before 0.10 keep none: set the field timestamp", errNoTimestamp)
}

// query asks a mapping for an event time.
func (a *assigner) query(q *mapping.Query, m *mapping.Mapping, i int) (watermark.Time, error) {
	if n, ok := q.Int(m, i); ok && !odd(n, watermark.Time(n)) {
		return watermark.Time(n), nil
	}
	v, err := q.Value(m, i)
	if errors.Is(err, mapping.ErrNothing) {
		return watermark.None, errNoTimestamp
	}
	if err != nil {
		return watermark.None, err
	}
	t, err := eventTime(v)
	if err == nil && odd(v, t) {
		a.shared.doubt.Do(func() {
			a.log.Warnf("A mapping returned %v for an event time: as milliseconds since 1970 that is %s. Is it in another unit?",
				int64(t), time.UnixMilli(int64(t)).UTC().Format(time.RFC3339))
		})
	}
	return t, err
}

// walk goes through the messages of a batch. Those of one ledger entry pass together,
// with the lock of their partition held.
type walk struct {
	a     *assigner
	entry *checkpoint.Entry
	pass  pass
	id    checkpoint.Partition
	// origin and at are those of the message whose turn it is; nil and 0 if none of our
	// sources has emitted it.
	origin *checkpoint.Origin
	at     checkpoint.Offset
	// reached is the watermark that was put into metadata last, boxed.
	reached watermark.Time
	boxed   any
}

// turn turns to a message, and to its partition.
func (w *walk) turn(m *service.Message) {
	var id checkpoint.Partition
	var entry *checkpoint.Entry
	w.at = 0
	if w.origin = checkpoint.OriginOf(m.Context()); w.origin != nil && w.origin.Entry != nil {
		entry, w.at = w.origin.Entry, w.origin.Offset
		if w.pass.p != nil && entry == w.entry {
			return
		}
		id = entry.Partition
	} else {
		id = foreign(m)
	}
	if w.pass.p == nil || entry != w.entry || id != w.id {
		w.end()
		p := w.a.shared.partition(id, w.a.conf)
		p.mu.Lock()
		w.entry, w.id, w.pass = entry, id, p.begin(entry, w.at)
	}
}

// assign observes a record and tells its message's place in event time.
func (w *walk) assign(m *service.Message, r record) *service.Message {
	before, after := w.pass.observe(w.at, r)
	late := r.time < before
	if late {
		w.a.late.Incr(1, w.id.Topic)
	}
	m = w.note(m, checkpoint.EventTime{At: int64(r.time), Known: true, Watermark: watermarkOf(after)})
	set := &w.a.conf.metadata
	if set.eventTime {
		m.MetaSetMut(metaEventTime, int64(r.time))
	}
	if set.watermark && after != watermark.None {
		if w.boxed == nil || after != w.reached {
			w.reached, w.boxed = after, int64(after)
		}
		m.MetaSetMut(metaWatermark, w.boxed)
	}
	if set.late {
		m.MetaSetMut(metaLate, late)
	}
	return m
}

// note says where a message is in event time to those who come after, as far as metadata
// do not; what they say is from before then.
func (w *walk) note(m *service.Message, t checkpoint.EventTime) *service.Message {
	missing := w.a.conf.metadata.missing
	if len(missing) == 0 {
		return m
	}
	for _, name := range missing {
		if _, ok := m.MetaGetMut(name); ok {
			m.MetaDelete(name)
		}
	}
	if w.origin == nil || w.origin.SetEventTime(t) {
		return m
	}
	// Another message of the same record has a time already, or this one from before.
	o := w.origin.Derived(m.Context(), w.origin.Entry)
	o.SetEventTime(t)
	return m.WithContext(o)
}

// end says what the records have led to.
func (w *walk) end() {
	if w.pass.p == nil {
		return
	}
	reached := w.pass.p.gen.Watermark()
	if w.entry != nil {
		w.entry.Advance(watermarkOf(w.pass.gen.Watermark()))
	}
	w.pass.p.mu.Unlock()
	w.pass.p = nil
	if w.entry != nil {
		w.a.handle.Advance(w.id, w.entry.Lane, reached)
	}
}

// foreign tells which partition a message is of that no source of ours has emitted.
func foreign(m *service.Message) (id checkpoint.Partition) {
	if v, ok := m.MetaGet("kafka_topic"); ok {
		id.Topic = v
	}
	if v, ok := m.MetaGetMut("kafka_partition"); ok {
		if n, ok := number(v).(int64); ok {
			id.ID = int32(n)
		}
	}
	return id
}

// number makes a number of a piece of metadata that is one.
func number(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	return v
}
