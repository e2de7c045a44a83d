package output

import (
	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/formats"
)

// lintRule finds in a configuration file what Config.Validate finds when the
// component is built. Values from the environment are in place when it runs.
const lintRule = `
let partitioner = this.partitioner.or("murmur2_hash").string()
let manual = $partitioner == "manual"
let per_record = this.topic.or("").string().contains("${!")
let exactly = this.delivery == "exactly_once"
let idempotent = this.idempotent_write.or(true) == true
` + connection.LintLets + `root = [` + connection.LintRules + formats.LintRules + `
  if $kafka < 1000 && this.compression == "lz4" {
    "compression is lz4, which needs brokers of version 0.10 or newer, and kafka_version is %v: use snappy or gzip".format(this.kafka_version)
  },
  if $kafka < 20100 && this.compression == "zstd" {
    "compression is zstd, which needs brokers of version 2.1 or newer, and kafka_version is %v: use snappy or gzip".format(this.kafka_version)
  },
  if $kafka < 1000 && (this.timestamp.or("").string() != "" || this.timestamp_ms.or("").string() != "") {
    "a timestamp is set, which needs brokers of version 0.10 or newer, and kafka_version is %v: remove timestamp_ms".format(this.kafka_version)
  },
  if $kafka < 1100 && this.metadata != null && (this.metadata.include_prefixes.or([]).length() > 0 || this.metadata.include_patterns.or([]).filter(p -> p != "^$").length() > 0) {
    "metadata is set, to write headers, which needs brokers of version 0.11 or newer, and kafka_version is %v: remove it".format(this.kafka_version)
  },
  if $kafka < 20500 && $exactly {
    "delivery is exactly_once, which needs brokers of version 2.5 or newer, and kafka_version is %v: use at_least_once".format(this.kafka_version)
  },
  if this.topic.or("").string() == "" {
    "topic is empty: name the topic to write to"
  },
  if this.key.or("").string() != "" && (this.key_fields.or([]).length() > 0 || this.format.or("raw") == "json_key_value") {
    "key is set, but the key is made by the format: remove key, or key_fields, or use another format than json_key_value"
  },
  if !["murmur2_hash", "sticky", "round_robin", "least_backup", "fixed", "manual"].contains($partitioner) && !$partitioner.contains(".") {
    "partitioner %v is unknown: use murmur2_hash, sticky, round_robin, least_backup, fixed, manual, or one that this build has registered, whose name has a dot".format($partitioner)
  },
  if $manual && this.partition.or("").string() == "" {
    "partitioner is manual but partition is not set: set partition, or another partitioner"
  },
  if !$manual && this.partition.or("").string() != "" {
    "partition is set but partitioner is %v: set partitioner to manual, or remove partition".format($partitioner)
  },
  if $partitioner != "fixed" && this.writer_index != null {
    "writer_index is set but partitioner is %v: set partitioner to fixed, or remove writer_index".format($partitioner)
  },
  if this.writer_index.or(0) < 0 {
    "writer_index is %v: use 0 or more".format(this.writer_index)
  },
  if $partitioner == "round_robin" && this.key != null {
    "partitioner is round_robin but key is set, which it ignores, so records of a key would lose their order: remove key, or use murmur2_hash"
  },
  if this.topics_allowed.or([]).length() > 0 && !$per_record {
    "topics_allowed is set but topic is always %v: remove topics_allowed, or make topic an expression".format(this.topic)
  },
  if this.timestamp.or("").string() != "" && this.timestamp_ms.or("").string() != "" {
    "both timestamp and timestamp_ms are set: remove timestamp"
  },
  if $idempotent && this.acks.or("all") != "all" {
    "idempotent_write is true but acks is %v: set acks to all, or idempotent_write to false".format(this.acks)
  },
  if $idempotent && this.max_in_flight_requests.or(1) != 1 {
    "idempotent_write is true but max_in_flight_requests is %v: set it to 1, or idempotent_write to false".format(this.max_in_flight_requests)
  },
  if this.max_in_flight_requests.or(1) < 1 {
    "max_in_flight_requests is %v: use 1 or more".format(this.max_in_flight_requests)
  },
  if $exactly && this.idempotent_write == false {
    "delivery is exactly_once but idempotent_write is false: remove idempotent_write"
  },
  if $exactly && this.acks.or("all") != "all" {
    "delivery is exactly_once but acks is %v: set acks to all".format(this.acks)
  },
  if $exactly && this.log_failures_only == true {
    "delivery is exactly_once but log_failures_only is true, which drops records: remove log_failures_only"
  },
  if $exactly && this.flush == "on_ack" {
    "delivery is exactly_once but flush is on_ack, and nothing is visible before the checkpoint: set flush to auto"
  },
  if $exactly && this.transactional_id_prefix == "" {
    "transactional_id_prefix is empty: name one, for example tidemark"
  },
  if this.delivery == "none" && this.flush == "on_ack" {
    "delivery is none but flush is on_ack: remove one of them"
  },
  if this.max_in_flight.or(1) < 1 {
    "max_in_flight is %v: use 1 or more".format(this.max_in_flight)
  },
  if this.max_buffered_records.or(1) < 1 {
    "max_buffered_records is %v: use 1 or more".format(this.max_buffered_records)
  },
  if this.record_retries.or(0) < 0 {
    "record_retries is %v: use 0 for any number of times, or more".format(this.record_retries)
  },
]`
