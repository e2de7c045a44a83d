package input

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// connect checks the cluster, asks the coordinator for the last checkpoint, and
// only then makes the client that reads: a build that was replaced must have
// committed before this one looks at offsets, and a member of a group gets its
// partitions as soon as its client exists. It may be called again after an error
// that is not fatal.
func (s *source) connect(ctx context.Context) error {
	if s.isConnected() {
		return nil
	}
	listing, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	client, err := s.newClient()
	if err != nil {
		return checkpoint.Fatal(err)
	}
	s.mu.Lock()
	s.mu.client = client
	s.mu.Unlock()
	if s.conf.Static {
		ctx, cancel := context.WithTimeout(ctx, 2*kafka.ProbeTimeout)
		defer cancel()
		if err := s.startStatic(ctx, listing); err != nil {
			s.mu.Lock()
			s.mu.client = nil
			s.mu.Unlock()
			s.closeClient(client)
			return s.fatalIf(err)
		}
	}
	s.mu.Lock()
	s.mu.connected = true
	s.poller = startPoller(s, client)
	s.mu.Unlock()
	s.background(s.measureOften)
	s.background(s.skipGaps)
	if s.discovers() {
		s.background(func(ctx context.Context) { every(ctx, s.conf.Discovery, func() { s.discover(ctx) }) })
	}
	if s.agreed.Interval <= 0 && s.conf.CommitOffsets && s.conf.CommitPeriod > 0 {
		s.background(s.commitPeriodically)
	}
	return nil
}

func (s *source) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.connected
}

// prepare finds out whether the cluster can be reached and has what is read, and
// what the job did before. It returns what there is.
func (s *source) prepare(ctx context.Context) (kafka.Listing, error) {
	if s.admin == nil {
		admin, err := s.conf.Connection.NewClient()
		if err != nil {
			return kafka.Listing{}, checkpoint.Fatal(err)
		}
		s.admin = admin
	}
	// First of all, so that the stream knows that this input is coming, also while
	// its broker is away: another one that ends meanwhile is not the last.
	restored, err := s.handle.Restore(ctx)
	if err != nil {
		return kafka.Listing{}, err
	}
	s.agreed = restored.Config
	if s.conf.Forgetful && !restored.Stored {
		s.forgetful.Do(func() {
			s.log.Warn("Positions are kept nowhere, so every start begins at start_from: set consumer_group or checkpoint.store.directory to go on where the last run stopped")
		})
	}
	if err := s.bindCaches(ctx); err != nil {
		return kafka.Listing{}, checkpoint.Fatal(err)
	}
	if err := s.learn(ctx); err != nil {
		return kafka.Listing{}, err
	}
	if err := kafka.Probe(ctx, s.admin); err != nil {
		if kafka.Classify(kafka.Connect, err).Meaning > kafka.Permanent {
			err = checkpoint.Fatal(err)
		}
		return kafka.Listing{}, s.fatalIf(err)
	}
	if err := s.fit(); err != nil {
		return kafka.Listing{}, s.fatalIf(err)
	}
	if err := s.joinTransaction(ctx, restored); err != nil {
		return kafka.Listing{}, err
	}
	if s.letters != nil {
		if err := s.letters.Connect(ctx); err != nil {
			return kafka.Listing{}, s.fatalIf(err)
		}
	}
	if err := s.openZooKeeper(ctx); err != nil {
		return kafka.Listing{}, err
	}
	if !s.conf.Static && s.conf.GroupProtocol == protocolConsumer {
		if err := kafka.RequireConsumerProtocol(ctx, s.admin, s.conf.Group); err != nil {
			return kafka.Listing{}, s.fatalIf(err)
		}
	}
	listing, err := s.conf.Subscription.Await(ctx, s.admin, topicPatience)
	if err == nil && listing.Missing != nil {
		err = listing.Missing
	}
	if err != nil {
		return kafka.Listing{}, s.fatalIf(err)
	}
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	history, err := s.learnHistory(ctx, restored, listing.Partitions, listing.IDs)
	if err != nil {
		return kafka.Listing{}, s.fatalIf(err)
	}
	s.history = history
	s.mu.Lock()
	maps.Copy(s.mu.ids, listing.IDs)
	s.mu.Unlock()
	s.handle.Continue(checkpoint.ID(history.checkpoint))
	return listing, nil
}

// topicPatience is how long a listed topic may be missing at the start: one that
// was just created is not known to every broker at once.
const topicPatience = 2 * time.Second

// fatalIf marks an error that no retry heals, by the one table that decides.
func (s *source) fatalIf(err error) error {
	if kafka.Classify(kafka.Read, err).Meaning >= kafka.Fenced {
		return checkpoint.Fatal(err)
	}
	return err
}

// background runs f until the input closes.
func (s *source) background(f func(ctx context.Context)) {
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		f(s.ctx)
	}()
}

// every calls f with a period until ctx ends.
func every(ctx context.Context, period time.Duration, f func()) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// newClient makes the client that reads. It resets no offset by itself: where a
// partition starts and what an offset out of range means is decided here.
func (s *source) newClient() (*kgo.Client, error) {
	opts := append(kafka.RideOut(), s.conf.Consumer...)
	opts = append(opts,
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
	)
	if !s.conf.Static {
		opts = append(opts, s.groupOptions()...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	client, err := s.conf.Connection.NewClient(append(opts, kgo.WithContext(ctx))...)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	s.clientOver = cancel
	return client, nil
}

// closeClient leaves the group and closes the client. If the client is about to join, it
// would wait until all other members have, those that are dead included: then the group is
// told here that this one is gone, and the client not to wait. One with an instance_id is
// not gone for good, and says nothing.
func (s *source) closeClient(client *kgo.Client) {
	defer s.clientOver()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		client.CloseAllowingRebalance()
	}()
	select {
	case <-closed:
		return
	case <-time.After(leavePatience):
	}
	if member, generation := client.GroupMetadata(); member != "" && s.conf.Checkpoint.Instance == "" {
		ctx, cancel := context.WithTimeout(context.Background(), leavePatience)
		defer cancel()
		if err := kafka.LeaveGroup(ctx, s.admin, kafka.GroupCommit{Group: s.conf.Group, Member: member, Generation: generation}); err != nil {
			s.log.Debugf("%v", err) // The group notices by itself, after the session time-out.
		}
	}
	s.clientOver()
	<-closed
}

// leavePatience is how long the client may take to leave its group by itself.
const leavePatience = 3 * time.Second

// ConnectionTest implements service.ConnectionTestable: it looks for what is to be
// read, with a client of its own.
func (s *source) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	s.conf.Connection.Learn(ctx)
	if err := s.conf.Connection.Brokers.Meet(s.conf.Requirements...); err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	client, err := s.conf.Connection.NewClient()
	if err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	defer client.Close()
	if err := kafka.Probe(ctx, client); err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	listing, err := s.conf.Subscription.List(ctx, client)
	if err == nil && listing.Missing != nil {
		err = listing.Missing
	}
	if err != nil {
		return service.ConnectionTestFailed(err).AsList()
	}
	return service.ConnectionTestSucceeded().AsList()
}
