package input

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/zookeeper"
)

// settings are the fields as they are set, `properties` included. A nil pointer
// or an empty string is not set.
type settings struct {
	topics       kafka.Topics
	subscription kafka.Subscription

	group, assignment, groupProtocol, instanceID, rackID string
	shardIndex, shardCount                               *int
	discovery                                            time.Duration

	zooKeeper zookeeper.Config
	// zooKeeperInherits tells that its user and password are those of sasl.
	zooKeeperInherits bool

	startFrom, offsetReset, stopAt string
	startTimestamp, stopTimestamp  string
	startTime, stopTime            time.Time
	startOffsets, stopOffsets      map[kafka.Partition]int64
	// resetByProperty tells that offsetReset is Java's auto.offset.reset, which
	// also says where a client without a group starts.
	resetByProperty bool
	startOffset     string
	startFromOldest *bool

	isolation                                           string
	sessionTimeout, rebalanceTimeout, heartbeatInterval time.Duration
	fetchMaxBytes, fetchMinBytes                        int64
	fetchMaxPartitionBytes                              int64
	fetchMaxWait, lagPeriod                             time.Duration

	ordering        string
	unordered       *bool
	maxBatchRecords int
	metadata        metadataSelection
	multiHeader     bool
	autoReplayNacks bool
	onBad           string
	deadLetters     string

	commitPeriod *time.Duration
	autoCommit   *bool

	setsCheckpoint               bool
	checkpointInterval, timeout  *time.Duration
	minPause, shutdownTimeout    *time.Duration
	tolerableFailures            *int
	directory, job, savepoints   string
	topic, localCopy             string
	topicPartitions              *int
	commitOffsets                *bool
	retain, restoreFrom          *int
	restart                      restartSettings
	caches                       []string
	batchChecks, batchProcessors []string
}

type restartSettings struct {
	initialBackoff, maxBackoff, resetAfter, window *time.Duration
	multiplier, jitter                             *float64
	maxRestarts                                    *int
}

// parser reads fields and remembers what is wrong with them.
type parser struct {
	conf *service.ParsedConfig
	over kafka.Overrides
	errs []error
}

// parseSettings reads the fields. Its error holds what is wrong with single
// values; contradictions between them are Validate's.
func parseSettings(conf *service.ParsedConfig, over kafka.Overrides) (*settings, error) {
	p := &parser{conf: conf, over: over}
	s := &settings{}
	p.reading(s)
	p.zooKeeper(s)
	p.positions(s)
	p.consumer(s)
	p.messages(s)
	p.legacy(s)
	p.checkpoint(s)
	return s, errors.Join(p.errs...)
}

func (p *parser) reading(s *settings) {
	s.topics.List = p.list(fieldTopics)
	s.topics.Regexp = p.yes(fieldRegexpTopics)
	s.topics.Include = p.list(fieldRegexpInclude)
	s.topics.Exclude = p.list(fieldRegexpExclude)
	var err error
	s.subscription, err = s.topics.Parse()
	p.fault(err)
	s.group = strings.TrimSpace(p.text(fieldGroup))
	s.assignment = p.text(fieldAssignment)
	s.shardIndex = optional(p, p.conf.FieldInt, fieldShard, fieldShardIndex)
	s.shardCount = optional(p, p.conf.FieldInt, fieldShard, fieldShardCount)
	s.groupProtocol = p.text(fieldGroupProtocol)
	s.instanceID = p.text(fieldInstanceID)
	s.rackID = p.text(fieldRackID)
	s.discovery = p.duration(fieldDiscovery)
	s.rebalanceTimeout = p.duration(fieldRebalanceTimeout)
	s.sessionTimeout = p.duration(fieldSessionTimeout)
	s.heartbeatInterval = p.duration(fieldHeartbeatInterval)
}

func (p *parser) positions(s *settings) {
	s.startFrom = p.text(fieldStartFrom)
	s.offsetReset = p.text(fieldOffsetReset)
	_, s.resetByProperty = p.over[fieldOffsetReset]
	s.stopAt = p.text(fieldStopAt)
	s.startTimestamp, s.startTime = p.timestamp(fieldStartTimestamp)
	s.stopTimestamp, s.stopTime = p.timestamp(fieldStopTimestamp)
	s.startOffsets = p.offsets(fieldStartOffsets)
	s.stopOffsets = p.offsets(fieldStopOffsets)
}

func (p *parser) consumer(s *settings) {
	s.isolation = p.text(fieldIsolation)
	s.fetchMaxBytes = p.bytes(fieldFetchMaxBytes)
	s.fetchMinBytes = p.bytes(fieldFetchMinBytes)
	s.fetchMaxPartitionBytes = p.bytes(fieldFetchMaxPartitionBytes)
	s.fetchMaxWait = p.duration(fieldFetchMaxWait)
	s.lagPeriod = p.duration(fieldLagPeriod)
}

func (p *parser) messages(s *settings) {
	s.ordering = p.text(fieldOrdering)
	s.maxBatchRecords = value(optional(p, p.conf.FieldInt, fieldMaxBatchRecords), 0)
	kafka.Override(p.over, fieldMaxBatchRecords, &s.maxBatchRecords)
	s.multiHeader = p.yes(fieldMultiHeader)
	s.autoReplayNacks = p.yes(fieldAutoReplayNacks)
	s.onBad = p.text(fieldOnBad)
	s.deadLetters = strings.TrimSpace(p.text(fieldDeadLetters))
	s.commitPeriod = optional(p, p.conf.FieldDuration, fieldCommitPeriod)
	if period, ok := p.over[fieldCommitPeriod].(time.Duration); ok {
		s.commitPeriod = &period
	}
	if auto, ok := p.over[kafka.EnableAutoCommit].(bool); ok {
		s.autoCommit = &auto
	}
	var err error
	s.metadata, err = selectMetadata(p.list(fieldMetadata))
	p.fault(err)
}

func (p *parser) checkpoint(s *settings) {
	in := func(field ...string) []string { return append([]string{fieldCheckpoint}, field...) }
	s.checkpointInterval = optional(p, p.conf.FieldDuration, in(fieldInterval)...)
	s.timeout = optional(p, p.conf.FieldDuration, in(fieldTimeout)...)
	s.minPause = optional(p, p.conf.FieldDuration, in(fieldMinPause)...)
	s.tolerableFailures = optional(p, p.conf.FieldInt, in(fieldTolerableFailures)...)
	s.directory = value(optional(p, p.conf.FieldString, in(fieldStore, fieldDirectory)...), "")
	s.topic = value(optional(p, p.conf.FieldString, in(fieldStore, fieldStoreTopic)...), "")
	s.topicPartitions = optional(p, p.conf.FieldInt, in(fieldStore, fieldStorePartitions)...)
	s.localCopy = value(optional(p, p.conf.FieldString, in(fieldStore, fieldLocalCopy)...), "")
	s.job = value(optional(p, p.conf.FieldString, in(fieldJob)...), "")
	s.shutdownTimeout = optional(p, p.conf.FieldDuration, in(fieldShutdownTimeout)...)
	s.commitOffsets = optional(p, p.conf.FieldBool, in(fieldCommitOffsets)...)
	s.retain = optional(p, p.conf.FieldInt, in(fieldRetain)...)
	s.restoreFrom = optional(p, p.conf.FieldInt, in(fieldRestoreFrom)...)
	s.savepoints = value(optional(p, p.conf.FieldString, in(fieldSavepoints)...), "")
	s.caches = value(optional(p, p.conf.FieldStringList, in(fieldCaches)...), nil)
	s.restart = restartSettings{
		initialBackoff: optional(p, p.conf.FieldDuration, in(fieldRestart, fieldInitialBackoff)...),
		maxBackoff:     optional(p, p.conf.FieldDuration, in(fieldRestart, fieldMaxBackoff)...),
		multiplier:     optional(p, p.conf.FieldFloat, in(fieldRestart, fieldMultiplier)...),
		jitter:         optional(p, p.conf.FieldFloat, in(fieldRestart, fieldJitter)...),
		resetAfter:     optional(p, p.conf.FieldDuration, in(fieldRestart, fieldResetAfter)...),
		maxRestarts:    optional(p, p.conf.FieldInt, in(fieldRestart, fieldMaxRestarts)...),
		window:         optional(p, p.conf.FieldDuration, in(fieldRestart, fieldWindow)...),
	}
	// commit_offsets is a matter of this input, not of the stream's checkpoints.
	s.setsCheckpoint = s.checkpointInterval != nil || s.timeout != nil || s.minPause != nil || s.tolerableFailures != nil ||
		s.directory != "" || s.topic != "" || s.topicPartitions != nil || s.localCopy != "" || s.job != "" || s.shutdownTimeout != nil || s.retain != nil || s.restoreFrom != nil ||
		s.savepoints != "" ||
		s.restart != restartSettings{}
}

// legacy reads Redpanda Connect's fields that are something else here.
func (p *parser) legacy(s *settings) {
	s.startOffset = p.text(fieldStartOffset)
	s.startFromOldest = optional(p, p.conf.FieldBool, fieldStartFromOldest)
	s.unordered = optional(p, p.conf.FieldBool, fieldUnordered, fieldUnorderedEnabled)
	for _, path := range [][]string{{fieldBatching}, {fieldUnordered, fieldUnorderedBatching}} {
		if p.conf.Contains(path...) {
			p.batching(s, path)
		}
	}
}

func (p *parser) batching(s *settings, path []string) {
	name := strings.Join(path, ".")
	if n := value(optional(p, p.conf.FieldInt, append(path[:len(path):len(path)], "count")...), 0); n > 0 {
		s.maxBatchRecords = n
	}
	if check := optional(p, p.conf.FieldString, append(path[:len(path):len(path)], "check")...); value(check, "") != "" {
		s.batchChecks = append(s.batchChecks, name)
	}
	processors, err := p.conf.FieldAnyList(append(path[:len(path):len(path)], "processors")...)
	if err == nil && len(processors) > 0 {
		s.batchProcessors = append(s.batchProcessors, name)
	}
}

func (p *parser) fault(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

// optional reads a field that may not be set.
func optional[T any](p *parser, read func(...string) (T, error), path ...string) *T {
	if !p.conf.Contains(path...) {
		return nil
	}
	v, err := read(path...)
	if err != nil {
		p.fault(fmt.Errorf("%s: %w", strings.Join(path, "."), err))
		return nil
	}
	return &v
}

func (p *parser) text(field string) string {
	v := value(optional(p, p.conf.FieldString, field), "")
	kafka.Override(p.over, field, &v)
	return v
}

func (p *parser) yes(field string) bool {
	return value(optional(p, p.conf.FieldBool, field), false)
}

func (p *parser) list(field string) []string {
	return value(optional(p, p.conf.FieldStringList, field), nil)
}

func (p *parser) duration(field string) time.Duration {
	v := value(optional(p, p.conf.FieldDuration, field), 0)
	kafka.Override(p.over, field, &v)
	return v
}

func (p *parser) bytes(field string) int64 {
	text := value(optional(p, p.conf.FieldString, field), "")
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<30 {
		p.fault(fmt.Errorf("%s: %q is not a size of at most 1GiB, such as 50MiB", field, text))
	}
	v := int64(n)
	kafka.Override(p.over, field, &v)
	return v
}
