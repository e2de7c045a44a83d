package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// start begins the build once: it waits for the build before it, opens the store
// and restores operators. An error that is not fatal may be tried again.
func (c *Coordinator) start(ctx context.Context) error {
	c.startMu.Lock()
	defer c.startMu.Unlock()
	c.mu.Lock()
	started, conf, operators := c.mu.started, c.mu.conf, append([]*operator(nil), c.mu.operators...)
	transaction := c.mu.transaction
	over, rules := c.overLocked(), c.checkSourcesLocked()
	c.mu.Unlock()
	if over != nil || started {
		return over
	}
	if err := cmp.Or(rules, c.checkState(conf, operators)); err != nil {
		return checkpoint.Fatal(err)
	}
	if err := c.outlive(ctx, conf.ShutdownTimeout); err != nil {
		return err
	}
	if transaction == nil && conf.Topic != "" {
		transaction = c.transactionOfStore()
	}
	if transaction != nil {
		if err := transaction.open(ctx, conf); err != nil {
			return err
		}
	}
	st, last, err := c.open(ctx, conf, transaction)
	if err != nil {
		return err
	}
	if err := c.adopt(conf, st, last); err != nil {
		return err
	}
	err = c.begin(ctx, conf)
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), c.closeStore()) // Asked to end; no fault of the operator.
	}
	return err
}

// checkSourcesLocked refuses what only shows when all inputs are known.
func (c *Coordinator) checkSourcesLocked() error {
	for _, s := range c.mu.sources {
		if err := c.checkTransactionLocked(s); err != nil {
			return err
		}
		if c.mu.conf.Directory != "" && !s.conf.Static {
			return fmt.Errorf("%q has its partitions assigned by its group, but the stream's checkpoints are kept in the folder of one process, "+
				"%q: set assignment of %q to static, or leave out checkpoint.store.directory of %q", s.name, c.mu.conf.Directory, s.name, c.mu.confOf)
		}
	}
	return nil
}

// checkTransactionLocked refuses what cannot be delivered exactly once.
func (c *Coordinator) checkTransactionLocked(s *source) error {
	t := c.mu.transaction
	if t == nil || !t.exact {
		return nil
	}
	refused := func(why, remedy string) error {
		return fmt.Errorf("delivery of %q is exactly_once, but %s: %s, or set delivery to at_least_once", t.of, why, remedy)
	}
	_, member := s.s.(Member)
	switch {
	case c.mu.conf.Directory != "":
		return refused(fmt.Sprintf("checkpoints are kept in the folder %q, which no transaction covers", c.mu.conf.Directory), "set checkpoint.store.topic instead of checkpoint.store.directory")
	case c.mu.conf.Topic != "" && c.mu.conf.Interval > 0:
		return nil
	case len(c.mu.operators) > 0:
		return refused(fmt.Sprintf("%q keeps state, and there is no store for it that a transaction covers", c.mu.operators[0].name),
			"set checkpoint.store.topic of the input")
	case !member || s.conf.Static:
		return refused(fmt.Sprintf("%q is not a member of a consumer group, and there is no store, so that its positions cannot be part of the transaction", s.name),
			"set checkpoint.store.topic, or consumer_group with assignment group")
	case c.mu.conf.Interval <= 0:
		return refused("checkpoints are off", "set checkpoint.interval of the input, for example to 1s")
	}
	return nil
}

// checkState refuses state that nothing would keep.
func (c *Coordinator) checkState(conf checkpoint.Config, operators []*operator) error {
	if len(operators) == 0 {
		return nil
	}
	name := operators[0].name
	if conf.Interval <= 0 {
		return fmt.Errorf("%q keeps state, but checkpoints are off: set checkpoint.interval of the input, for example to 1s", name)
	}
	if conf.Directory == "" && conf.Topic == "" {
		return fmt.Errorf("%q keeps state, but there is no store for it: set checkpoint.store.directory or checkpoint.store.topic of the input", name)
	}
	for _, o := range operators {
		if _, ok := o.o.(checkpoint.Clocked); ok && !c.eventTime.assigned() {
			return fmt.Errorf("%q follows event time, and nothing in the stream assigns it: put watermark_periodic or watermark_punctuated "+
				"under the processors of the input", o.name)
		}
	}
	return nil
}

// outlive waits for the build before this one to end. If it does not end in time
// it is made dead: it persists, commits and enqueues nothing more.
func (c *Coordinator) outlive(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(max(patience, time.Second))
	defer timer.Stop()
	// One that never started has not waited for the one before it.
	for pred := c.pred.Load(); pred != nil; pred = pred.pred.Load() {
		select {
		case <-pred.done:
		case <-timer.C:
			c.log.Warnf("The build of this stream before did not end within %v; it is stopped now and commits nothing more", patience)
			pred.kill(checkpoint.ErrDead)
			timer.Reset(0)
		case <-c.done:
			return checkpoint.ErrDead
		case <-ctx.Done():
			return ctx.Err()
		}
		pred.shut()
	}
	c.pred.Store(nil)
	return nil
}

// jobName is what the job is called; empty leaves it to the store.
func (c *Coordinator) jobName(conf checkpoint.Config) string {
	return cmp.Or(conf.Job, conf.Group, c.stream)
}

func (c *Coordinator) open(
	ctx context.Context, conf checkpoint.Config, t *Transaction,
) (checkpoint.Store, *checkpoint.Manifest, error) {
	if conf.Topic != "" {
		k, err := c.openKeeper(ctx, t, conf)
		if err != nil {
			return nil, nil, fmt.Errorf("opening the checkpoint store %q: %w", conf.Topic, err)
		}
		c.mu.Lock()
		t.keeper = k
		c.mu.Unlock()
		return keptTopic{k}, nil, nil
	}
	if conf.Directory == "" {
		return nil, nil, nil
	}
	st, err := openDirectory(ctx, store.Options{
		Directory: conf.Directory, Job: c.jobName(conf), Retain: conf.Retain, RestoreFrom: conf.RestoreFrom,
		Share: store.Share{Shard: conf.Shard, Partitions: conf.Partitions}, Logf: c.log.Debugf,
	})
	if err != nil {
		return nil, nil, c.storeError(conf.Directory, err)
	}
	last, err := st.Load(ctx)
	if err != nil && !errors.Is(err, checkpoint.ErrNoCheckpoint) {
		_ = st.Close()
		return nil, nil, c.storeError(conf.Directory, err)
	}
	c.mu.Lock()
	c.mu.job = st.Job()
	c.mu.lastID = st.LastID()
	c.mu.Unlock()
	return st, last, nil
}

// openDirectory is what tests replace, to open stores on file systems of theirs.
var openDirectory = store.Open

// lockPatience is how long another process may hold the store: one that is ending
// gives it back, one that does the same work does not.
const lockPatience = 6 * time.Second

// storeError decides what an error of a store means: a full disk may pass, and a
// held lock for a while; anything that says that the content is not ours or not
// whole does not.
func (c *Coordinator) storeError(dir string, err error) error {
	err = fmt.Errorf("opening the checkpoint store %q: %w", dir, err)
	switch {
	case errors.Is(err, checkpoint.ErrCorrupt), errors.Is(err, checkpoint.ErrVersion):
		return checkpoint.Fatal(err)
	case !errors.Is(err, checkpoint.ErrLocked):
		return err
	case c.lockedSince.IsZero():
		c.lockedSince = time.Now()
	case time.Since(c.lockedSince) > lockPatience:
		return checkpoint.Fatal(fmt.Errorf("%w for %v: stop that process, or give this one a folder of its own", err, lockPatience))
	}
	return err
}

// adopt makes a store that of the build, unless the build has ended meanwhile.
func (c *Coordinator) adopt(conf checkpoint.Config, st checkpoint.Store, last *checkpoint.Manifest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.overLocked(); err != nil {
		if st != nil {
			err = errors.Join(err, st.Close())
		}
		return err
	}
	c.mu.store, c.mu.last = st, last
	c.stateMu.Lock()
	c.below = st
	c.stateMu.Unlock()
	if c.mu.job == "" {
		c.mu.job = c.jobName(conf)
	}
	return nil
}

// begin restores operators, also those that join meanwhile, and starts the
// machine: no cut may meet an operator that is not restored.
func (c *Coordinator) begin(ctx context.Context, conf checkpoint.Config) error {
	for n := 0; ; n++ {
		c.mu.Lock()
		if n == len(c.mu.operators) {
			break
		}
		o := c.mu.operators[n]
		c.mu.Unlock()
		if err := o.o.Restore(ctx); err != nil {
			return checkpoint.Fatal(fmt.Errorf("restoring %q: %w", o.name, err))
		}
	}
	defer c.mu.Unlock()
	if err := c.overLocked(); err != nil {
		return err
	}
	c.mu.ledger = checkpoint.NewLedger(c, conf.Interval > 0)
	c.mu.machine = checkpoint.NewMachine(conf, rand.Float64)
	var id checkpoint.ID
	if last := c.mu.last; last != nil {
		id = last.ID
		c.log.Infof("Restored checkpoint %d of %s: %d partitions", id, last.Taken.Format(time.RFC3339), len(last.Positions))
	}
	c.mu.machine.Start(time.Now(), id, c.mu.lastID)
	c.mu.lastID = id
	c.mu.started = true
	process.began(c)
	c.work.Add(1)
	go c.loop()
	c.goLocked(c.eventTime.loop)
	return nil
}

// overLocked tells why the build must not start any more.
func (c *Coordinator) overLocked() error {
	switch {
	case c.mu.failed != nil:
		return c.mu.failed
	case c.mu.superseded != nil:
		return checkpoint.Fatal(c.mu.superseded)
	case c.mu.closed:
		return checkpoint.ErrDead
	}
	return nil
}

// withDefaults fills in what must not be zero.
func withDefaults(conf checkpoint.Config) checkpoint.Config {
	if conf.Timeout <= 0 {
		conf.Timeout = 30 * time.Second
	}
	if conf.ShutdownTimeout <= 0 {
		conf.ShutdownTimeout = 10 * time.Second
	}
	if conf.Restart == (checkpoint.Restart{}) {
		conf.Restart = checkpoint.DefaultRestart
	}
	return conf
}
