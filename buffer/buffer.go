package buffer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// buffer is the event_time_window.
type buffer struct {
	conf        *config
	name        string
	log         *service.Logger
	late, fired *service.MetricCounter
	handle      checkpoint.OperatorHandle
	// build is the build of the stream that the windows are of; present returns the one
	// that there is now.
	build   *engine.Coordinator
	present func() *engine.Coordinator

	// turn is held from when windows fire until their results are in the queue, so that
	// those of a key leave in order. It has room for whose turn it is: whoever waits for it
	// may give up, because it may be held for as long as the pipeline takes nothing.
	turn chan struct{}

	mu struct {
		sync.Mutex
		// scopes are the windows of each partition, or of the process.
		scopes map[checkpoint.Scope]*window.Windows
		// merger knows how far partitions have come, as far as their records are here.
		merger *watermark.Merger[checkpoint.Partition]
		// lanes are the assignments of partitions by the last report.
		lanes map[checkpoint.Partition]int
		// left are the assignments of partitions that are another process's by now.
		left map[checkpoint.Partition]int
		// missing are partitions that the last report did not have.
		missing map[checkpoint.Partition]bool
		// scoped: the state says what its scope is.
		scoped bool
		// misplaced: it says so where stores of before have it.
		misplaced bool
	}

	// permanent counts errors of results that no repetition heals, by their text.
	permanentMu sync.Mutex
	permanent   map[string]int

	queue *queue
	// over is closed when the input has ended.
	over     chan struct{}
	overOnce sync.Once
}

var (
	_ service.BatchBuffer    = (*buffer)(nil)
	_ checkpoint.Clocked     = (*buffer)(nil)
	_ checkpoint.Partitioned = (*buffer)(nil)
)

func newBuffer(conf *config, res *service.Resources) (*buffer, error) {
	b := &buffer{
		conf: conf, name: engine.Name(res), log: res.Logger(), queue: newQueue(), over: make(chan struct{}), permanent: map[string]int{},
		turn:  make(chan struct{}, 1),
		late:  res.Metrics().NewCounter("tidemark_late_records", "topic"),
		fired: res.Metrics().NewCounter("tidemark_windows_fired"),
	}
	b.forget()
	b.present = func() *engine.Coordinator { return engine.For(res) }
	b.build = b.present()
	if err := b.settleScope(b.build); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	h, err := b.build.JoinOperator(b.name, b)
	if err != nil {
		return nil, err
	}
	b.handle = h
	return b, nil
}

// settleScope decides whose windows a key's are, and refuses what cannot be right.
func (b *buffer) settleScope(c *engine.Coordinator) error {
	sources, partial := c.Sources()
	if sources == 0 {
		return errors.New("the stream has no input kafka_checkpointed: its windows would be in no checkpoint; use system_window, or read from Kafka")
	}
	switch b.conf.scope {
	case "":
		b.conf.perProcess = partial == ""
	case scopeProcess:
		b.conf.perProcess = true
	}
	if b.conf.perProcess {
		return c.NeedsAllPartitions(b.name, "set scope to partition")
	}
	return nil
}

// WriteBatch implements service.BatchBuffer.
func (b *buffer) WriteBatch(ctx context.Context, batch service.MessageBatch, ack service.AckFunc) error {
	if err := b.await(ctx); err != nil {
		return err
	}
	defer func() { <-b.turn }()
	emissions, err := b.add(batch)
	if err != nil {
		b.outlived(batch)
		return b.failed(err)
	}
	if err := b.emit(ctx, emissions); err != nil {
		return err
	}
	return ack(ctx, nil)
}

// outlived stops the stream if messages come of inputs that began after those that the
// windows belong to had ended: no checkpoint covers both.
func (b *buffer) outlived(batch service.MessageBatch) {
	if !b.build.Ended() {
		return
	}
	for _, m := range batch {
		if o := checkpoint.OriginOf(m.Context()); o != nil && o.Entry != nil && o.Entry.State() == checkpoint.Live {
			b.present().Fatal(fmt.Errorf("the windows of %q belong to inputs that have ended, and another one has begun: "+
				"inputs in sequence cannot share windows; read all topics with one input, or run one job after the other", b.name))
			return
		}
	}
}

// await waits for its turn.
func (b *buffer) await(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed passes on why windows cannot be had; where that stays so the stream stops, because
// it would go back to the last checkpoint for ever.
func (b *buffer) failed(err error) error {
	var changed *window.ShapeError
	if errors.As(err, &changed) {
		b.handle.Fatal(fmt.Errorf("restoring %q: %w", b.name, changed))
	}
	return err
}

// add stores messages and returns what leaves because of them.
func (b *buffer) add(batch service.MessageBatch) ([]emission, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out, failed []emission
	var late service.MessageBatch
	a, r := b.conf.ask(batch), &run{reached: reached{}}
	for i, m := range batch {
		o := checkpoint.OriginOf(m.Context())
		if o != nil && o.Entry != nil && o.Entry.State() == checkpoint.Discarded {
			continue
		}
		was, err := b.addOne(a, i, o, r)
		switch {
		case err != nil:
			if failed, err = b.failOne(failed, m, err); err != nil {
				return nil, err
			}
		case was:
			b.late.Incr(1, o.Entry.Partition.Topic)
			if b.conf.emitLate {
				m.MetaSetMut(metaLate, true)
				late = append(late, m)
			}
		}
	}
	if len(late) > 0 {
		out = append(out, emission{batch: late})
	}
	out = append(out, failed...)
	r.end()
	b.reachLocked(r.reached)
	fired, _, err := b.fireLocked()
	return append(out, fired...), err
}

// failOne adds a message to those that leave as failed, if the error is about it.
func (b *buffer) failOne(failed []emission, m *service.Message, err error) ([]emission, error) {
	var own *messageError
	if !errors.As(err, &own) {
		return nil, err
	}
	// What failed before tells more, for example why there is no event time.
	if m.GetError() == nil {
		m.SetError(own.Unwrap())
	}
	return append(failed, emission{batch: service.MessageBatch{m}}), nil
}

// addOne stores a message, and notes how far its partition has come with it.
func (b *buffer) addOne(a *asked, i int, o *checkpoint.Origin, run *run) (late bool, err error) {
	if o == nil || o.Entry == nil {
		return false, aboutMessage(errForeign) // No source of a checkpoint has emitted it.
	}
	if err := a.batch[i].GetError(); err != nil {
		return false, aboutMessage(err) // It goes on as failed, rather than count.
	}
	r, key, to, err := a.record(i, o)
	if err != nil {
		return false, err
	}
	if run.entry != o.Entry {
		run.end()
		if run.windows, err = b.windowsLocked(b.scopeOf(o.Entry.Partition)); err != nil {
			return false, err
		}
		run.entry, run.to = o.Entry, watermark.None
	}
	if late, err = run.windows.Add(key, r); err != nil {
		var own *window.ValueError
		if errors.As(err, &own) {
			err = aboutMessage(own)
		}
		return false, err
	}
	run.to = max(run.to, to)
	return late, nil
}

// reached is how far partitions have come with a batch.
type reached map[checkpoint.Partition]watermark.Time

// run is a run of messages of one ledger entry, for which some things are looked up once.
type run struct {
	entry   *checkpoint.Entry
	windows *window.Windows
	to      watermark.Time
	reached reached
}

func (r *run) end() {
	if r.entry == nil {
		return
	}
	p := r.entry.Partition
	if was, ok := r.reached[p]; !ok || r.to > was {
		r.reached[p] = r.to
	}
}

// emit hands results on. They are in the ledger before it returns.
func (b *buffer) emit(ctx context.Context, emissions []emission) error {
	for _, e := range emissions {
		entry, err := b.handle.Enter(ctx, checkpoint.Partition{Topic: "results of " + b.name})
		if err != nil {
			return err
		}
		e.entry = entry
		for i, m := range e.batch {
			e.batch[i] = m.WithContext(originIn(m.Context(), entry))
		}
		if err := b.queue.put(ctx, e); err != nil {
			b.handle.Leave(entry, err)
			return err
		}
	}
	return nil
}

// originIn is the origin of a message that leaves with an entry: it still knows the record
// that it was made of, if it was made of one.
func originIn(ctx context.Context, entry *checkpoint.Entry) *checkpoint.Origin {
	was := checkpoint.OriginOf(ctx)
	if was == nil {
		return &checkpoint.Origin{Context: ctx, Entry: entry}
	}
	o := was.Derived(was.Context, entry)
	if t := was.EventTime(); t.Known {
		o.SetEventTime(t)
	}
	return o
}

// ReadBatch implements service.BatchBuffer.
func (b *buffer) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	e, err := b.queue.take(ctx, b.over)
	if err != nil {
		return nil, nil, err
	}
	return e.batch, func(_ context.Context, err error) error {
		b.queue.done(e)
		b.answer(e, err)
		return nil
	}, nil
}

// answer takes a result out of the ledger. A rejected one is a rewind; but one that can
// never be delivered must not come again and again.
func (b *buffer) answer(e emission, err error) {
	if err != nil && e.entry.State() == checkpoint.Live {
		if twice := b.permanentTwice(err); twice != nil {
			b.handle.Fatal(fmt.Errorf("a result of %q cannot be delivered: %w", b.name, twice))
		}
	}
	b.handle.Leave(e.entry, err)
}

// permanentTwice notes permanent errors, and returns one that has come before: nothing in
// the pipeline routes it.
func (b *buffer) permanentTwice(err error) error {
	b.permanentMu.Lock()
	defer b.permanentMu.Unlock()
	// Batches differ from one time to the next, and with them the words around the cause.
	var cause *checkpoint.PermanentError
	if !errors.As(err, &cause) {
		return nil
	}
	if b.permanent[cause.Error()]++; b.permanent[cause.Error()] > 1 {
		return err
	}
	return nil
}

// EndOfInput implements service.BatchBuffer: what is in open windows is in the
// checkpoint, and fires in a later run.
func (b *buffer) EndOfInput() { b.overOnce.Do(func() { close(b.over) }) }

// Close implements service.BatchBuffer.
func (b *buffer) Close(context.Context) error { return nil }
