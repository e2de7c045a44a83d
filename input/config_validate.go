package input

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Validate reports every contradiction between fields together. The lint rule
// finds the same in a file.
func (s *settings) Validate() error {
	return errors.Join(slices.Concat(
		s.assignmentFaults(), s.startFaults(), s.legacyFaults(), s.stopFaults(),
		s.rangeFaults(), s.badRecordFaults(), s.checkpointFaults(), s.restartFaults(), s.commitFaults(), s.zooKeeperFaults(),
	)...)
}

// faults collects messages.
type faults []error

func (f *faults) when(wrong bool, format string, args ...any) {
	if wrong {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (s *settings) assignmentFaults() (f faults) {
	if s.assignment == assignmentGroup {
		f.when(s.group == "", "assignment is group, but consumer_group is not set: set it, or use static")
		f.when(s.subscription.Explicit(), "assignment is group, but topics names partitions (%v): use static, or name whole topics", s.subscription.Partitions)
		f.when(s.shardCount != nil, "assignment is group, but shard is set: use static, or remove shard")
		f.when(s.directory != "", "assignment is group, but checkpoint.store.directory is %q, which one process uses alone: use static, or remove the store", s.directory)
	}
	f.when(s.assignment != "" && s.assignment != assignmentGroup && s.assignment != assignmentStatic,
		"assignment is %q: use group or static", s.assignment)
	f.when(s.groupProtocol != protocolClassic && s.groupProtocol != protocolConsumer, "group_protocol is %q: use classic or consumer", s.groupProtocol)
	f.when(s.groupProtocol == protocolConsumer && s.static() && s.assignment != assignmentGroup,
		"group_protocol is consumer, but with static assignment there is no member of a group: remove it")
	index, count := value(s.shardIndex, 0), value(s.shardCount, 0)
	f.when(s.shardIndex == nil != (s.shardCount == nil), "shard needs both index and count")
	f.when(s.shardCount != nil && count < 1, "shard.count is %d: use 1 or more", count)
	f.when(s.shardCount != nil && count >= 1 && (index < 0 || index >= count), "shard.index is %d: use 0 to %d, one less than shard.count", index, count-1)
	f.when(s.isolation != "read_committed" && s.isolation != "read_uncommitted",
		"transaction_isolation_level is %q: use read_committed or read_uncommitted", s.isolation)
	return f
}

func (s *settings) startFaults() (f faults) {
	places := []string{"", "group_offsets", "earliest", "latest", "timestamp", "offsets"}
	f.when(!slices.Contains(places, s.startFrom), "start_from is %q: use group_offsets, earliest, latest, timestamp or offsets", s.startFrom)
	f.when(!slices.Contains([]string{"", "earliest", "latest", "none"}, s.offsetReset), "offset_reset is %q: use earliest, latest or none", s.offsetReset)
	f.when(s.startFrom == "group_offsets" && s.group == "", "start_from is group_offsets, but consumer_group is not set: set it, or start elsewhere")
	f.when(s.startFrom == "timestamp" && s.startTimestamp == "", "start_from is timestamp, but start_timestamp is not set: set it")
	f.when(s.startFrom != "timestamp" && s.startTimestamp != "", "start_timestamp is %q, but start_from is %s: set start_from to timestamp, or remove start_timestamp",
		s.startTimestamp, unset(s.startFrom))
	f.when(s.startFrom == "offsets" && len(s.startOffsets) == 0 && len(s.subscription.Offsets) == 0, "start_from is offsets, but start_offsets is empty: list offsets")
	f.when(s.startFrom != "offsets" && len(s.startOffsets) > 0, "start_offsets is set, but start_from is %s: set start_from to offsets, or remove start_offsets", unset(s.startFrom))
	if len(s.subscription.Offsets) > 0 {
		f.when(s.startFrom != "" && s.startFrom != "offsets", "topics names offsets to start from, but start_from is %s: remove one of them", unset(s.startFrom))
		f.when(len(s.startOffsets) > 0, "topics names offsets to start from, and start_offsets is set: keep one of them")
	}
	for p := range s.startOffsets {
		f.when(!s.subscription.Covers(p), "start_offsets lists %v, which topics does not: correct one of them", p)
	}
	for p := range s.stopOffsets {
		f.when(!s.subscription.Covers(p), "stop_offsets lists %v, which topics does not: correct one of them", p)
	}
	return f
}

func (s *settings) legacyFaults() (f faults) {
	ours := s.startFrom != "" || s.offsetReset != "" && !s.resetByProperty
	f.when(s.startOffset != "" && ours, "start_offset is %q, and start_from or offset_reset is set, which replace it: remove start_offset", s.startOffset)
	f.when(s.startFromOldest != nil && ours, "start_from_oldest and start_from or offset_reset, which replace it, are set: remove start_from_oldest")
	f.when(s.startFromOldest != nil && !*s.startFromOldest && s.startOffset == "earliest", "start_from_oldest is false, but start_offset is earliest: remove start_from_oldest")
	f.when(s.startOffset == "committed" && s.group == "", "start_offset is committed, but consumer_group is not set: set it, or start elsewhere")
	f.when(!slices.Contains([]string{"", "earliest", "latest", "committed"}, s.startOffset), "start_offset is %q: use earliest, latest or committed", s.startOffset)
	f.when(!slices.Contains([]string{"", orderingPartition, orderingNone}, s.ordering), "ordering is %q: use partition or none", s.ordering)
	f.when(s.unordered != nil && *s.unordered && s.ordering == orderingPartition,
		"unordered_processing.enabled is true, but ordering is partition: remove unordered_processing")
	f.when(s.unordered != nil && !*s.unordered && s.ordering == orderingNone,
		"unordered_processing.enabled is false, but ordering is none: remove unordered_processing")
	for _, name := range s.batchChecks {
		f.when(true, "%s.check is set: batches are not held back here, remove it", name)
	}
	for _, name := range s.batchProcessors {
		f.when(true, "%s.processors is set: move them to input.processors", name)
	}
	return f
}

func (s *settings) stopFaults() (f faults) {
	places := []string{"", "group_offsets", "latest", "timestamp", "offsets"}
	f.when(!slices.Contains(places, s.stopAt), "stop_at is %q: use latest, group_offsets, timestamp or offsets", s.stopAt)
	f.when(s.stopAt == "group_offsets" && s.group == "", "stop_at is group_offsets, but consumer_group is not set: set it, or stop elsewhere")
	f.when(s.stopAt == "timestamp" && s.stopTimestamp == "", "stop_at is timestamp, but stop_timestamp is not set: set it")
	f.when(s.stopAt != "timestamp" && s.stopTimestamp != "", "stop_timestamp is %q, but stop_at is %s: set stop_at to timestamp, or remove stop_timestamp",
		s.stopTimestamp, unset(s.stopAt))
	f.when(s.stopAt == "offsets" && len(s.stopOffsets) == 0, "stop_at is offsets, but stop_offsets is empty: list offsets")
	f.when(s.stopAt != "offsets" && len(s.stopOffsets) > 0, "stop_offsets is set, but stop_at is %s: set stop_at to offsets, or remove stop_offsets", unset(s.stopAt))
	return f
}

// topicName is what a broker accepts as the name of a topic.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// wire is the longest time that fits into a request, in milliseconds.
const wire = time.Duration(1<<31-1) * time.Millisecond

func (s *settings) rangeFaults() (f faults) {
	between := func(field string, v, least, most time.Duration) {
		f.when(v < least || v > most, "%s is %v: use a value from %v to %v", field, v, least, most)
	}
	between(fieldSessionTimeout, s.sessionTimeout, 100*time.Millisecond, wire)
	between(fieldRebalanceTimeout, s.rebalanceTimeout, 100*time.Millisecond, wire)
	f.when(s.heartbeatInterval <= 0 || s.heartbeatInterval >= s.sessionTimeout,
		"heartbeat_interval is %v: use a third of session_timeout (%v) or less", s.heartbeatInterval, s.sessionTimeout)
	between(fieldFetchMaxWait, s.fetchMaxWait, 10*time.Millisecond, wire)
	between(fieldLagPeriod, s.lagPeriod, 10*time.Millisecond, 24*time.Hour)
	f.when(s.fetchMaxBytes < 1 || s.fetchMaxBytes > 1<<30, "fetch_max_bytes is %d: use 1B to 1GiB", s.fetchMaxBytes)
	f.when(s.fetchMaxPartitionBytes < 1 || s.fetchMaxPartitionBytes > 1<<30, "fetch_max_partition_bytes is %d: use 1B to 1GiB", s.fetchMaxPartitionBytes)
	f.when(s.fetchMinBytes < 0 || s.fetchMinBytes > s.fetchMaxBytes, "fetch_min_bytes is %d: use at most fetch_max_bytes (%d)", s.fetchMinBytes, s.fetchMaxBytes)
	f.when(s.maxBatchRecords < 1, "max_batch_records is %d: use 1 or more", s.maxBatchRecords)
	f.when(len(s.rackID) > 512, "rack_id is %d bytes long: use at most 512", len(s.rackID))
	return f
}

func (s *settings) checkpointFaults() (f faults) {
	f.when(value(s.checkpointInterval, 0) < 0, "checkpoint.interval is %v: use 0s for no checkpoints, or more", value(s.checkpointInterval, 0))
	f.when(value(s.timeout, 1) <= 0, "checkpoint.timeout is %v: use more than 0s", value(s.timeout, 0))
	f.when(value(s.minPause, 0) < 0, "checkpoint.min_pause is %v: use 0s or more", value(s.minPause, 0))
	f.when(value(s.tolerableFailures, 0) < -1, "checkpoint.tolerable_failures is %d: use -1 for any number, or more", value(s.tolerableFailures, 0))
	f.when(value(s.shutdownTimeout, 1) <= 0, "checkpoint.shutdown_timeout is %v: use more than 0s", value(s.shutdownTimeout, 0))
	f.when(len(s.job) > 249, "checkpoint.job is %d bytes long: use at most 249", len(s.job))
	f.when(value(s.retain, 1) < 1, "checkpoint.retain is %d: use 1 or more", value(s.retain, 1))
	f.when(value(s.retain, 1) > 1 && s.directory == "", "checkpoint.retain is %d, but checkpoint.store.directory is not set: a group keeps one checkpoint, set the directory", value(s.retain, 1))
	f.when(value(s.restoreFrom, 0) < 0, "checkpoint.restore_from is %d: use the number of a checkpoint", value(s.restoreFrom, 0))
	f.when(value(s.restoreFrom, 0) > 0 && s.directory == "", "checkpoint.restore_from is %d, but checkpoint.store.directory is not set: set it to the store that has the checkpoint", value(s.restoreFrom, 0))
	none := s.checkpointInterval != nil && *s.checkpointInterval == 0
	f.when(s.directory != "" && none, "checkpoint.interval is 0s, so nothing is kept in checkpoint.store.directory %q: set an interval, or remove the store", s.directory)
	f.when(s.topic != "" && none, "checkpoint.interval is 0s, so nothing is kept in checkpoint.store.topic %q: set an interval, or remove the store", s.topic)
	f.when(s.topic != "" && s.directory != "", "checkpoint.store has both directory (%q) and topic (%q): keep one of them", s.directory, s.topic)
	f.when(s.topic != "" && !topicName.MatchString(s.topic), "checkpoint.store.topic is %q: use letters, digits, `.`, `_` and `-`, 249 at most", s.topic)
	f.when(s.topic != "" && s.reads(s.topic), "checkpoint.store.topic is %q, which the input reads itself: use a topic of its own, or leave it out of what is read", s.topic)
	f.when(s.topic == "" && (s.topicPartitions != nil || s.localCopy != ""), "checkpoint.store sets partitions or local_copy, but topic is not set: set it, or remove them")
	f.when(value(s.topicPartitions, 1) < 1, "checkpoint.store.partitions is %d: use 1 or more", value(s.topicPartitions, 1))
	f.when(s.topic != "" && !s.autoReplayNacks, "auto_replay_nacks is false, but checkpoint.store.topic is %q: messages that are dropped cannot be taken back with the state, remove one of them", s.topic)
	f.when(s.savepoints != "" && s.interval() == 0, "checkpoint.savepoint_directory is %s, but there are no checkpoints: set checkpoint.interval and a consumer_group or checkpoint.store.directory, or remove it", s.savepoints)
	f.when(s.directory != "" && !s.autoReplayNacks, "auto_replay_nacks is false, but checkpoint.store.directory is %q: messages that are dropped cannot be taken back with the state, remove one of them", s.directory)
	return f
}

func (s *settings) badRecordFaults() (f faults) {
	f.when(!slices.Contains([]string{string(onBadFail), string(onBadSkip), string(onBadFlag), string(onBadDeadLetter)}, s.onBad),
		"on_bad_record is %q: use fail, skip, flag or dead_letter", s.onBad)
	f.when(s.onBad == string(onBadDeadLetter) && s.deadLetters == "", "on_bad_record is dead_letter, but dead_letter_topic is not set: set it")
	f.when(s.onBad != string(onBadDeadLetter) && s.deadLetters != "",
		"dead_letter_topic is %q, but on_bad_record is %s: set on_bad_record to dead_letter, or remove dead_letter_topic", s.deadLetters, s.onBad)
	f.when(s.deadLetters != "" && !topicName.MatchString(s.deadLetters),
		"dead_letter_topic is %q: use letters, digits, `.`, `_` and `-`, 249 at most", s.deadLetters)
	f.when(s.deadLetters != "" && s.reads(s.deadLetters),
		"dead_letter_topic is %q, which the input reads itself: use another topic, or leave it out of what is read", s.deadLetters)
	return f
}

// reads tells whether any partition of a topic would be read.
func (s *settings) reads(topic string) bool {
	return s.subscription.Covers(kafka.Partition{Topic: topic}) ||
		slices.ContainsFunc(s.subscription.Partitions, func(p kafka.Partition) bool { return p.Topic == topic })
}

func (s *settings) restartFaults() (f faults) {
	c := s.restart.config()
	f.when(c.InitialBackoff <= 0, "checkpoint.restart.initial_backoff is %v: use more than 0s", c.InitialBackoff)
	f.when(c.MaxBackoff < c.InitialBackoff, "checkpoint.restart.max_backoff is %v, less than initial_backoff (%v): raise it", c.MaxBackoff, c.InitialBackoff)
	f.when(c.Multiplier < 1, "checkpoint.restart.multiplier is %v: use 1 or more", c.Multiplier)
	f.when(c.Jitter < 0 || c.Jitter > 1, "checkpoint.restart.jitter is %v: use 0 to 1", c.Jitter)
	f.when(c.ResetAfter < 0, "checkpoint.restart.reset_after is %v: use 0s or more", c.ResetAfter)
	f.when(c.MaxRestarts < 0, "checkpoint.restart.max_restarts is %d: use 0 for no limit, or more", c.MaxRestarts)
	f.when(c.Window <= 0, "checkpoint.restart.window is %v: use more than 0s", c.Window)
	return f
}

// commitFaults is about who keeps positions: without a store that is the group.
func (s *settings) commitFaults() (f faults) {
	commits := value(s.commitOffsets, true)
	f.when(s.commitOffsets != nil && commits && s.group == "", "checkpoint.commit_offsets is true, but consumer_group is not set: set it")
	f.when(s.group != "" && !commits && !s.stored() && s.interval() > 0,
		"checkpoint.commit_offsets is false and checkpoint.store.directory is not set, so positions are kept nowhere: set the directory, or checkpoint.interval to 0s")
	f.when(value(s.commitPeriod, 0) < 0, "commit_period is %v: use 0s for never, or more", value(s.commitPeriod, 0))
	auto := value(s.autoCommit, false)
	f.when(auto && s.group == "", "properties: enable.auto.commit is true, but consumer_group is not set: set it")
	f.when(auto && s.group != "" && s.interval() > 0,
		"properties: enable.auto.commit is true, but checkpoints commit: remove it, or set checkpoint.interval to 0s")
	f.when(auto && !commits, "properties: enable.auto.commit is true, but checkpoint.commit_offsets is false: remove one of them")
	return f
}

// unset prints a value for a message about another field.
func unset(v string) string {
	if v == "" {
		return "not set"
	}
	return v
}
