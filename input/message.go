package input

import (
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// metadataSelection says which metadata messages carry.
type metadataSelection struct {
	key, topic, partition, offset, timestampMs, timestampUnix, tombstone, epoch, timestampType bool
	// headers: all headers of the record.
	headers bool
}

// The names of the metadata; those that Redpanda Connect has are Connect's.
const (
	metaKey           = "kafka_key"
	metaTopic         = "kafka_topic"
	metaPartition     = "kafka_partition"
	metaOffset        = "kafka_offset"
	metaTimestampMs   = "kafka_timestamp_ms"
	metaTimestampUnix = "kafka_timestamp_unix"
	metaTombstone     = "kafka_tombstone_message"
	metaLeaderEpoch   = "kafka_leader_epoch"
	metaTimestampType = "kafka_timestamp_type"
)

func (m metadataSelection) set(msgs service.MessageBatch, rs []*kgo.Record) {
	if m == (metadataSelection{}) {
		return
	}
	// Values that repeat are boxed once: records of a batch are often of the same
	// millisecond, and nearly always of the same second.
	var topic, partition any = rs[0].Topic, int(rs[0].Partition)
	var ms, sec boxed
	var keys string
	if m.key {
		keys = joinKeys(rs)
	}
	for i, r := range rs {
		msg := msgs[i]
		if m.headers {
			for _, h := range r.Headers {
				msg.MetaSetMut(h.Key, string(h.Value))
			}
		}
		if m.key && r.Key != nil {
			msg.MetaSetMut(metaKey, keys[:len(r.Key)])
			keys = keys[len(r.Key):]
		}
		if m.topic {
			msg.MetaSetMut(metaTopic, topic)
		}
		if m.partition {
			msg.MetaSetMut(metaPartition, partition)
		}
		if m.offset {
			msg.MetaSetMut(metaOffset, int(r.Offset))
		}
		if m.timestampMs && !r.Timestamp.IsZero() { // brokers before 0.10 keep none
			msg.MetaSetMut(metaTimestampMs, ms.box(r.Timestamp.UnixMilli()))
		}
		if m.timestampUnix && !r.Timestamp.IsZero() {
			msg.MetaSetMut(metaTimestampUnix, sec.box(r.Timestamp.Unix()))
		}
		if m.tombstone {
			msg.MetaSetMut(metaTombstone, r.Value == nil)
		}
		if m.epoch && r.LeaderEpoch >= 0 {
			msg.MetaSetMut(metaLeaderEpoch, int(r.LeaderEpoch))
		}
		if m.timestampType {
			msg.MetaSetMut(metaTimestampType, timestampType(r))
		}
	}
}

// joinKeys returns the keys of all records, one behind the other: one string to
// slice instead of one for each record.
func joinKeys(rs []*kgo.Record) string {
	n := 0
	for _, r := range rs {
		n += len(r.Key)
	}
	var keys strings.Builder
	keys.Grow(n)
	for _, r := range rs {
		keys.Write(r.Key)
	}
	return keys.String()
}

// boxed is a number as an interface value, kept for the case that it comes again.
type boxed struct {
	n int64
	v any
}

func (b *boxed) box(n int64) any {
	if b.v == nil || b.n != n {
		b.n, b.v = n, n
	}
	return b.v
}

// setMultiHeaders makes the metadata of every header a list of all its values.
func setMultiHeaders(msgs service.MessageBatch, rs []*kgo.Record) {
	for i, r := range rs {
		values := map[string][]any{}
		for _, h := range r.Headers {
			values[h.Key] = append(values[h.Key], string(h.Value))
		}
		for key, list := range values {
			msgs[i].MetaSetMut(key, list)
		}
	}
}

// timestampType names what a record's timestamp is, as Kafka's message.timestamp.type does.
func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime"
	case 1:
		return "LogAppendTime"
	}
	return "NoTimestampType"
}
