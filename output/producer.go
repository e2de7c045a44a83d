package output

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/engine"
)

// slabRecords is the most records that are enqueued at once. Discard waits for
// that long at most.
const slabRecords = 512

var (
	// errDiscarded says that a record belongs to an abandoned attempt. Its writer
	// answers with success: the source reads it again.
	errDiscarded = errors.New("the stream goes back to its last checkpoint")
	// errDeliveryTimeout says that a record waited for record_delivery_timeout.
	errDeliveryTimeout = errors.New("not delivered within record_delivery_timeout")
	// errClosed says that the output is closed.
	errClosed = errors.New("the output is closed")
)

// codecs are the values of the field compression.
var codecs = map[string]kgo.CompressionCodec{
	"lz4":    kgo.Lz4Compression(),
	"snappy": kgo.SnappyCompression(),
	"gzip":   kgo.GzipCompression(),
	"none":   kgo.NoCompression(),
	"zstd":   kgo.ZstdCompression(),
}

// options returns the client's options for producing.
func (p *ProducerConfig) options() []kgo.Opt {
	acks := map[string]kgo.Acks{acksAll: kgo.AllISRAcks(), acksLeader: kgo.LeaderAck(), acksNone: kgo.NoAck()}
	opts := []kgo.Opt{
		kgo.RecordPartitioner(p.partitioner()),
		kgo.RequiredAcks(acks[p.Acks]),
		kgo.ProduceRequestTimeout(p.Timeout),
		kgo.ProducerBatchMaxBytes(int32(p.MaxMessageBytes)),
		kgo.BrokerMaxWriteBytes(int32(p.BrokerWriteMaxBytes)),
		kgo.MaxProduceRequestsInflightPerBroker(p.MaxInFlightRequests),
		kgo.ProducerLinger(p.Linger),
		// The room in front of the client bounds it. The client must never block:
		// it is called with the gate held.
		kgo.MaxBufferedRecords(2*p.MaxBufferedRecords + 2*slabRecords),
	}
	if !p.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	if p.Compression != "" {
		opts = append(opts, kgo.ProducerBatchCompression(codecs[p.Compression]))
	}
	if p.Retries > 0 {
		opts = append(opts, kgo.RecordRetries(p.Retries))
	}
	return opts
}

// producer hands records to the client and learns what became of them.
type producer struct {
	conf  *ProducerConfig
	stats *stats
	log   *service.Logger
	// lossless: failures count; otherwise, also where nothing is promised, they are
	// logged and dropped.
	lossless bool
	// client is nil until the output has connected. With a transaction it is that one's.
	client *atomic.Pointer[kgo.Client]
	// transaction that the records go into; nil = none.
	transaction *engine.Transaction
	topics      *topics
	epochs      *epochs
	room        room

	// lane is held for reading to enqueue, and alone to find out which record of
	// several the broker refuses.
	lane sync.RWMutex

	// gate is held for reading while records of the attempt are enqueued, so that
	// none is enqueued after discard.
	gate struct {
		sync.RWMutex
		discarding bool
		// holding: the transaction is being ended, and what arrives waits for the next one.
		holding bool
		attempt *attempt
		// accepted is closed when discarding ends; nil if nothing is discarded.
		accepted chan struct{}
	}
	// held are slabs that wait for the next transaction. It is locked with the gate held
	// for reading, at least.
	held struct {
		sync.Mutex
		slabs []*slab
	}
}

// attempt is the time between two rewinds. Its context ends with it.
type attempt struct {
	context.Context
	end context.CancelCauseFunc
}

func newAttempt() *attempt {
	ctx, end := context.WithCancelCause(context.Background())
	return &attempt{ctx, end}
}

func newProducer(c *Config, s *stats, log *service.Logger) (*producer, error) {
	a, err := newAllowed(c.Record.TopicsAllowed)
	if err != nil {
		return nil, err
	}
	p := &producer{
		conf: &c.Producer, stats: s, log: log, lossless: !c.LogFailuresOnly && c.Delivery != None, epochs: newEpochs(),
		client: new(atomic.Pointer[kgo.Client]),
		room:   room{maxRecords: c.Producer.MaxBufferedRecords, maxBytes: c.Producer.MaxBufferedBytes},
	}
	p.topics = newTopics(p.client, a, c.createTopics(), c.Connection.Brokers)
	p.gate.attempt = newAttempt()
	return p, nil
}

// current returns the attempt that whatever arrives now belongs to, and whether
// it is being abandoned.
func (p *producer) current() (*attempt, bool) {
	p.gate.RLock()
	defer p.gate.RUnlock()
	return p.gate.attempt, p.gate.discarding
}

// load is records on their way, with the messages that they were made of.
type load struct {
	records  []kgo.Record
	messages service.MessageBatch
}

func (l load) slice(from, to int) load {
	return load{l.records[from:to], l.messages[from:to]}
}

// enqueue hands a load to the client in slabs. It returns those that a writer has
// to wait for; if the attempt or ctx ends meanwhile, those so far and the cause.
func (p *producer) enqueue(ctx context.Context, a *attempt, l load, ack ack) ([]*slab, error) {
	p.lane.RLock()
	defer p.lane.RUnlock()
	return p.enqueueAlone(ctx, a, l, ack)
}

// enqueueAlone is enqueue for who holds the lane.
func (p *producer) enqueueAlone(ctx context.Context, a *attempt, l load, ack ack) ([]*slab, error) {
	var slabs []*slab
	for len(l.records) > 0 {
		n, bytes := p.cut(l.records)
		if err := p.room.take(ctx, a, n, bytes, p.hurry); err != nil {
			return slabs, err
		}
		s := p.produce(a, l.slice(0, n), bytes, ack)
		if s == nil {
			p.room.give(n, bytes)
			return slabs, context.Cause(a)
		}
		if !ack.early {
			slabs = append(slabs, s)
		}
		l = l.slice(n, len(l.records))
	}
	return slabs, nil
}

// cut returns how many of the records make the next slab, and their bytes.
func (p *producer) cut(records []kgo.Record) (n int, bytes int64) {
	most := min(slabRecords, p.room.maxRecords)
	for n < len(records) && n < most {
		size := int64(userSize(&records[n]))
		if n > 0 && p.room.maxBytes > 0 && bytes+size > p.room.maxBytes {
			break
		}
		bytes += size
		n++
	}
	return n, bytes
}

// produce returns nil if the attempt has ended.
func (p *producer) produce(a *attempt, l load, bytes int64, ack ack) *slab {
	cl := p.client.Load()
	p.gate.RLock()
	defer p.gate.RUnlock()
	if p.gate.discarding || p.gate.attempt != a {
		return nil
	}
	s := newSlab(p, a, l, bytes, ack)
	if p.gate.holding {
		p.hold(s)
		return s
	}
	s.launch(cl)
	return s
}

// hurry keeps records from lingering until the function that it returns is called.
// Whoever waits for records calls it.
func (p *producer) hurry() (stop func()) {
	cl := p.client.Load()
	if cl == nil || p.conf.Linger == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	// While a flush runs the client does not linger. Its result does not matter,
	// and it ends when cancelled.
	go func() { _ = cl.Flush(ctx) }()
	return cancel
}

// discard ends the attempt: nothing is enqueued after it returns.
func (p *producer) discard() {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.gate.discarding {
		return
	}
	p.gate.discarding = true
	p.gate.accepted = make(chan struct{})
	p.gate.attempt.end(errDiscarded)
	p.epochs.abandon(errDiscarded)
	p.dropHeld(errDiscarded)
}

// accept begins the next attempt.
func (p *producer) accept() {
	p.gate.Lock()
	defer p.gate.Unlock()
	if !p.gate.discarding {
		return
	}
	p.gate.discarding, p.gate.holding = false, false
	p.gate.attempt = newAttempt()
	close(p.gate.accepted)
	p.gate.accepted = nil
}

// afresh is for the first record of a new build: whatever the one before it left
// open is that one's, and comes again if it was not covered.
func (p *producer) afresh() {
	p.discard()
	p.epochs.reset()
	p.accept()
}

// awaitAccept waits until nothing is being discarded.
func (p *producer) awaitAccept(ctx context.Context) error {
	p.gate.RLock()
	accepted := p.gate.accepted
	p.gate.RUnlock()
	if accepted == nil {
		return nil
	}
	select {
	case <-accepted:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// abort fails what the client has buffered and waits for what is under way.
func (p *producer) abort(ctx context.Context) error {
	cl := p.client.Load()
	if cl == nil {
		return nil
	}
	if err := cl.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("giving up %d records on their way: %w", p.room.inUse(), err)
	}
	return nil
}

// drain waits until everything is delivered or has failed.
func (p *producer) drain(ctx context.Context) error {
	a, _ := p.current()
	if err := p.room.awaitEmpty(ctx, a, p.hurry); err != nil {
		return fmt.Errorf("%d records were not delivered: %w", p.room.inUse(), err)
	}
	return nil
}

// close ends the client; what it still has fails.
func (p *producer) close() {
	p.epochs.end(errClosed)
	p.gate.Lock()
	p.gate.discarding = true
	p.gate.attempt.end(errClosed)
	p.dropHeld(errClosed)
	p.gate.Unlock()
	if cl := p.client.Load(); cl != nil && p.transaction == nil {
		cl.Close()
	}
}

// userSize is what the client counts as a record's bytes.
func userSize(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// sinceMs is the time since t in milliseconds, above 0.
func sinceMs(t time.Time) float64 {
	return max(float64(time.Since(t))/float64(time.Millisecond), 1e-6)
}

// checkTopic returns nil if the topic can be written to, waiting for the brokers
// if it must; a permanent error is about the topic.
func (p *producer) checkTopic(ctx context.Context, a *attempt, name string) error {
	if p.topics.knows(name) {
		return nil
	}
	return a.within(ctx, func(ctx context.Context) error { return p.topics.check(ctx, name) })
}

// checkPartition is checkTopic for one partition.
func (p *producer) checkPartition(ctx context.Context, a *attempt, name string, partition int32, since time.Time) error {
	if p.topics.has(name, partition) {
		return nil
	}
	return a.within(ctx, func(ctx context.Context) error { return p.topics.checkPartition(ctx, name, partition, since) })
}

// within runs fn with a context that ends with ctx and with the attempt.
func (a *attempt) within(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a, func() { cancel(context.Cause(a)) })()
	return fn(ctx)
}
