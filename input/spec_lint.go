package input

import (
	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/formats"
)

// lintRule finds in a file what Validate finds when the component is built. Values
// from the environment are in place when it runs; fields without a default are
// null where they are not set. It uses core functions only: a build need not
// import the packages that have others, such as parse_duration.
const lintRule = `
let group = this.properties."group.id".or(this.consumer_group).or("").string().trim()
let store = this.checkpoint.store.directory.or("").string()
let kept = this.checkpoint.store.topic.or("").string()
let zookeeper = this.zookeeper_connect.or("").string().trim()
let topics = this.topics.or([]).map_each(t -> t.string())
let include = this.regexp_topics_include.or([])
let patterns = this.regexp_topics.or(false) || $include.length() > 0
let partitions = !$patterns && $topics.any(t -> t.contains(":"))
let offsets = !$patterns && $topics.join(",").split(",").any(t -> t.split(":").length() == 3)
let partition = "^[a-zA-Z0-9._*+-]+:[0-9]+(-[0-9]+)?(:[0-9]+)?$"
let start = this.start_from.or("")
let stop = this.stop_at.or("")
let zero = this.checkpoint.interval.or("1s").string().re_match("^[+-]?0+([.]0*)?(ns|us|ms|s|m|h)?$")
let checkpoints = ($group != "" || $store != "" || $kept != "") && !$zero
let static = if this.assignment != null { this.assignment == "static" } else { $group == "" || $partitions || this.shard.count != null || $store != "" || $zookeeper != "" }
` + connection.LintLets + `root = [` + connection.LintRules + `
  if $topics.filter(t -> t.trim() != "").length() == 0 && $include.length() == 0 {
    "topics is empty: name at least one topic, or set regexp_topics_include"
  },
  if $topics.length() > 0 && $include.length() > 0 {
    "topics and regexp_topics_include are both set: use one of them"
  },
  if this.regexp_topics_exclude.or([]).length() > 0 && !$patterns {
    "regexp_topics_exclude is set without patterns: set regexp_topics_include as well"
  },
  if $patterns && ($topics.any(t -> t.re_match($partition)) || $include.any(t -> t.re_match($partition))) {
    "a partition is named among patterns: list it in topics without patterns"
  },
  if $kafka < 900 && !$static {
    "assignment is group, which needs brokers of version 0.9 or newer, and kafka_version is %v: set assignment to static".format(this.kafka_version)
  },
  if $kafka < 1001 && $start == "timestamp" {
    "start_from is timestamp, which needs brokers of version 0.10.1 or newer, and kafka_version is %v: use offsets, or start elsewhere".format(this.kafka_version)
  },
  if $kafka < 1001 && $stop == "timestamp" {
    "stop_at is timestamp, which needs brokers of version 0.10.1 or newer, and kafka_version is %v: use offsets, or stop elsewhere".format(this.kafka_version)
  },
  if $kafka < 20300 && this.instance_id.or("") != "" && !$static {
    "instance_id is %v, which needs brokers of version 2.3 or newer, and kafka_version is %v: remove it".format(this.instance_id, this.kafka_version)
  },
  if $kafka < 20500 && $kept != "" {
    "checkpoint.store.topic is set, which needs brokers of version 2.5 or newer, and kafka_version is %v: use checkpoint.store.directory, or none".format(this.kafka_version)
  },
  if $kafka < 40000 && this.group_protocol == "consumer" {
    "group_protocol is consumer, which needs brokers of version 4.0 or newer, and kafka_version is %v: use classic".format(this.kafka_version)
  },
  if this.assignment == "group" && $group == "" {
    "assignment is group, but consumer_group is not set: set it, or use static"
  },
  if this.assignment == "group" && $partitions {
    "assignment is group, but topics names partitions: use static, or name whole topics"
  },
  if this.assignment == "group" && this.shard.count != null {
    "assignment is group, but shard is set: use static, or remove shard"
  },
  if this.assignment == "group" && $store != "" {
    "assignment is group, but checkpoint.store.directory is %v, which one process uses alone: use static, or remove the store".format($store)
  },
  if this.group_protocol == "consumer" && $static {
    "group_protocol is consumer, but with static assignment there is no member of a group: remove it"
  },
  if (this.shard.index == null) != (this.shard.count == null) {
    "shard needs both index and count"
  },
  if this.shard.count != null && this.shard.count.number() < 1 {
    "shard.count is %v: use 1 or more".format(this.shard.count)
  },
  if this.shard.count != null && this.shard.index != null && this.shard.count.number() >= 1 && (this.shard.index.number() < 0 || this.shard.index.number() >= this.shard.count.number()) {
    "shard.index is %v: use 0 to %v, one less than shard.count".format(this.shard.index, this.shard.count.number() - 1)
  },
` + zooKeeperLints + positionLints + badRecordLints + checkpointLints + formats.LintRules + `
]`

const badRecordLints = `
  if this.on_bad_record.or("fail") == "dead_letter" && this.dead_letter_topic.or("").string().trim() == "" {
    "on_bad_record is dead_letter, but dead_letter_topic is not set: set it"
  },
  if this.on_bad_record.or("fail") != "dead_letter" && this.dead_letter_topic.or("").string().trim() != "" {
    "dead_letter_topic is %v, but on_bad_record is %v: set on_bad_record to dead_letter, or remove dead_letter_topic".format(this.dead_letter_topic, this.on_bad_record.or("fail"))
  },
  if this.dead_letter_topic.or("").string().trim() != "" && !$patterns && $topics.join(",").split(",").any(t -> t.trim().split(":").index(0) == this.dead_letter_topic.string().trim()) {
    "dead_letter_topic is one of the topics that are read: use another topic"
  },
`

const positionLints = `
  if $start == "group_offsets" && $group == "" {
    "start_from is group_offsets, but consumer_group is not set: set it, or start elsewhere"
  },
  if $start == "timestamp" && this.start_timestamp.or("").string() == "" {
    "start_from is timestamp, but start_timestamp is not set: set it"
  },
  if $start != "timestamp" && this.start_timestamp.or("").string() != "" {
    "start_timestamp is set, but start_from is not timestamp: set start_from to timestamp, or remove start_timestamp"
  },
  if $start == "offsets" && this.start_offsets.or({}).length() == 0 && !$offsets {
    "start_from is offsets, but start_offsets is empty: list offsets"
  },
  if $start != "offsets" && this.start_offsets.or({}).length() > 0 {
    "start_offsets is set, but start_from is not offsets: set start_from to offsets, or remove start_offsets"
  },
  if $offsets && $start != "" && $start != "offsets" {
    "topics names offsets to start from, but start_from is %v: remove one of them".format($start)
  },
  if $offsets && this.start_offsets.or({}).length() > 0 {
    "topics names offsets to start from, and start_offsets is set: keep one of them"
  },
  if this.start_offset != null && ($start != "" || this.offset_reset != null) {
    "start_offset is %v, and start_from or offset_reset is set, which replace it: remove start_offset".format(this.start_offset)
  },
  if this.start_from_oldest != null && ($start != "" || this.offset_reset != null) {
    "start_from_oldest and start_from or offset_reset, which replace it, are set: remove start_from_oldest"
  },
  if this.start_from_oldest == false && this.start_offset == "earliest" {
    "start_from_oldest is false, but start_offset is earliest: remove start_from_oldest"
  },
  if this.start_offset == "committed" && $group == "" {
    "start_offset is committed, but consumer_group is not set: set it, or start elsewhere"
  },
  if $stop == "group_offsets" && $group == "" {
    "stop_at is group_offsets, but consumer_group is not set: set it, or stop elsewhere"
  },
  if $stop == "timestamp" && this.stop_timestamp.or("").string() == "" {
    "stop_at is timestamp, but stop_timestamp is not set: set it"
  },
  if $stop != "timestamp" && this.stop_timestamp.or("").string() != "" {
    "stop_timestamp is set, but stop_at is not timestamp: set stop_at to timestamp, or remove stop_timestamp"
  },
  if $stop == "offsets" && this.stop_offsets.or({}).length() == 0 {
    "stop_at is offsets, but stop_offsets is empty: list offsets"
  },
  if $stop != "offsets" && this.stop_offsets.or({}).length() > 0 {
    "stop_offsets is set, but stop_at is not offsets: set stop_at to offsets, or remove stop_offsets"
  },
  if this.unordered_processing.enabled == true && this.ordering == "partition" {
    "unordered_processing.enabled is true, but ordering is partition: remove unordered_processing"
  },
  if this.unordered_processing.enabled == false && this.ordering == "none" {
    "unordered_processing.enabled is false, but ordering is none: remove unordered_processing"
  },
  if this.batching.check.or("") != "" || this.unordered_processing.batching.check.or("") != "" {
    "batching.check is set: batches are not held back here, remove it"
  },
  if this.batching.processors.or([]).length() > 0 || this.unordered_processing.batching.processors.or([]).length() > 0 {
    "batching.processors is set: move them to input.processors"
  },
  if this.max_batch_records.or(1).number() < 1 {
    "max_batch_records is %v: use 1 or more".format(this.max_batch_records)
  },
`

const checkpointLints = `
  if this.checkpoint.interval.or("1s").string().has_prefix("-") {
    "checkpoint.interval is %v: use 0s for no checkpoints, or more".format(this.checkpoint.interval)
  },
  if this.checkpoint.job.or("").string().bytes().length() > 249 {
    "checkpoint.job is %v bytes long: use at most 249".format(this.checkpoint.job.string().bytes().length())
  },
  if this.checkpoint.retain.or(1).number() < 1 {
    "checkpoint.retain is %v: use 1 or more".format(this.checkpoint.retain)
  },
  if this.checkpoint.retain.or(1).number() > 1 && $store == "" {
    "checkpoint.retain is %v, but checkpoint.store.directory is not set: a group keeps one checkpoint, set the directory".format(this.checkpoint.retain)
  },
  if this.checkpoint.restore_from.or(0).number() < 0 {
    "checkpoint.restore_from is %v: use the number of a checkpoint".format(this.checkpoint.restore_from)
  },
  if this.checkpoint.restore_from.or(0).number() > 0 && $store == "" {
    "checkpoint.restore_from is %v, but checkpoint.store.directory is not set: set it to the store that has the checkpoint".format(this.checkpoint.restore_from)
  },
  if this.checkpoint.savepoint_directory.or("") != "" && !$checkpoints {
    "checkpoint.savepoint_directory is %v, but there are no checkpoints: set checkpoint.interval and a consumer_group or checkpoint.store.directory, or remove it".format(this.checkpoint.savepoint_directory)
  },
  if $store != "" && $kept != "" {
    "checkpoint.store has both directory (%v) and topic (%v): keep one of them".format($store, $kept)
  },
  if $kept != "" && !$kept.re_match("^[a-zA-Z0-9._-]{1,249}$") {
    "checkpoint.store.topic is %v: use letters, digits, ` + "`.`, `_` and `-`" + `, 249 at most".format($kept)
  },
  if $kept != "" && this.topics.or([]).contains($kept) {
    "checkpoint.store.topic is %v, which the input reads itself: use a topic of its own, or leave it out of what is read".format($kept)
  },
  if $kept == "" && (this.checkpoint.store.partitions != null || this.checkpoint.store.local_copy != null) {
    "checkpoint.store sets partitions or local_copy, but topic is not set: set it, or remove them"
  },
  if this.checkpoint.store.partitions.or(1).number() < 1 {
    "checkpoint.store.partitions is %v: use 1 or more".format(this.checkpoint.store.partitions)
  },
  if $kept != "" && $zero {
    "checkpoint.interval is 0s, so nothing is kept in checkpoint.store.topic %v: set an interval, or remove the store".format($kept)
  },
  if $kept != "" && this.auto_replay_nacks == false {
    "auto_replay_nacks is false, but checkpoint.store.topic is %v: messages that are dropped cannot be taken back with the state, remove one of them".format($kept)
  },
  if $store != "" && $zero {
    "checkpoint.interval is 0s, so nothing is kept in checkpoint.store.directory %v: set an interval, or remove the store".format($store)
  },
  if $store != "" && this.auto_replay_nacks == false {
    "auto_replay_nacks is false, but checkpoint.store.directory is %v: messages that are dropped cannot be taken back with the state, remove one of them".format($store)
  },
  if this.checkpoint.commit_offsets == true && $group == "" {
    "checkpoint.commit_offsets is true, but consumer_group is not set: set it"
  },
  if $group != "" && this.checkpoint.commit_offsets == false && $store == "" && $kept == "" && $checkpoints {
    "checkpoint.commit_offsets is false and checkpoint.store.directory is not set, so positions are kept nowhere: set the directory, or checkpoint.interval to 0s"
  },
  if this.properties."enable.auto.commit".or("").string() == "true" && $group == "" {
    "properties: enable.auto.commit is true, but consumer_group is not set: set it"
  },
  if this.properties."enable.auto.commit".or("").string() == "true" && $checkpoints {
    "properties: enable.auto.commit is true, but checkpoints commit: remove it, or set checkpoint.interval to 0s"
  },
  if this.checkpoint.restart.jitter.or(0).number() < 0 || this.checkpoint.restart.jitter.or(0).number() > 1 {
    "checkpoint.restart.jitter is %v: use 0 to 1".format(this.checkpoint.restart.jitter)
  },
  if this.checkpoint.restart.multiplier.or(1).number() < 1 {
    "checkpoint.restart.multiplier is %v: use 1 or more".format(this.checkpoint.restart.multiplier)
  },
  if this.checkpoint.restart.max_restarts.or(0).number() < 0 {
    "checkpoint.restart.max_restarts is %v: use 0 for no limit, or more".format(this.checkpoint.restart.max_restarts)
  },
`
