package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Coordinator coordinates the checkpoints of one build of one stream.
//
// Lock order: startMu, then mu, then the locks of participants, then stateMu.
// Foreign code runs with no lock held, except Positions, Freeze, Rotate, Discard
// and Accept of participants, which must not block.
type Coordinator struct {
	reg    *registry
	stream string
	// pred is the build that this one replaces; nil once it has ended.
	pred atomic.Pointer[Coordinator]
	log  *service.Logger

	// done is closed by die and by shut: nothing moves any more. ended is closed
	// when shut is through: goroutines have ended, the store is closed.
	done     chan struct{}
	ended    chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
	stopping atomic.Bool
	// exact tells that outputs write into mu.transaction.
	exact atomic.Bool
	work  sync.WaitGroup

	// startMu serialises start, which blocks. lockedSince is when start first met a
	// store that another process holds.
	startMu     sync.Mutex
	lockedSince time.Time

	mu struct {
		sync.Mutex
		started bool
		// finished: the final checkpoint is complete.
		finished bool
		closed   bool
		failed   error
		// superseded tells why a build that never started must not start any more.
		superseded error
		conf       checkpoint.Config
		confOf     string
		machine    *checkpoint.Machine
		ledger     *checkpoint.Ledger
		sources    []*source
		operators  []*operator
		sinks      []*sink
		// departed holds the positions of sources that have ended; spoiled is why
		// some of what they delivered was dropped afterwards, or nil; cause is why
		// the last rewind began.
		departed checkpoint.Positions
		spoiled  error
		cause    error
		store    checkpoint.Store
		job      string
		last     *checkpoint.Manifest
		lastID   checkpoint.ID
		cut      *checkpoint.Manifest
		cutBegan time.Time
		// gate is closed when batches may enter again; nil while they may.
		gate        chan struct{}
		cancelFlush context.CancelFunc
		waiters     []*waiter
		suspects    map[suspect]struct{}
		// transaction is what exactly-once outputs write into; nil if there are none.
		transaction *Transaction
		// whole says who needs all partitions to be read here, and what to do otherwise.
		whole [2]string
	}
	// saving is held, capacity 1, by who takes a savepoint.
	saving chan struct{}
	// wake makes the loop look at the machine again; anybody may send, capacity 1
	// because one look is enough.
	wake chan struct{}
	// suspicious tells whether mu.suspects has anything, without the lock.
	suspicious atomic.Bool

	stateMu sync.RWMutex
	overlay *checkpoint.Overlay
	// below is the store that the overlay lies on, nil before the start and after
	// the end. It is mu.store, but operators use their state in Freeze, under mu.
	below checkpoint.Store

	eventTime *eventTime

	// metrics are set by the first source that has any, and guarded by mu.
	metrics *metrics
}

type suspect struct {
	partition checkpoint.Partition
	offset    checkpoint.Offset
}

var _ checkpoint.Coordinator = (*Coordinator)(nil)

func newCoordinator(r *registry, stream string, pred *Coordinator, log *service.Logger) *Coordinator {
	c := &Coordinator{
		reg: r, stream: stream, log: log,
		done: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1), saving: make(chan struct{}, 1), overlay: checkpoint.NewOverlay(),
	}
	c.pred.Store(pred)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.departed = checkpoint.Positions{}
	c.mu.suspects = map[suspect]struct{}{}
	c.mu.ledger = checkpoint.NewLedger(c, false)
	c.mu.machine = checkpoint.NewMachine(checkpoint.Config{}, rand.Float64)
	c.eventTime = newEventTime(c)
	return c
}

// JoinSource implements checkpoint.Coordinator.
func (c *Coordinator) JoinSource(
	name string, s checkpoint.Source, conf checkpoint.Config,
) (checkpoint.SourceHandle, error) {
	return c.Source(name, nil, s, conf, nil)
}

// Source joins a source like JoinSource, which is at a path in the stream's
// configuration, and reports checkpoints through m.
func (c *Coordinator) Source(
	name string, path []string, s checkpoint.Source, conf checkpoint.Config, m *service.Metrics,
) (checkpoint.SourceHandle, error) {
	if c.abandoned(name) {
		c = c.reg.renew(c, name)
	}
	conf = withDefaults(conf)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metrics == nil && m != nil {
		c.metrics = newMetrics(m)
	}
	for _, other := range c.mu.sources {
		if other.name == name {
			return nil, fmt.Errorf("two inputs of the stream join checkpoints as %q: give each a label of its own", name)
		}
	}
	if err := c.agreeLocked(name, conf); err != nil {
		return nil, err
	}
	if why := partial(conf); why != "" && c.mu.whole[0] != "" {
		return nil, wholeError(c.mu.whole, name, why)
	}
	h := &source{c: c, name: name, path: path, s: s, conf: conf}
	c.mu.sources = append(c.mu.sources, h)
	return h, nil
}

// abandoned tells that this build has a source of that name and never started:
// constructing the rest of it failed, and now the stream is constructed anew.
func (c *Coordinator) abandoned(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.started {
		return false
	}
	for _, s := range c.mu.sources {
		if s.name == name {
			return true
		}
	}
	return false
}

// agreeLocked merges what a source asks for with what others asked for.
func (c *Coordinator) agreeLocked(name string, conf checkpoint.Config) error {
	switch {
	case len(c.mu.sources) == 0:
		c.mu.conf, c.mu.confOf = conf, name
	case !conf.Sets:
	case !c.mu.conf.Sets:
		c.mu.conf, c.mu.confOf = conf, name
	default:
		if field, a, b := differ(c.mu.conf, conf); field != "" {
			return fmt.Errorf("inputs of one stream must agree on checkpoint settings: "+
				"checkpoint.%s is %v for %q and %v for %q; set it for one of them only, or alike",
				field, a, c.mu.confOf, b, name)
		}
	}
	return nil
}

// JoinOperator implements checkpoint.Coordinator.
func (c *Coordinator) JoinOperator(name string, o checkpoint.Operator) (checkpoint.OperatorHandle, error) {
	h := &operator{c: c, name: name, o: o}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.mu.operators {
		if other.name == name {
			return nil, fmt.Errorf("two operators of the stream join checkpoints as %q: give each a label of its own", name)
		}
	}
	if c.mu.started {
		if err := c.checkState(c.mu.conf, []*operator{h}); err != nil {
			return nil, err
		}
		// One that joins late has nothing in memory yet, so that there is nothing
		// to restore.
	}
	c.mu.operators = append(c.mu.operators, h)
	return h, nil
}

// JoinSink implements checkpoint.Coordinator.
func (c *Coordinator) JoinSink(name string, s checkpoint.Sink) (checkpoint.SinkHandle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &sink{c: c, name: name, s: s}
	// Before the first record everybody joins at once; later, at the next cut.
	h.joined.Store(!c.mu.started)
	c.mu.sinks = append(c.mu.sinks, h)
	return h, nil
}

// Ended tells that the build is over: whoever joined it has to join the next one.
func (c *Coordinator) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Unchecked tells that the stream's sources, all of which Benthos constructs before
// an output, take no checkpoints.
func (c *Coordinator) Unchecked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.sources) > 0 && c.mu.conf.Interval <= 0
}

// String names the stream, for errors.
func (c *Coordinator) String() string {
	if c.stream == "" {
		return "the stream"
	}
	return fmt.Sprintf("stream %q", c.stream)
}

// ending tells that components constructed from now on belong to a new build.
func (c *Coordinator) ending() bool {
	select {
	case <-c.done:
		return true
	default:
		return c.stopping.Load()
	}
}

// Sources returns how many sources have joined, and why one of them reads only some of its
// partitions; empty if none does.
func (c *Coordinator) Sources() (n int, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.mu.sources {
		if why == "" {
			why = partial(s.conf)
		}
	}
	return len(c.mu.sources), why
}

// NeedsAllPartitions refuses sources that read only some of their partitions, now and when
// they join: somebody keeps state of the process, which does not move.
func (c *Coordinator) NeedsAllPartitions(who, remedy string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.whole = [2]string{who, remedy}
	for _, s := range c.mu.sources {
		if why := partial(s.conf); why != "" {
			return wholeError(c.mu.whole, s.name, why)
		}
	}
	return nil
}

func wholeError(whole [2]string, source, why string) error {
	return fmt.Errorf("%q keeps state of the whole process, but the input %q %s, so that others may read the rest: "+
		"%s, or let one process read all partitions by static assignment without a shard", whole[0], source, why, whole[1])
}

// partial says why a source reads only some of its partitions; empty if it reads all.
func partial(conf checkpoint.Config) string {
	switch {
	case !conf.Static:
		return "shares partitions out by a consumer group"
	case conf.Shard.Count > 1:
		return fmt.Sprintf("reads shard %d of %d", conf.Shard.Index, conf.Shard.Count)
	case len(conf.Partitions) > 0:
		return "reads named partitions"
	}
	return ""
}

// kindLocked decides, at each cut anew, how it is taken.
func (c *Coordinator) kindLocked() checkpoint.Kind {
	if len(c.mu.operators) > 0 || c.mu.transaction != nil && c.mu.transaction.exact {
		return checkpoint.Aligned
	}
	return checkpoint.Running
}

// differ names the first checkpoint setting in which two configurations differ.
func differ(a, b checkpoint.Config) (field string, av, bv any) {
	for _, f := range []struct {
		name string
		a, b any
	}{
		{"interval", a.Interval, b.Interval},
		{"timeout", a.Timeout, b.Timeout},
		{"min_pause", a.MinPause, b.MinPause},
		{"tolerable_failures", a.TolerableFailures, b.TolerableFailures},
		{"shutdown_timeout", a.ShutdownTimeout, b.ShutdownTimeout},
		{"restart", a.Restart, b.Restart},
		{"store.directory", a.Directory, b.Directory},
		{"store.topic", a.Topic, b.Topic},
		{"store.partitions", a.TopicPartitions, b.TopicPartitions},
		{"store.local_copy", a.LocalCopy, b.LocalCopy},
		{"job", a.Job, b.Job},
		{"retain", a.Retain, b.Retain},
		{"restore_from", a.RestoreFrom, b.RestoreFrom},
		{"savepoint_directory", a.SavepointDirectory, b.SavepointDirectory},
	} {
		if f.a != f.b {
			return f.name, f.a, f.b
		}
	}
	return "", nil, nil
}
