package output

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Bounds of the client.
const (
	minTimeout         = 100 * time.Millisecond
	minDeliveryTimeout = time.Second
	maxLinger          = time.Minute
	minMessageBytes    = 512
	minWriteBytes      = 1 << 10
	maxWriteBytes      = 1 << 30
	// What fits into a request, in milliseconds.
	maxTransactionTimeout = (1<<31 - 1) * time.Millisecond
)

// faults collects what is wrong with a configuration.
type faults struct{ errs []error }

func (f *faults) when(wrong bool, format string, args ...any) {
	if wrong {
		f.errs = append(f.errs, fmt.Errorf(format, args...))
	}
}

func (f *faults) add(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

// Validate reports everything that is wrong, each fault with the field, its value
// and the remedy.
func (c *Config) Validate() error {
	var f faults
	switch c.Delivery {
	case AtLeastOnce, None:
	case ExactlyOnce:
		c.validateExactlyOnce(&f)
	default:
		f.when(true, "delivery %q is unknown: use exactly_once, at_least_once or none", c.Delivery)
	}
	f.when(!slices.Contains([]Flush{FlushAuto, FlushOnCheckpoint, FlushOnAck}, c.Flush),
		"flush %q is unknown: use auto, on_checkpoint or on_ack", c.Flush)
	f.when(c.Delivery == None && c.Flush == FlushOnAck, "delivery is none but flush is on_ack: remove one of them")
	if c.MaxInFlight != nil {
		f.when(*c.MaxInFlight < 1, "max_in_flight is %d: use 1 or more", *c.MaxInFlight)
	}
	c.validateRecord(&f)
	c.Producer.validate(&f)
	return errors.Join(f.errs...)
}

// validateExactlyOnce reports what would lose or repeat records although they are in a
// transaction.
func (c *Config) validateExactlyOnce(f *faults) {
	p := &c.Producer
	f.when(!p.Idempotent, "delivery is exactly_once but idempotent_write is false: remove idempotent_write")
	f.when(p.Acks != acksAll, "delivery is exactly_once but acks is %s: set acks to all", p.Acks)
	f.when(c.LogFailuresOnly, "delivery is exactly_once but log_failures_only is true, which drops records: remove log_failures_only")
	f.when(c.Flush == FlushOnAck, "delivery is exactly_once but flush is on_ack, and nothing is visible before the checkpoint: set flush to auto")
	f.when(c.TransactionalIDPrefix == "", "transactional_id_prefix is empty: name one, for example tidemark")
	f.when(c.TransactionTimeout < time.Second || c.TransactionTimeout > maxTransactionTimeout,
		"transaction_timeout is %v: use a value from 1s to %v", c.TransactionTimeout, maxTransactionTimeout)
}

func (c *Config) validateRecord(f *faults) {
	r, p := &c.Record, &c.Producer
	topic, literal := r.literalTopic()
	f.when(r.Topic == nil || literal && topic == "", "topic is empty: name the topic to write to")
	f.when(literal && topic != "" && !topicName.MatchString(topic),
		"topic %q is not a topic's name: use letters, digits, `.`, `_` and `-`, 249 at most", topic)
	f.when(len(r.TopicsAllowed) > 0 && literal,
		"topics_allowed is set but topic is always %q: remove topics_allowed, or make topic an expression", topic)
	_, err := newAllowed(r.TopicsAllowed)
	f.add(err)
	f.when(r.Key != nil && r.Format.WholeKey,
		"key is set, but the key is made by the format: remove key, or key_fields, or use another format than json_key_value")
	f.when(r.bothTimestamps, "both timestamp and timestamp_ms are set: remove timestamp")
	f.when(p.Partitioner == manual && r.Partition == nil,
		"partitioner is manual but partition is not set: set partition, or another partitioner")
	f.when(p.Partitioner != manual && r.Partition != nil,
		"partition is set but partitioner is %s: set partitioner to manual, or remove partition", p.partitionerName())
	f.when(p.Partitioner == roundRobin && r.Key != nil,
		"partitioner is round_robin but key is set, which it ignores, so records of a key would lose their order: remove key, or use murmur2_hash")
}

func (p *ProducerConfig) validate(f *faults) {
	f.add(checkPartitioner(p.partitionerName()))
	f.when(p.WriterIndex != nil && p.Partitioner != fixed,
		"writer_index is set but partitioner is %s: set partitioner to fixed, or remove writer_index", p.partitionerName())
	f.when(p.WriterIndex != nil && *p.WriterIndex < 0, "writer_index is %d: use 0 or more", deref(p.WriterIndex))
	f.when(!slices.Contains([]string{acksAll, acksLeader, acksNone}, p.Acks),
		"acks %q is unknown: use all, leader or none", p.Acks)
	f.when(p.Idempotent && p.Acks != acksAll,
		"idempotent_write is true but acks is %s: set acks to all, or idempotent_write to false", p.Acks)
	f.when(p.Idempotent && p.MaxInFlightRequests != 1,
		"idempotent_write is true but max_in_flight_requests is %d: set it to 1, or idempotent_write to false", p.MaxInFlightRequests)
	f.when(p.MaxInFlightRequests < 1, "max_in_flight_requests is %d: use 1 or more", p.MaxInFlightRequests)
	_, known := codecs[p.Compression]
	f.when(p.Compression != "" && !known,
		"compression %q is unknown: use lz4, snappy, gzip, none or zstd", p.Compression)
	f.when(p.Timeout < minTimeout, "timeout is %v: use at least %v", p.Timeout, minTimeout)
	f.when(p.MaxMessageBytes < minMessageBytes || p.MaxMessageBytes > maxWriteBytes,
		"max_message_bytes is %d: use a value from %d to %d", p.MaxMessageBytes, minMessageBytes, maxWriteBytes)
	f.when(p.BrokerWriteMaxBytes < minWriteBytes || p.BrokerWriteMaxBytes > maxWriteBytes,
		"broker_write_max_bytes is %d: use a value from %d to %d", p.BrokerWriteMaxBytes, minWriteBytes, maxWriteBytes)
	f.when(p.BrokerWriteMaxBytes < p.MaxMessageBytes,
		"broker_write_max_bytes is %d, less than max_message_bytes, which is %d: raise the former or lower the latter", p.BrokerWriteMaxBytes, p.MaxMessageBytes)
	f.when(p.MaxBufferedRecords < 1, "max_buffered_records is %d: use 1 or more", p.MaxBufferedRecords)
	f.when(p.Retries < 0, "record_retries is %d: use 0 for any number of times, or more", p.Retries)
	f.when(p.DeliveryTimeout != 0 && p.DeliveryTimeout < minDeliveryTimeout,
		"record_delivery_timeout is %v: use 0s for none, or at least %v", p.DeliveryTimeout, minDeliveryTimeout)
	f.when(p.Linger < 0 || p.Linger > maxLinger, "linger is %v: use a value from 0s to %v", p.Linger, maxLinger)
}

// topicName is what a broker accepts as the name of a topic.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// literalTopic returns the topic if it is the same for every record.
func (r *RecordConfig) literalTopic() (string, bool) {
	if r.Topic == nil {
		return "", false
	}
	return r.Topic.Static()
}

// createTopics tells whether brokers may create a topic that does not exist.
func (c *Config) createTopics() bool {
	if c.Producer.CreateTopics != nil {
		return *c.Producer.CreateTopics
	}
	_, literal := c.Record.literalTopic()
	return literal
}

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
