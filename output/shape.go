package output

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/formats"
)

// The metadata that say what a record looked like where it was read, and what a
// watermark processor assigns.
const (
	metaKey       = "kafka_key"
	metaTimestamp = "kafka_timestamp_ms"
	metaTombstone = "kafka_tombstone_message"
	metaEventTime = "event_time_ms"
)

// shaper turns messages into records. It is safe for concurrent use.
type shaper struct {
	topic        string
	topicExpr    *service.InterpolatedString
	partition    *service.InterpolatedString
	timestamp    *service.InterpolatedString
	timestampIn  func(int64) time.Time
	key          []byte
	keyExpr      *service.InterpolatedString
	keyFromInput bool
	headers      *service.MetadataFilter
	format       formats.Writing
	// letters: the messages are dead letters.
	letters bool
	// headless: the brokers would drop headers. It is known when the output has connected.
	headless atomic.Bool
	// limit is the most bytes that a record may take in a batch of its own.
	limit int
}

func newShaper(c *Config) *shaper {
	s := &shaper{
		partition:    c.Record.Partition,
		timestamp:    c.Record.Timestamp,
		timestampIn:  time.UnixMilli,
		keyFromInput: c.Record.Key == nil,
		headers:      c.Record.Headers,
		format:       c.Record.Format,
		limit:        recordLimit(c),
	}
	if c.Record.TimestampSeconds {
		s.timestampIn = func(n int64) time.Time { return time.Unix(n, 0) }
	}
	if topic, literal := c.Record.literalTopic(); literal {
		s.topic = topic
	} else {
		s.topicExpr = c.Record.Topic
	}
	if c.Record.Key == nil {
		return s
	}
	switch key, literal := c.Record.Key.Static(); {
	case !literal:
		s.keyExpr = c.Record.Key
	case key != "":
		s.key = []byte(key)
	}
	return s
}

// shape fills r, all but the topic's existence being checked. Any error is the
// message's own and comes again with it.
func (s *shaper) shape(ctx context.Context, r *kgo.Record, m *service.Message, o *checkpoint.Origin) error {
	var from *kgo.Record
	if o != nil {
		from, _ = o.Record.(*kgo.Record)
	}
	if err := s.shapeTopic(r, m); err != nil {
		return err
	}
	if err := s.shapeKey(r, m, from); err != nil {
		return err
	}
	if err := s.shapeValue(ctx, r, m, from); err != nil {
		return err
	}
	if err := s.shapeTimestamp(r, m, o, from); err != nil {
		return err
	}
	if s.headers != nil {
		r.Headers = filteredHeaders(s.headers, m)
	} else if from != nil && len(from.Headers) > 0 {
		r.Headers = keptHeaders(from.Headers, m, o.Headers)
	}
	if s.letters && !s.headless.Load() {
		r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], reasonHeaders(o, from)...)
	}
	if s.headless.Load() && len(r.Headers) > 0 {
		return fmt.Errorf("the record has %d headers, the first of them %q, and brokers before 0.11 drop headers: "+
			"delete their metadata, or set metadata to { include_patterns: [ '^$' ] } to write none", len(r.Headers), r.Headers[0].Key)
	}
	if size := wireSize(r); size > s.limit {
		return fmt.Errorf("the record takes %d bytes, and max_message_bytes allows %d", size, s.limit)
	}
	return nil
}

func (s *shaper) shapeValue(ctx context.Context, r *kgo.Record, m *service.Message, from *kgo.Record) (err error) {
	if s.format.Writes() {
		return s.encode(ctx, r, m, from)
	}
	if r.Value, err = m.AsBytes(); err != nil {
		return fmt.Errorf("reading the message: %w", err)
	}
	if len(r.Value) == 0 {
		r.Value = emptyValue(m, from)
	}
	return nil
}

func (s *shaper) shapeTopic(r *kgo.Record, m *service.Message) error {
	r.Topic = s.topic
	if s.topicExpr != nil {
		topic, err := s.topicExpr.TryString(m)
		if err != nil {
			return fmt.Errorf("evaluating topic: %w", err)
		}
		r.Topic = topic
	}
	if s.partition == nil {
		return nil
	}
	text, err := s.partition.TryString(m)
	if err != nil {
		return fmt.Errorf("evaluating partition: %w", err)
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("partition %q is not a partition's number", text)
	}
	r.Partition = int32(n)
	return nil
}

func (s *shaper) shapeKey(r *kgo.Record, m *service.Message, from *kgo.Record) error {
	switch {
	case s.keyExpr != nil:
		key, err := s.keyExpr.TryBytes(m)
		if err != nil {
			return fmt.Errorf("evaluating key: %w", err)
		}
		if key == nil {
			key = []byte{} // an absent key is another thing than an empty one
		}
		r.Key = key
	case !s.keyFromInput:
		r.Key = s.key
	case from != nil:
		r.Key = from.Key
	default:
		if v, ok := m.MetaGetMut(metaKey); ok {
			r.Key = metaBytes(v)
		}
	}
	return nil
}

// shapeTimestamp leaves the timestamp unset where there is none, so that the
// client sets the present time.
func (s *shaper) shapeTimestamp(r *kgo.Record, m *service.Message, o *checkpoint.Origin, from *kgo.Record) error {
	if s.timestamp != nil {
		text, err := s.timestamp.TryString(m)
		if err != nil {
			return fmt.Errorf("evaluating the timestamp: %w", err)
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("timestamp %q is not a whole number", text)
		}
		r.Timestamp = s.timestampIn(n)
		return nil
	}
	if v, ok := m.MetaGetMut(metaEventTime); ok {
		if ms, ok := metaInt(v); ok {
			r.Timestamp = time.UnixMilli(ms)
			return nil
		}
	}
	if o != nil {
		if t := o.EventTime(); t.Known {
			r.Timestamp = time.UnixMilli(t.At)
			return nil
		}
	}
	if from != nil {
		r.Timestamp = from.Timestamp
		return nil
	}
	if v, ok := m.MetaGetMut(metaTimestamp); ok {
		if ms, ok := metaInt(v); ok {
			r.Timestamp = time.UnixMilli(ms)
		}
	}
	return nil
}

// emptyValue tells a tombstone from an empty value. What the metadata say counts
// first, because a pipeline can only set these.
func emptyValue(m *service.Message, from *kgo.Record) []byte {
	tombstone := from != nil && from.Value == nil
	if v, ok := m.MetaGetMut(metaTombstone); ok {
		tombstone = metaBool(v)
	}
	if tombstone {
		return nil
	}
	return []byte{}
}

// batchOverhead is what a record batch takes apart from its records. The client
// counts the same.
const batchOverhead = 65

// requestOverhead is at least what a produce request with one batch takes apart
// from the batch: header, client id, topic name.
const requestOverhead = 1 << 10

func recordLimit(c *Config) int {
	return int(min(c.Producer.MaxMessageBytes, max(c.Producer.BrokerWriteMaxBytes-requestOverhead, minMessageBytes)))
}

// wireSize is what a batch of this record alone takes, uncompressed.
func wireSize(r *kgo.Record) int {
	n := 3 // attributes, timestamp delta and offset delta of a first record
	n += sized(len(r.Key)) + sized(len(r.Value)) + varint(len(r.Headers))
	for i := range r.Headers {
		n += sized(len(r.Headers[i].Key)) + sized(len(r.Headers[i].Value))
	}
	return batchOverhead + sized(n)
}

// sized is the length of n bytes with their own length before them.
func sized(n int) int { return varint(n) + n }

// varint is the length of a number in Kafka's zigzag encoding.
func varint(n int) int {
	size := 1
	for u := uint64(n) << 1; u >= 0x80; u >>= 7 {
		size++
	}
	return size
}

// topicOf names the topic of a message for a metric.
func (s *shaper) topicOf(m *service.Message) string {
	if s.topicExpr == nil {
		return s.topic
	}
	topic, err := s.topicExpr.TryString(m)
	if err != nil {
		return ""
	}
	return topic
}
