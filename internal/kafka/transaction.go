package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// DefaultTransactionTimeout is after how long brokers abort a transaction that nobody
// ends.
const DefaultTransactionTimeout = time.Minute

// TransactionConfig says under which identity, and how, transactions are written.
type TransactionConfig struct {
	Connection Connection
	// Options of the client that writes; those of the connection and of transactions are
	// added.
	Options []kgo.Opt
	// ID is the transactional id. Whoever begins with it takes it from whoever has it.
	ID string
	// Timeout is after how long brokers abort a transaction that nobody ends; 0 =
	// DefaultTransactionTimeout.
	Timeout time.Duration
}

// ErrFenced says that a transaction was taken from us: somebody else has begun with its
// id, or the brokers have forgotten it. Nothing of it is visible, or will be.
var ErrFenced = errors.New("the transaction was taken over or is not known any more")

// ErrOldBroker says that brokers cannot tell a member of a group that has lost its
// partitions from one that has not, when it ends a transaction.
var ErrOldBroker = errors.New("exactly-once delivery needs brokers of version 2.5 or newer")

// Transactions writes one transaction after the other under one transactional id. Begin,
// SendOffsets, Commit and Abort are called by one goroutine at a time, and no record is
// produced beside Begin, Commit and Abort.
type Transactions struct {
	conf TransactionConfig
	// implicit: whoever writes into a transaction joins it by that (KIP-890).
	implicit bool
	client   *kgo.Client
	// Cluster is the id of the cluster.
	Cluster string
}

// OpenTransactions makes a client and takes the id over: a transaction that is open under
// it is aborted. The error wraps ErrOldBroker, or names the time-out that brokers allow,
// where that is why.
func OpenTransactions(ctx context.Context, conf TransactionConfig) (*Transactions, error) {
	t := &Transactions{conf: conf}
	t.conf.Timeout = cmp.Or(conf.Timeout, DefaultTransactionTimeout)
	if err := t.learn(ctx); err != nil {
		return nil, err
	}
	var err error
	if t.client, err = t.dial(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// learn finds out what the cluster can do.
func (t *Transactions) learn(ctx context.Context) error {
	t.conf.Connection.Learn(ctx)
	if err := t.conf.Connection.Brokers.Meet(transactions); err != nil {
		return err
	}
	cl, err := t.conf.Connection.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := Probe(ctx, cl); err != nil {
		return err
	}
	if t.Cluster, err = ClusterID(ctx, cl); err != nil {
		return err
	}
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("asking for the brokers' versions: %w", err)
	}
	var sends int16 = -1
	for _, k := range versions.ApiKeys {
		if k.ApiKey == int16(kmsg.TxnOffsetCommit) {
			sends = k.MaxVersion
		}
	}
	if sends < memberVersion {
		return fmt.Errorf("%w: they know version %d of TxnOffsetCommit, %d is needed", ErrOldBroker, sends, memberVersion)
	}
	for _, f := range versions.FinalizedFeatures {
		t.implicit = t.implicit || f.Name == "transaction.version" && f.MaxVersionLevel >= 2 && sends >= implicitVersion
	}
	return nil
}

// Versions of TxnOffsetCommit: the first one that names the member and its generation,
// and the first one that joins the transaction by itself. Later ones name topics by id.
const (
	memberVersion   = 3
	implicitVersion = 5
)

func (t *Transactions) dial(ctx context.Context) (*kgo.Client, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), implicitVersion)
	if !t.implicit {
		// Both the client's and our requests have to be of the older protocol then.
		versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), implicitVersion-1)
	}
	opts := append(t.conf.Connection.Options(), t.conf.Options...)
	opts = append(append(opts, RideOut()...),
		kgo.TransactionalID(t.conf.ID), kgo.TransactionTimeout(t.conf.Timeout), kgo.MaxVersions(versions))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	if _, _, err := cl.ProducerID(ctx); err != nil {
		defer cl.Close()
		if errors.Is(err, kerr.InvalidTransactionTimeout) {
			return nil, t.timeoutError(ctx, cl, err)
		}
		return nil, fmt.Errorf("taking over the transactional id %q: %w", t.conf.ID, err)
	}
	return cl, nil
}

// timeoutError names what the brokers allow.
func (t *Transactions) timeoutError(ctx context.Context, cl *kgo.Client, err error) error {
	const setting = "transaction.max.timeout.ms"
	allowed := "less"
	if confs, derr := kadm.NewClient(cl).DescribeBrokerConfigs(ctx); derr == nil {
		for _, broker := range confs {
			for _, c := range broker.Configs {
				if ms, perr := strconv.Atoi(c.MaybeValue()); c.Key == setting && perr == nil {
					allowed = (time.Duration(ms) * time.Millisecond).String()
				}
			}
		}
	}
	return fmt.Errorf("transaction_timeout is %v, and the brokers allow %s (%s): set it to that at most, or raise the brokers': %w",
		t.conf.Timeout, allowed, setting, err)
}

// Client returns the client that writes. Renew replaces it.
func (t *Transactions) Client() *kgo.Client { return t.client }

// Begin allows records to be produced. Brokers learn of a transaction by its first record;
// they are asked only if the one before ended with an error.
func (t *Transactions) Begin(ctx context.Context) error {
	// The client would load its id without an end, and with locks held.
	if _, _, err := t.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	if err := t.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	return nil
}

// Commit ends the transaction, after all records were acknowledged. An error says that
// nobody knows whether it did; Abort, and look. Without a record in it nothing happens.
func (t *Transactions) Commit(ctx context.Context) error {
	if err := t.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("committing the transaction of %q: %w", t.conf.ID, err)
	}
	return nil
}

// abortAgain is how long Abort waits between two attempts.
const abortAgain = 200 * time.Millisecond

// Abort gives up what the client has buffered and ends the transaction, if one is open.
// After a Commit that failed it makes sure that it is over, one way or the other. It
// goes on trying as long as ctx lasts. An error that wraps ErrFenced says that the id
// is not ours any more.
func (t *Transactions) Abort(ctx context.Context) error {
	for {
		err := t.client.AbortBufferedRecords(ctx)
		if err == nil {
			// After a Commit that failed this is what ends the transaction.
			if _, _, err = t.client.ProducerID(ctx); err == nil || answered(err) {
				err = t.client.EndTransaction(ctx, kgo.TryAbort)
			}
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("aborting the transaction of %q: %w", t.conf.ID, err)
		if answered(err) {
			return fmt.Errorf("%w: %w", ErrFenced, err)
		}
		select {
		case <-time.After(abortAgain):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// answered tells an answer of brokers that does not change when they are asked again.
func answered(err error) bool {
	var answer *kerr.Error
	return errors.As(err, &answer) && !answer.Retriable && answer.Code != kerr.UnknownServerError.Code
}

// Renew takes the id over anew with another client, and so from whoever has taken it
// from us. Records that the old client has fail.
func (t *Transactions) Renew(ctx context.Context) error {
	cl, err := t.dial(ctx)
	if err != nil {
		return err
	}
	t.client.Close()
	t.client = cl
	return nil
}

// Abandon ends the transaction by way of another client, and with it what this one can still
// do: whatever it has under way is refused. Only Close may follow.
func (t *Transactions) Abandon(ctx context.Context) error {
	cl, err := t.conf.Connection.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	return Fence(ctx, cl, t.conf.ID)
}

// Close ends the client. An open transaction stays open: Abort before.
func (t *Transactions) Close() { t.client.Close() }

// GroupCommit is what a member of a consumer group commits.
type GroupCommit struct {
	Group string
	// Member, Instance and Generation tell which assignment the offsets are of. Instance
	// is empty for a member that has none of its own.
	Member, Instance string
	Generation       int32
	Offsets          map[Partition]Committed
}

func (c GroupCommit) instance() *string {
	if c.Instance == "" {
		return nil
	}
	return &c.Instance
}

// SendOffsets adds a group's offsets to the transaction, which must hold a record: they
// are committed if it is. The brokers refuse them if the group has moved on.
func (t *Transactions) SendOffsets(ctx context.Context, c GroupCommit) error {
	return retried(ctx, fmt.Sprintf("adding offsets of group %q to the transaction of %q", c.Group, t.conf.ID), func() error {
		id, epoch, err := t.client.ProducerID(ctx)
		if err != nil {
			return err
		}
		if !t.implicit {
			if err := t.addGroup(ctx, c.Group, id, epoch); err != nil {
				return err
			}
		}
		return t.sendOffsets(ctx, c, id, epoch)
	})
}

func (t *Transactions) addGroup(ctx context.Context, group string, id int64, epoch int16) error {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.conf.ID, id, epoch, group
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

func (t *Transactions) sendOffsets(ctx context.Context, c GroupCommit, id int64, epoch int16) error {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = t.conf.ID, id, epoch
	req.Group, req.MemberID, req.InstanceID, req.Generation = c.Group, c.Member, c.instance(), c.Generation
	for topic, ids := range byTopic(sorted(c.Offsets)) {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic = topic
		for _, id := range ids {
			o := c.Offsets[Partition{topic, id}]
			rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = id, o.Offset, o.LeaderEpoch, kmsg.StringPtr(o.Metadata)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	taken := make(map[Partition]error)
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			taken[Partition{rt.Topic, rp.Partition}] = kerr.ErrorForCode(rp.ErrorCode)
		}
	}
	return committedAll(c, taken)
}

// committedAll returns a *CommitError that names the partitions whose offsets were not
// taken.
func committedAll(c GroupCommit, taken map[Partition]error) error {
	failed := &CommitError{Group: c.Group, Partitions: make(map[Partition]error)}
	for p := range c.Offsets {
		if err, ok := taken[p]; !ok {
			failed.Partitions[p] = errUnanswered
		} else if err != nil {
			failed.Partitions[p] = err
		}
	}
	return failed.orNil()
}

// A transaction that has just ended keeps the next one waiting until every broker has
// heard of it.
const (
	concurrentPause = 5 * time.Millisecond
	concurrentMost  = 200 * time.Millisecond
)

// retried calls f until it does not fail for a reason that passes by itself.
func retried(ctx context.Context, what string, f func() error) error {
	for pause := concurrentPause; ; pause = min(2*pause, concurrentMost) {
		err := f()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if !errors.Is(err, kerr.ConcurrentTransactions) && !passes(err) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// passes tells an error of a coordinator that is moving or loading.
func passes(err error) bool {
	return errors.Is(err, kerr.CoordinatorLoadInProgress) || errors.Is(err, kerr.CoordinatorNotAvailable) ||
		errors.Is(err, kerr.NotCoordinator) || errors.Is(err, kerr.UnstableOffsetCommit)
}

// Fence ends whatever is open under a transactional id, and keeps whoever has it from
// going on. cl is a client without a transactional id.
func Fence(ctx context.Context, cl *kgo.Client, id string) error {
	return retried(ctx, fmt.Sprintf("taking over the transactional id %q", id), func() error {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID = &id
		req.TransactionTimeoutMillis = int32(DefaultTransactionTimeout / time.Millisecond)
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}
