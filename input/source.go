package input

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/zookeeper"
	"github.com/tidemarkhq/tidemark/output"
)

// source is the input: a Benthos BatchInput and a checkpoint.Source.
type source struct {
	conf   Config
	name   string
	log    *service.Logger
	meters *meters
	handle checkpoint.SourceHandle
	// bindCaches makes the caches that the configuration names those of the stream.
	bindCaches func(context.Context) error
	// letters takes records that cannot be read; nil if on_bad_record says something else.
	letters *output.DeadLetters
	// forgetful is for a warning that is given once.
	forgetful sync.Once
	// fitted is for adapting to old brokers, once.
	fitted sync.Once

	// assignMu excludes what changes the set of lanes or where the client reads:
	// the client's callbacks, discovery, a rewind.
	assignMu sync.Mutex
	// publishing is held, by whoever has put something into it, to commit offsets in a
	// transaction and to take partitions from the source. It comes after assignMu.
	publishing chan struct{}
	// anewMu is held to look for partitions and topics that are new, and to begin with
	// them. It comes before assignMu.
	anewMu sync.Mutex

	mu struct {
		sync.Mutex
		connected bool
		client    *kgo.Client
		lanes     map[topicPartition]*lane
		// order is the round in which lanes give out batches; at is whose turn it is.
		order []*lane
		at    int
		// settled tells that the partitions of the first assignment have their
		// starts, so that a bounded run that has none is over.
		settled bool
		// reported tells when an error of fetching was last logged.
		reported map[string]time.Time
		// ids are those of the topics that are read, replaced the ids of topics in whose
		// place there are others. anew holds the topics that took the place of others
		// during this run; unknown those whose ids the brokers do not know, and watching
		// those that are being looked for.
		ids            map[string]kafka.TopicID
		replaced       map[kafka.TopicID]bool
		unknown        map[string]unknownTopic
		anew, watching map[string]bool
		// permanent counts the permanent errors of a record.
		permanent map[recordID]int
		closing   bool
		// made counts lanes.
		made int
		// entering is the batch that was picked last, until it is in the ledger.
		entering *batch
		// doomed is why the open transaction must not be committed; nil if it may be.
		doomed error
		// leaving is why nothing may be committed before the group has forgotten this member;
		// nil if it may be.
		leaving error
		session session
		// claims are the positions of partitions that are being claimed.
		claims map[kafka.Partition]kafka.Position
		// look is how often somebody needs to know the ends of partitions; 0 = nobody.
		look time.Duration
	}

	// admin asks for metadata, offsets and positions. Connect makes it, before
	// anything else uses it.
	admin *kgo.Client
	// told: admin was told what the brokers are; for Connect alone.
	told bool
	// zooKeeper keeps the group's offsets; nil = Kafka does. Connect makes it.
	zooKeeper *zookeeper.Offsets
	// agreed is what the inputs of the stream agreed on about checkpoints; set by
	// Connect, before that it is what this one asks for.
	agreed checkpoint.Config
	// writing says how the stream writes transactions, nil if it does not; set by Connect. A
	// checkpoint may come before that.
	writing atomic.Pointer[writing]
	// history is what the job did before this run; set by Connect.
	history *history
	// fetched is what the group had committed for partitions just assigned, kept
	// from one callback to the next; guarded by assignMu.
	fetched map[kafka.Partition]kafka.Committed

	// patience is for Connect alone.
	patience connection.Patience

	// clientOver ends requests of the client that reads, also those that it makes to leave.
	clientOver context.CancelFunc

	// answered tells who drains lanes that a batch was answered for; as wake.
	answered chan struct{}
	// wake makes ReadBatch look for a batch; capacity 1, anybody may send.
	wake chan struct{}
	// room makes the poller look for lanes that want records; as wake.
	room chan struct{}
	// hurry tells that mu.look has changed; as wake.
	hurry chan struct{}

	offered offered

	poller  *poller
	stopAll context.CancelFunc
	ctx     context.Context
	work    sync.WaitGroup

	// asked is when Benthos asked the input to end: Close's deadline counts from
	// there.
	askedMu  sync.Mutex
	asked    time.Time
	watching bool
}

type topicPartition struct {
	topic     string
	partition int32
}

type recordID struct {
	topicPartition
	offset int64
}

var (
	_ service.BatchInput         = (*source)(nil)
	_ service.ConnectionTestable = (*source)(nil)
	_ checkpoint.Source          = (*source)(nil)
)

// refill is the number of queued records below which a lane asks for more; ahead
// of the pipeline, enough for the next two batches.
func (s *source) refill() int { return 2 * s.conf.MaxBatchRecords }

func newSource(conf Config, res *service.Resources) (*source, error) {
	if p := res.Path(); len(p) > 0 && p[0] == "input_resources" {
		return nil, fmt.Errorf("kafka_checkpointed cannot be an input resource (%q): "+
			"a resource is built without its stream, whose checkpoints it would have to join; put it into the stream's input", res.Label())
	}
	s := &source{
		conf: conf, name: engine.Name(res), log: res.Logger(), agreed: conf.Checkpoint,
		meters: newMeters(res.Metrics()),
		wake:   make(chan struct{}, 1), room: make(chan struct{}, 1), answered: make(chan struct{}, 1),
		hurry: make(chan struct{}, 1), publishing: make(chan struct{}, 1),
	}
	s.ctx, s.stopAll = context.WithCancel(context.Background())
	s.mu.session = newSession()
	s.mu.lanes = map[topicPartition]*lane{}
	s.mu.permanent = map[recordID]int{}
	s.mu.reported = map[string]time.Time{}
	s.mu.ids, s.mu.replaced = map[string]kafka.TopicID{}, map[kafka.TopicID]bool{}
	s.mu.unknown = map[string]unknownTopic{}
	s.mu.anew, s.mu.watching = map[string]bool{}, map[string]bool{}
	h, err := engine.For(res).Source(s.name, res.Path(), s, conf.Checkpoint, res.Metrics())
	if err != nil {
		return nil, err
	}
	s.handle = h
	if conf.OnBad == onBadDeadLetter {
		if s.letters, err = output.NewDeadLetters(conf.Connection, conf.DeadLetters, res); err != nil {
			return nil, fmt.Errorf("dead_letter_topic: %w", err)
		}
	}
	s.bindCaches = func(ctx context.Context) error { return engine.BindCaches(ctx, res, h, conf.Caches) }
	return s, nil
}

// Connect implements service.BatchInput. What no retry heals ends the input, and
// with it the stream: the error went to the coordinator.
func (s *source) Connect(ctx context.Context) error {
	return s.patience.Connect(ctx, func(ctx context.Context) (again bool, err error) {
		if s.handle.Failed() != nil {
			return false, service.ErrEndOfInput
		}
		err = s.connect(ctx)
		switch {
		case errors.Is(err, checkpoint.ErrFatal):
			s.handle.Fatal(err)
			return false, service.ErrEndOfInput
		case errors.Is(err, checkpoint.ErrDead):
			return false, service.ErrEndOfInput
		}
		return true, err
	})
}

// ReadBatch implements service.BatchInput.
func (s *source) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	s.watch(ctx)
	s.offered.set(nil)
	for {
		b, due, over := s.pick()
		switch {
		case over:
			if err := s.finish(ctx); err != nil {
				return nil, nil, s.readError(ctx, err)
			}
			if s.over() {
				return nil, nil, service.ErrEndOfInput
			}
			continue
		case b != nil:
			msgs, ack, err := s.send(ctx, b)
			if err != nil {
				return nil, nil, s.readError(ctx, err)
			}
			if len(msgs) > 0 {
				return msgs, ack, nil
			}
			s.offered.set(nil)
			continue
		}
		if err := s.wait(ctx, due); err != nil {
			return nil, nil, s.readError(ctx, err)
		}
	}
}

// readError turns the end of the stream into Benthos's end of input.
func (s *source) readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.handle.Failed() != nil || errors.Is(err, checkpoint.ErrDead) {
		return service.ErrEndOfInput
	}
	return err
}

// pick removes the next batch from a lane, round robin; or tells when one is due
// again; or that a bounded run is over.
func (s *source) pick() (b *batch, due time.Time, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for i := range s.mu.order {
		at := (s.mu.at + i) % len(s.mu.order)
		b, wait := s.pickFrom(s.mu.order[at], now)
		if !wait.IsZero() && (due.IsZero() || wait.Before(due)) {
			due = wait
		}
		if b != nil {
			s.mu.at, s.mu.entering = at+1, b
			return b, time.Time{}, false
		}
	}
	return nil, due, s.overLocked()
}

func (s *source) pickFrom(l *lane, now time.Time) (b *batch, due time.Time) {
	if l.phase != flowing || l.waits || s.conf.Ordered && l.inflight > 0 {
		return nil, due
	}
	if len(l.again) > 0 {
		if b := l.again[0]; !now.Before(b.due) {
			l.again = l.again[1:]
			l.inflight++
			return b, due
		}
		due = l.again[0].due
		if s.conf.Ordered {
			return nil, due
		}
	}
	b = l.take(s.conf.MaxBatchRecords)
	if b != nil {
		l.inflight++
	}
	s.resumeLocked(l)
	if l.queued < s.refill() {
		signal(s.room)
	}
	return b, due
}

// finish ends a bounded run: the checkpoint that covers all of it comes before the
// end of input, so that a rewind can still read again what was not delivered.
func (s *source) finish(ctx context.Context) error {
	if err := s.awaitOthers(ctx); err != nil || !s.over() || s.agreed.Interval <= 0 {
		return err
	}
	for {
		err := s.handle.Finished(ctx)
		if err == nil {
			err = s.handle.Checkpoint(ctx)
		}
		if err == nil || s.handle.Failed() != nil || errors.Is(err, checkpoint.ErrDead) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.over() {
			return nil // A rewind: there is more to read.
		}
		if err := s.wait(ctx, time.Now().Add(redeliverAfter)); err != nil {
			return err
		}
	}
}

func (s *source) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overLocked()
}

// overLocked tells that every partition of a bounded run was read and
// acknowledged to its end.
func (s *source) overLocked() bool {
	if !s.conf.Stop.Bounded() || !s.mu.settled {
		return false
	}
	for _, l := range s.mu.lanes {
		if !l.finished() {
			return false
		}
	}
	return true
}

// emit tells whether a picked batch may still go out, now that it is in the
// ledger: meanwhile its lane may have been taken back, revoked or lost. The entry
// learns how far event time has come in the lane.
func (s *source) emit(b *batch, entry *checkpoint.Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.entering = nil
	if b.stale() || b.lane.phase != flowing {
		return false
	}
	entry.Lane = b.lane.number
	entry.Advance(b.lane.prefix.Watermark())
	return true
}

// Close implements service.BatchInput: shutdown is a checkpoint. Benthos calls it
// after every acknowledgement, while the output still runs.
func (s *source) Close(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closing = true
	client, poller := s.mu.client, s.poller
	s.mu.Unlock()
	if poller != nil {
		poller.stop()
	}
	s.askedMu.Lock()
	from := s.asked
	s.askedMu.Unlock()
	if from.IsZero() {
		from = time.Now()
	}
	ctx, cancel := context.WithDeadline(ctx, from.Add(s.agreed.ShutdownTimeout))
	defer cancel()
	s.offered.takeBack()
	err := s.handle.Close(ctx)
	if s.letters != nil {
		err = errors.Join(err, s.letters.Close(ctx))
	}
	if s.agreed.Interval <= 0 && client != nil {
		s.commitAcknowledged(ctx)
	}
	s.stopAll()
	if client != nil {
		s.closeClient(client)
	}
	if poller != nil {
		<-poller.done
	}
	s.work.Wait()
	if s.admin != nil {
		s.admin.Close()
	}
	if s.zooKeeper != nil {
		s.zooKeeper.Close()
	}
	s.forget()
	return err
}

// signal wakes whoever waits on a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // It will look anyway.
	}
}
