package input

import (
	"errors"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/formats"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/zookeeper"
)

// Defaults that depend on nothing else.
const (
	defaultMaxBatchRecords = 1000
	defaultInterval        = time.Second
	defaultTimeout         = 30 * time.Second
	defaultShutdownTimeout = 10 * time.Second
	defaultCommitPeriod    = 5 * time.Second
)

// Config is what a configuration comes down to: every default is in place, what
// is deprecated is mapped, and nothing contradicts anything else.
type Config struct {
	Connection kafka.Connection
	// Consumer holds the options of the client that reads, those of a group member
	// included if it is one.
	Consumer []kgo.Opt
	// Subscription is what is read.
	Subscription kafka.Subscription
	// Group is committed to, and joined unless Static; empty = none.
	Group string
	// GroupProtocol is "classic" or "consumer".
	GroupProtocol string
	// Static tells that this process chooses its partitions by itself.
	Static bool
	// RebalanceTimeout is what a revoke may take, SessionTimeout how long the group hears
	// nothing from a member until it gives it up.
	RebalanceTimeout, SessionTimeout time.Duration
	// FetchMaxPartitionBytes bounds what is sent of a partition at a time.
	FetchMaxPartitionBytes int64
	// ZooKeeper keeps the group's offsets, if Connect is set.
	ZooKeeper zookeeper.Config
	// Requirements are what brokers have to be able to do.
	Requirements []kafka.Requirement
	// Discovery is how often to look for new partitions; 0 = never.
	Discovery time.Duration
	Isolation kafka.Isolation
	// Start is where the first run begins, with the policy for positions that the
	// log does not hold; Stop is where a bounded run ends.
	Start kafka.Start
	Stop  kafka.Stop
	// Ordered tells that one batch of a partition is under way at a time.
	Ordered bool
	// MaxBatchRecords is at least 1.
	MaxBatchRecords int
	Metadata        metadataSelection
	// Format is how records are read, OnBad what becomes of those that cannot be, and
	// DeadLetters the topic that takes them, if one does.
	Format      formats.Reading
	OnBad       onBad
	DeadLetters string
	// MultiHeader makes lists of all values of the metadata of headers.
	MultiHeader bool
	// AutoReplayNacks is false if rejected messages are dropped.
	AutoReplayNacks bool
	// LagPeriod is how often lag is measured.
	LagPeriod time.Duration
	// CommitOffsets tells that offsets are committed to Group.
	CommitOffsets bool
	// CommitPeriod is how often, with checkpoints off; 0 = never.
	CommitPeriod time.Duration
	Checkpoint   checkpoint.Config
	// Caches are labels of caches that belong to the stream.
	Caches []string
	// Forgetful: without checkpoints positions are kept nowhere.
	Forgetful bool
}

// ParseConfig reads a configuration. It reports all faults together, each with
// its field, value and remedy.
func ParseConfig(conf *service.ParsedConfig, res *service.Resources) (Config, error) {
	over, err := connection.Overrides(conf, kafka.Consumer)
	if err != nil {
		return Config{}, err
	}
	conn, connErr := connection.Parse(conf, res, over)
	format, formatErr := formats.ParseReading(conf, conn.Credentials)
	s, parseErr := parseSettings(conf, over)
	var faults []error
	if parseErr == nil {
		faults = append(faults, s.inherit(conn.Credentials), s.Validate(), conn.Brokers.Meet(s.requirements()...))
	}
	if err := errors.Join(append([]error{connErr, formatErr, parseErr}, faults...)...); err != nil {
		return Config{}, fmt.Errorf("%s: %w", Name, err)
	}
	c := s.config(conn)
	c.Format = format
	return c, nil
}

// config derives what runs from valid settings.
func (s *settings) config(conn kafka.Connection) Config {
	conn.Rack = s.rackID
	c := Config{
		Subscription: s.subscription, Group: s.group, GroupProtocol: s.groupProtocol, Static: s.static(),
		RebalanceTimeout: s.rebalanceTimeout, SessionTimeout: s.sessionTimeout,
		ZooKeeper: s.zooKeeper, FetchMaxPartitionBytes: s.fetchMaxPartitionBytes, Requirements: s.requirements(), Discovery: max(s.discovery, 0), Isolation: s.isolation == "read_committed",
		Start: s.start(), Stop: s.stop(), Ordered: s.ordered(), MaxBatchRecords: s.maxBatchRecords,
		Metadata: s.metadata, MultiHeader: s.multiHeader, AutoReplayNacks: s.autoReplayNacks, LagPeriod: s.lagPeriod,
		OnBad: onBad(s.onBad), DeadLetters: s.deadLetters,
		Checkpoint: s.checkpoints(), Caches: s.caches, Forgetful: s.group == "" && !s.stored(),
	}
	c.CommitOffsets = s.commits()
	if c.CommitOffsets {
		c.CommitPeriod = s.period()
	}
	// A member of a group learns of new partitions when its client asks for
	// metadata, and from nobody else.
	if !c.Static && c.Discovery > 0 && !c.Stop.Bounded() {
		conn.MetadataMaxAge = min(conn.MetadataMaxAge, c.Discovery)
	}
	c.Connection, c.Consumer = conn, s.options()
	return c
}

// options returns the client options of the consumer.
func (s *settings) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.FetchMaxBytes(int32(s.fetchMaxBytes)),
		kgo.FetchMinBytes(int32(s.fetchMinBytes)),
		kgo.FetchMaxPartitionBytes(int32(s.fetchMaxPartitionBytes)),
		kgo.FetchMaxWait(s.fetchMaxWait),
		// What a broker may send must fit, with room for what frames it.
		kgo.BrokerMaxReadBytes(int32(min(max(2*s.fetchMaxBytes, 100<<20), 1<<30))),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
	}
	if s.isolation == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if s.static() {
		return opts
	}
	opts = append(opts,
		kgo.SessionTimeout(s.sessionTimeout),
		kgo.RebalanceTimeout(s.rebalanceTimeout),
		kgo.HeartbeatInterval(s.heartbeatInterval),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
	)
	if s.instanceID != "" {
		opts = append(opts, kgo.InstanceID(s.instanceID))
	}
	if s.groupProtocol == protocolConsumer {
		opts = append(opts, kgo.ServerSideBalancer())
	}
	return opts
}

// static tells the effective assignment.
func (s *settings) static() bool {
	if s.assignment != "" {
		return s.assignment == assignmentStatic
	}
	return s.group == "" || s.subscription.Explicit() || s.shardCount != nil || s.directory != "" || s.zooKeeper.Connect != ""
}

func (s *settings) ordered() bool {
	if s.unordered != nil {
		return !*s.unordered
	}
	return s.ordering != orderingNone
}

// start derives where to start, from our fields or from Connect's.
func (s *settings) start() kafka.Start {
	start := kafka.Start{
		From: kafka.Where(s.startFrom), Timestamp: s.startTime, Offsets: s.startOffsets, Reset: kafka.Reset(s.offsetReset),
	}
	if legacy := s.legacyReset(); legacy != "" {
		start.Reset = legacy
	}
	if start.Reset == "" {
		start.Reset = kafka.ResetEarliest
	}
	if len(s.subscription.Offsets) > 0 {
		start.From, start.Offsets = kafka.AtOffsets, s.subscription.Offsets
	}
	if start.From != "" {
		return start
	}
	start.From = kafka.GroupOffsets
	if s.group == "" {
		start.From = kafka.Earliest
		if start.Reset == kafka.ResetLatest && (s.legacyReset() != "" || s.resetByProperty) {
			start.From = kafka.Latest
		}
	}
	return start
}

// legacyReset is what start_offset or start_from_oldest ask for.
func (s *settings) legacyReset() kafka.Reset {
	switch {
	case s.resetByProperty:
		return ""
	case s.startOffset == "committed":
		return kafka.ResetNone
	case s.startOffset != "":
		return kafka.Reset(s.startOffset)
	case s.startFromOldest == nil:
		return ""
	case *s.startFromOldest:
		return kafka.ResetEarliest
	}
	return kafka.ResetLatest
}

func (s *settings) stop() kafka.Stop {
	return kafka.Stop{At: kafka.Where(s.stopAt), Timestamp: s.stopTime, Offsets: s.stopOffsets}
}

// interval is the effective one: without a place for positions there is nothing
// to checkpoint.
func (s *settings) interval() time.Duration {
	if s.group == "" && !s.stored() {
		return 0
	}
	return value(s.checkpointInterval, defaultInterval)
}

// stored tells that there is a store, so that a group's offsets are not the checkpoint.
func (s *settings) stored() bool { return s.directory != "" || s.topic != "" }

// period is how often to commit with checkpoints off.
func (s *settings) period() time.Duration {
	if s.autoCommit != nil && !*s.autoCommit {
		return 0
	}
	return value(s.commitPeriod, defaultCommitPeriod)
}

func (s *settings) commits() bool {
	if s.group == "" || !value(s.commitOffsets, true) {
		return false
	}
	return s.interval() > 0 || s.period() > 0
}

func (s *settings) checkpoints() checkpoint.Config {
	c := checkpoint.Config{
		Interval: s.interval(), Timeout: value(s.timeout, defaultTimeout), MinPause: value(s.minPause, 0),
		TolerableFailures: value(s.tolerableFailures, -1), ShutdownTimeout: value(s.shutdownTimeout, defaultShutdownTimeout),
		Restart: s.restart.config(), Directory: s.directory, Topic: s.topic, TopicPartitions: value(s.topicPartitions, 0), LocalCopy: s.localCopy, Job: s.job, Group: s.group, Instance: s.instanceID, Retain: value(s.retain, 1),
		RestoreFrom: checkpoint.ID(value(s.restoreFrom, 0)), Static: s.static(), Sets: s.setsCheckpoint,
		SavepointDirectory: s.savepoints,
	}
	if s.shardCount != nil {
		c.Shard = checkpoint.Shard{Index: value(s.shardIndex, 0), Count: *s.shardCount}
	}
	for _, p := range s.subscription.Partitions {
		c.Partitions = append(c.Partitions, p.String())
	}
	return c
}

func (r *restartSettings) config() checkpoint.Restart {
	d := checkpoint.DefaultRestart
	return checkpoint.Restart{
		InitialBackoff: value(r.initialBackoff, d.InitialBackoff), MaxBackoff: value(r.maxBackoff, d.MaxBackoff),
		Multiplier: value(r.multiplier, d.Multiplier), Jitter: value(r.jitter, d.Jitter),
		ResetAfter: value(r.resetAfter, d.ResetAfter), MaxRestarts: value(r.maxRestarts, d.MaxRestarts),
		Window: value(r.window, d.Window),
	}
}

// value is what v points to, or def where nothing is set.
func value[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}
