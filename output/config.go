package output

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/formats"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Delivery is what the output promises about records.
type Delivery string

// The promises.
const (
	// AtLeastOnce: a checkpoint completes when everything read before it is
	// delivered.
	AtLeastOnce Delivery = "at_least_once"
	// None: nobody waits for the brokers before the end of the stream.
	None Delivery = "none"
	// ExactlyOnce: what is written becomes visible with the checkpoint that covers it, as
	// one transaction.
	ExactlyOnce Delivery = "exactly_once"
)

// Flush says when to wait for the brokers.
type Flush string

// The ways to flush.
const (
	FlushAuto         Flush = "auto"
	FlushOnCheckpoint Flush = "on_checkpoint"
	FlushOnAck        Flush = "on_ack"
)

// Who must have a record for it to be delivered.
const (
	acksAll    = "all"
	acksLeader = "leader"
	acksNone   = "none"
)

// onAckInFlight is how many batches are written at a time where each waits for
// the brokers.
const onAckInFlight = 10

// Config is a parsed configuration.
type Config struct {
	Connection kafka.Connection
	Record     RecordConfig
	Producer   ProducerConfig

	Delivery Delivery
	Flush    Flush
	// LogFailuresOnly drops what cannot be delivered.
	LogFailuresOnly bool
	// MaxInFlight is how many batches are written at a time; nil = unset.
	MaxInFlight *int
	Batching    service.BatchPolicy
	// TransactionalIDPrefix begins the id of transactions, and TransactionTimeout is after
	// how long brokers end one that nobody ends.
	TransactionalIDPrefix string
	TransactionTimeout    time.Duration
	// Settings are the fields that outputs which share a transaction have to agree on.
	Settings map[string]any
}

// RecordConfig says what a record looks like. A nil expression is unset.
type RecordConfig struct {
	Topic *service.InterpolatedString
	// TopicsAllowed restricts what Topic may yield; empty = any.
	TopicsAllowed []string
	// Key: unset = the source's; a literal empty one = none.
	Key *service.InterpolatedString
	// Format is how values, and keys, are written.
	Format    formats.Writing
	Partition *service.InterpolatedString
	// Headers picks the metadata that become headers; nil = the source's headers.
	Headers *service.MetadataFilter
	// Timestamp is in milliseconds, or in seconds if TimestampSeconds; unset = the
	// event time, the source's, or now.
	Timestamp        *service.InterpolatedString
	TimestampSeconds bool
	// writesHeaders tells that Headers lets something through.
	writesHeaders bool
	// bothTimestamps notes a fault that Validate reports.
	bothTimestamps bool
}

// ProducerConfig tunes the client.
type ProducerConfig struct {
	// Partitioner is a built-in name, a registered one, or "" for the default.
	Partitioner string
	// WriterIndex counts the writers of the fixed partitioner; nil = 0.
	WriterIndex *int
	Idempotent  bool
	Acks        string
	// Compression is a codec's name; "" = the client's preference.
	Compression string
	// CreateTopics allows brokers to create topics; nil = a literal one only.
	CreateTopics *bool
	// Timeout of a produce request at the broker.
	Timeout             time.Duration
	MaxMessageBytes     int64
	BrokerWriteMaxBytes int64
	MaxBufferedRecords  int
	// MaxBufferedBytes: 0 = no limit.
	MaxBufferedBytes    int64
	MaxInFlightRequests int
	// Retries: 0 = any number.
	Retries int
	// DeliveryTimeout: 0 = none.
	DeliveryTimeout time.Duration
	Linger          time.Duration
}

// ParseConfig reads a configuration and reports all of its faults together.
func ParseConfig(conf *service.ParsedConfig, res *service.Resources) (*Config, error) {
	over, err := connection.Overrides(conf, kafka.Producer)
	if err != nil {
		return nil, err
	}
	var c Config
	var connErr, formatErr error
	c.Connection, connErr = connection.Parse(conf, res, over)
	c.Record.Format, formatErr = formats.ParseWriting(conf, c.Connection.Credentials)
	p := parser{conf: conf, over: over}
	p.delivery(&c)
	p.record(&c.Record)
	p.producer(&c.Producer)
	if err := errors.Join(append([]error{connErr, formatErr}, p.errs...)...); err != nil {
		return nil, err
	}
	if err := errors.Join(c.Validate(), c.Connection.Brokers.Meet(c.requirements()...)); err != nil {
		return nil, err
	}
	return &c, nil
}

// maxInFlight is how many batches are written at a time. unchecked tells that the
// stream takes no checkpoints, so that every batch waits for the brokers.
func (c *Config) maxInFlight(unchecked bool) int {
	switch {
	case c.MaxInFlight != nil:
		return *c.MaxInFlight
	case c.Delivery != None && (unchecked || c.Flush == FlushOnAck):
		return onAckInFlight
	}
	return 1
}

// parser collects the errors of fields that cannot be read.
type parser struct {
	conf *service.ParsedConfig
	over kafka.Overrides
	errs []error
}

func (p *parser) delivery(c *Config) {
	var delivery, flush string
	read(p, fieldDelivery, p.conf.FieldString, &delivery)
	read(p, fieldFlush, p.conf.FieldString, &flush)
	read(p, fieldLogFailuresOnly, p.conf.FieldBool, &c.LogFailuresOnly)
	c.Delivery, c.Flush = Delivery(delivery), Flush(flush)
	read(p, fieldTransactionalIDPrefix, p.conf.FieldString, &c.TransactionalIDPrefix)
	read(p, fieldTransactionTimeout, p.conf.FieldDuration, &c.TransactionTimeout)
	p.settings(&c.Settings)
	if p.conf.Contains(fieldMaxInFlight) {
		c.MaxInFlight = new(int)
		read(p, fieldMaxInFlight, p.conf.FieldInt, c.MaxInFlight)
	}
	var err error
	if c.Batching, err = p.conf.FieldBatchPolicy(fieldBatching); err != nil {
		p.fault(fieldBatching, err)
	}
}

// settings reads what is not about records, or about one output only.
func (p *parser) settings(into *map[string]any) {
	all, err := p.conf.FieldAny()
	if err != nil {
		p.fault(Name, err)
		return
	}
	fields, _ := all.(map[string]any)
	*into = maps.Clone(fields)
	for _, own := range []string{
		formats.FieldFormat, formats.FieldKeyFormat, formats.FieldKeyFields, formats.FieldKeyPrefix,
		formats.FieldValueIncludesKey, formats.FieldOptions, formats.FieldKeyOptions, formats.FieldCSV, formats.FieldRegistry,
		fieldTopic, fieldTopicsAllowed, fieldKey, fieldPartition, fieldMetadata, fieldTimestamp, fieldTimestampMs,
		fieldMaxInFlight, fieldBatching, fieldFlush, fieldLogFailuresOnly, fieldAllowAutoTopicCreation, fieldMaxBufferedRecords, fieldMaxBufferedBytes,
		fieldRecordDeliveryTimeout, fieldRackID, "inject_tracing_map",
	} {
		delete(*into, own)
	}
}

func (p *parser) record(c *RecordConfig) {
	read(p, fieldTopic, p.conf.FieldInterpolatedString, &c.Topic)
	read(p, fieldTopicsAllowed, p.conf.FieldStringList, &c.TopicsAllowed)
	read(p, fieldKey, p.conf.FieldInterpolatedString, &c.Key)
	p.expression(fieldPartition, &c.Partition)
	read(p, fieldMetadata, p.conf.FieldMetadataFilter, &c.Headers)
	if c.Headers.IsEmpty() {
		c.Headers = nil // Benthos cannot tell a filter without rules from none
	}
	p.readHeaders(c)
	var seconds *service.InterpolatedString
	p.expression(fieldTimestamp, &seconds)
	p.expression(fieldTimestampMs, &c.Timestamp)
	c.bothTimestamps = seconds != nil && c.Timestamp != nil
	if seconds != nil {
		c.Timestamp, c.TimestampSeconds = seconds, true
	}
}

func (p *parser) producer(c *ProducerConfig) {
	read(p, fieldPartitioner, p.conf.FieldString, &c.Partitioner)
	if p.conf.Contains(fieldWriterIndex) {
		c.WriterIndex = new(int)
		read(p, fieldWriterIndex, p.conf.FieldInt, c.WriterIndex)
	}
	read(p, fieldIdempotentWrite, p.conf.FieldBool, &c.Idempotent)
	read(p, fieldAcks, p.conf.FieldString, &c.Acks)
	read(p, fieldCompression, p.conf.FieldString, &c.Compression)
	if p.conf.Contains(fieldAllowAutoTopicCreation) {
		c.CreateTopics = new(bool)
		read(p, fieldAllowAutoTopicCreation, p.conf.FieldBool, c.CreateTopics)
	}
	read(p, fieldTimeout, p.conf.FieldDuration, &c.Timeout)
	read(p, fieldMaxMessageBytes, p.bytes, &c.MaxMessageBytes)
	read(p, fieldBrokerWriteMaxBytes, p.bytes, &c.BrokerWriteMaxBytes)
	read(p, fieldMaxBufferedRecords, p.conf.FieldInt, &c.MaxBufferedRecords)
	read(p, fieldMaxBufferedBytes, p.bytes, &c.MaxBufferedBytes)
	read(p, fieldMaxInFlightRequests, p.conf.FieldInt, &c.MaxInFlightRequests)
	read(p, fieldRecordRetries, p.conf.FieldInt, &c.Retries)
	read(p, fieldRecordDeliveryTimeout, p.conf.FieldDuration, &c.DeliveryTimeout)
	read(p, fieldLinger, p.conf.FieldDuration, &c.Linger)
}

// read sets dst to the field's value, if it has one, and to what the properties
// say instead.
func read[T any](p *parser, field string, get func(...string) (T, error), dst *T) {
	if p.conf.Contains(field) {
		v, err := get(field)
		if err != nil {
			p.fault(field, err)
			return
		}
		*dst = v
	}
	kafka.Override(p.over, field, dst)
}

// expression reads an expression; an empty one is unset.
func (p *parser) expression(field string, dst **service.InterpolatedString) {
	read(p, field, p.conf.FieldInterpolatedString, dst)
	if *dst == nil {
		return
	}
	if text, static := (*dst).Static(); static && text == "" {
		*dst = nil
	}
}

// bytes reads a size such as 1MiB.
func (p *parser) bytes(path ...string) (int64, error) {
	text, err := p.conf.FieldString(path...)
	if err != nil {
		return 0, err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<40 {
		return 0, fmt.Errorf("%q is not a size: use a number of bytes, with a unit if you like, such as 1MiB", text)
	}
	return int64(n), nil
}

func (p *parser) fault(field string, err error) {
	p.errs = append(p.errs, fmt.Errorf("%s: %w", field, err))
}
