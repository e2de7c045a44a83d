package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// TransactionConfig is what an exactly-once output asks of the transaction that it shares
// with the others of its stream.
type TransactionConfig struct {
	Connection kafka.Connection
	// Options of the client that writes, without a partitioner, and Partitioner.
	Options     []kgo.Opt
	Partitioner kgo.Partitioner
	// MaxBytes bounds a record.
	MaxBytes int64
	// Settings are the fields in which all outputs of the transaction have to agree, and
	// their values; those of secret ones are never shown.
	Settings map[string]any
	// Prefix of the transactional id.
	Prefix string
	// Timeout is after how long brokers end a transaction that nobody ends.
	Timeout time.Duration
}

// secret are settings whose values an error does not show.
var secret = []string{"tls", "sasl", "properties"}

// Transaction is what the exactly-once outputs of a stream write into, one after another:
// each ends with a checkpoint, and is what makes it complete.
type Transaction struct {
	c    *Coordinator
	conf TransactionConfig
	// of is the output whose settings count.
	of string
	// opened is closed when client is there.
	opened chan struct{}
	client atomic.Pointer[kgo.Client]
	// begun is when the first record was written since the transaction before, in
	// nanoseconds, 0 if none was; delivered counts those that brokers have.
	begun, delivered atomic.Int64

	// exact tells that outputs write into it; guarded by the coordinator's mu. Otherwise it
	// is there for the store only.
	exact bool
	// keeper makes partitions the process's own, where there is a store for that; nil
	// otherwise.
	keeper *keeper

	// writer and id are set by open; after that one goroutine at a time uses the writer:
	// a checkpoint's, then a rewind's, then the one that ends the build.
	writer *kafka.Transactions
	id     string
}

func newTransaction(c *Coordinator, of string, conf TransactionConfig) *Transaction {
	return &Transaction{c: c, conf: conf, of: of, opened: make(chan struct{})}
}

// Connected is a source that says how it reaches its cluster.
type Connected interface{ Connection() kafka.Connection }

// transactionOfStore makes a transaction for the store alone, on the cluster of the input:
// no output has one. A process that does not know yet that it is not the owner any more must
// not write to the store, and without a transaction nobody could keep it from that.
func (c *Coordinator) transactionOfStore() *Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.transaction != nil {
		return c.mu.transaction
	}
	conf := TransactionConfig{Prefix: "tidemark", MaxBytes: store.DefaultMaxRecord * 10 / 9}
	conf.Timeout = max(kafka.DefaultTransactionTimeout, 2*(c.mu.conf.Interval+c.mu.conf.Timeout))
	for _, s := range c.mu.sources {
		if src, ok := s.s.(Connected); ok {
			conf.Connection = src.Connection()
			break
		}
	}
	t := newTransaction(c, "checkpoint.store.topic", conf)
	c.mu.transaction = t
	return t
}

// JoinTransaction makes an output one of those that write into the stream's transaction. It
// returns an error if they cannot share one.
func (c *Coordinator) JoinTransaction(name string, conf TransactionConfig) (*Transaction, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.sources) == 0 {
		return nil, errors.New("delivery is exactly_once, but no input of the stream takes part in checkpoints, so that nothing could be read again: " +
			"read with kafka_checkpointed, or set delivery to at_least_once")
	}
	if c.mu.started {
		return nil, errors.New("delivery is exactly_once, but the output is made while the stream runs: set delivery to at_least_once")
	}
	t := c.mu.transaction
	if t == nil {
		t = newTransaction(c, name, conf)
		t.exact = true
		c.mu.transaction = t
		c.exact.Store(true)
		return t, nil
	}
	for _, field := range slices.Sorted(maps.Keys(conf.Settings)) {
		if a, b := t.conf.Settings[field], conf.Settings[field]; !reflect.DeepEqual(a, b) {
			values := fmt.Sprintf("is %v for %q and %v for %q", a, t.of, b, name)
			if slices.Contains(secret, field) {
				values = fmt.Sprintf("differs between %q and %q", t.of, name)
			}
			return nil, fmt.Errorf("exactly-once outputs of one stream share one transaction on one cluster, but %s %s: set it alike", field, values)
		}
	}
	return t, nil
}

// ExactlyOnce returns the transaction that outputs of the stream write into, nil if none
// does. All of them are known when the stream starts.
func (c *Coordinator) ExactlyOnce() *Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.mu.transaction; t != nil && t.exact {
		return t
	}
	return nil
}

// DeliversExactlyOnce tells whether there is one; also with a lock of the coordinator's held.
func (c *Coordinator) DeliversExactlyOnce() bool { return c.exact.Load() }

// Client returns where the client is that writes; nil before the stream starts.
func (t *Transaction) Client() *atomic.Pointer[kgo.Client] { return &t.client }

// Await waits until the stream has started, and so has a client. What keeps it from
// starting is its inputs' to report.
func (t *Transaction) Await(ctx context.Context) error {
	select {
	case <-t.opened:
		return nil
	case <-t.c.done:
		return checkpoint.ErrDead
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Over tells that the stream has ended.
func (t *Transaction) Over() bool {
	select {
	case <-t.c.done:
		return true
	default:
		return false
	}
}

// Writing notes that records are handed to the client, Delivered that brokers have them.
func (t *Transaction) Writing() {
	if t.begun.Load() == 0 {
		t.begun.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// Delivered counts records that brokers have.
func (t *Transaction) Delivered(n int) { t.delivered.Add(int64(n)) }

// open takes the transactional id over, when all builds before this one have ended.
func (t *Transaction) open(ctx context.Context, conf checkpoint.Config) error {
	if t.writer != nil {
		return nil
	}
	if least := conf.Interval + conf.Timeout; t.conf.Timeout <= least {
		return checkpoint.Fatal(fmt.Errorf("transaction_timeout of %q is %v, but a checkpoint may begin %v after the one before and take %v: "+
			"set it above %v, or shorten checkpoint.timeout", t.of, t.conf.Timeout, conf.Interval, conf.Timeout, least))
	}
	id, err := t.c.claimWriter(t.conf.Prefix, conf)
	if err != nil {
		return err
	}
	opts := append(t.conf.Options, kgo.RecordPartitioner(besideStore{t.conf.Partitioner, conf.Topic}), kgo.MaxBufferedRecords(math.MaxInt32))
	writer, err := kafka.OpenTransactions(ctx, kafka.TransactionConfig{
		Connection: t.conf.Connection, Options: opts, ID: id, Timeout: t.conf.Timeout,
	})
	if err != nil {
		return transactionError(err)
	}
	if err := writer.Begin(ctx); err != nil {
		writer.Close()
		return err
	}
	t.writer, t.id = writer, id
	t.client.Store(writer.Client())
	close(t.opened)
	return nil
}

// transactionError marks an error of opening that no repetition heals.
func transactionError(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("beginning with exactly-once delivery: %w", err)
	if errors.Is(err, kafka.ErrOldBroker) || kafka.Classify(kafka.Connect|kafka.Commit, err).Meaning > kafka.Permanent {
		return checkpoint.Fatal(err)
	}
	return err
}

// besideStore lets records of the store's topic go where they name, and others where the
// output's partitioner says.
type besideStore struct {
	kgo.Partitioner
	topic string
}

// ForTopic implements kgo.Partitioner.
func (p besideStore) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.topic && topic != "" || p.Partitioner == nil {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.Partitioner.ForTopic(topic)
}

// commit ends the transaction with a checkpoint, and returns how many bytes that has in the
// store. Whatever goes wrong, nobody knows whether the checkpoint is complete.
func (t *Transaction) commit(ctx context.Context, m *checkpoint.Manifest, changes []checkpoint.Change, sources []*source) (n int64, err error) {
	end := func() error {
		if t.delivered.Load() == 0 {
			// Brokers know of no transaction. What was read and led to nothing is committed
			// afterwards, as without transactions.
			return t.publish(ctx, m, nil)
		}
		return t.publish(ctx, m, sources)
	}
	if t.keeper != nil {
		n, err = t.keeper.commit(ctx, m, changes, end)
	} else {
		err = end()
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", checkpoint.ErrInDoubt, err)
	}
	return n, nil
}

// publish adds the offsets of sources to the transaction, of those whose offsets belong
// into it, and ends it.
func (t *Transaction) publish(ctx context.Context, m *checkpoint.Manifest, sources []*source) error {
	if len(sources) == 0 {
		return t.writer.Commit(ctx)
	}
	s, rest := sources[0], sources[1:]
	member, ok := s.s.(Member)
	if !ok || s.conf.Static || !member.InTransaction() {
		return t.publish(ctx, m, rest)
	}
	return member.Publish(ctx, s.own(m), func(ctx context.Context, commit kafka.GroupCommit) error {
		if err := t.writer.SendOffsets(ctx, commit); err != nil {
			return err
		}
		return t.publish(ctx, m, rest)
	})
}

// next begins the next transaction.
func (t *Transaction) next(ctx context.Context) error {
	t.begun.Store(0)
	t.delivered.Store(0)
	return t.writer.Begin(ctx)
}

// abortPatience is how long a transaction may take to be aborted before its id is taken over
// anew, which ends it too: a client that has failed for good never could.
const abortPatience = 10 * time.Second

// abort makes sure that the transaction is over, and begins the next one.
func (t *Transaction) abort(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, abortPatience)
	defer cancel()
	err := t.writer.Abort(bounded)
	if err == nil {
		err = t.next(bounded)
	}
	if err == nil {
		return nil
	}
	t.c.log.Warnf("The transactional id %q is taken over anew: %v", t.id, err)
	if t.keeper != nil {
		// Whether that was by mistake, the claims in the store say.
		t.keeper.refused.Store(true)
		return ctx.Err()
	}
	// Somebody thought that this member was gone, or the brokers have forgotten the id. What
	// this process may still read is the group's to say, so the id, which nobody else uses,
	// is taken back.
	return t.renew(ctx)
}

// renew takes the transactional id back, however often that takes.
func (t *Transaction) renew(ctx context.Context) error {
	for {
		err := t.writer.Renew(ctx)
		if err == nil {
			t.client.Store(t.writer.Client())
			if err = t.next(ctx); err == nil {
				return nil
			}
		}
		if err = transactionError(err); errors.Is(err, checkpoint.ErrFatal) {
			return err
		}
		t.c.log.Warnf("Taking the transactional id %q back: %v", t.id, err)
		select {
		case <-time.After(renewAgain):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// renewAgain is how long to wait before a transactional id is asked for again.
const renewAgain = time.Second

// expires tells that the brokers would abort the transaction before a further checkpoint
// could end it.
func (t *Transaction) expires(conf checkpoint.Config) bool {
	begun := t.begun.Load()
	return begun != 0 && time.Since(time.Unix(0, begun)) > t.conf.Timeout-conf.Interval-conf.Timeout
}

// abandonTimeout bounds what is done at the end for a transaction that is still open. If it
// is not enough the next start ends it, or the brokers do after transaction_timeout.
const abandonTimeout = 3 * time.Second

// close ends the transaction, if there is one, and the client.
func (t *Transaction) close() {
	if t.writer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
	defer cancel()
	aborting, stop := context.WithTimeout(ctx, abandonTimeout/2)
	defer stop()
	err := t.writer.Abort(aborting)
	if err != nil && !errors.Is(err, kafka.ErrFenced) {
		// Records that are under way cannot be waited for any longer.
		err = t.writer.Abandon(ctx)
	}
	if err != nil && !errors.Is(err, kafka.ErrFenced) {
		t.c.log.Warnf("What is left of %q could not be aborted, which the next start does, or the brokers do after %v: %v", t.id, t.conf.Timeout, err)
	}
	t.writer.Close()
}
