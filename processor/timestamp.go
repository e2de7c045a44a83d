package processor

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

var errNoTimestamp = errors.New("there is no timestamp")

// eventTime makes an event time of what a mapping returns: a timestamp, a number of
// milliseconds since 1970 UTC, or text as RFC 3339 has it.
func eventTime(v any) (watermark.Time, error) {
	switch v := v.(type) {
	case nil:
		return watermark.None, errNoTimestamp
	case time.Time:
		return known(v.UnixMilli())
	case int64:
		return known(v)
	case float64:
		if math.IsNaN(v) || v < math.MinInt64 || v >= math.MaxInt64 {
			return watermark.None, fmt.Errorf("%v is no number of milliseconds since 1970", v)
		}
		return known(int64(math.Floor(v)))
	case json.Number:
		return watermark.None, fmt.Errorf("%v is no number of milliseconds since 1970", v)
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return watermark.None, fmt.Errorf("%q is no timestamp as RFC 3339 has it: use ts_parse or ts_strptime for other forms, "+
				"and number() for milliseconds in a string", v)
		}
		return watermark.Of(t), nil
	}
	return watermark.None, fmt.Errorf("expected a timestamp, milliseconds since 1970, or RFC 3339, got %T", v)
}

func known(ms int64) (watermark.Time, error) {
	if t := watermark.Time(ms); t.Known() {
		return t, nil
	}
	return watermark.None, fmt.Errorf("%d is out of the range of event times", ms)
}

// odd tells that a number of milliseconds is more likely one of seconds, or of micro- or
// nanoseconds: it would lie in the early seventies, or beyond the year 5000.
func odd(v any, t watermark.Time) bool {
	switch v.(type) {
	case int64, float64:
		return t > 1e8 && t < 1e11 || t > 1e14
	}
	return false
}

// kafkaTimestamp is the timestamp of the record that a message was made of; None if it
// has none, which is -1 in Kafka, and the zero time of what was written before Kafka had
// timestamps.
func kafkaTimestamp(m *service.Message) watermark.Time {
	ms := int64(-1)
	if r := kafkaRecord(m); r != nil {
		if !r.Timestamp.IsZero() {
			ms = r.Timestamp.UnixMilli()
		}
	} else if v, ok := m.MetaGetMut("kafka_timestamp_ms"); ok {
		if n, err := eventTime(number(v)); err == nil {
			ms = int64(n)
		}
	}
	if ms == -1 {
		return watermark.None
	}
	return watermark.Time(ms)
}

// kafkaRecord is the record that a message was made of; nil if its input is none of ours,
// or one that does not read Kafka.
func kafkaRecord(m *service.Message) *kgo.Record {
	o := checkpoint.OriginOf(m.Context())
	if o == nil {
		return nil
	}
	r, _ := o.Record.(*kgo.Record)
	return r
}
