package buffer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/window"
)

// The names of metadata.
const (
	metaEventTime = "event_time_ms"
	metaWatermark = "watermark_ms"
	metaLate      = "late"
	metaStart     = "window_start_ms"
	metaEnd       = "window_end_ms"
	metaKey       = "window_key"
	metaAgain     = "window_again"
	// Those that the output takes for records that have no source.
	metaKafkaKey       = "kafka_key"
	metaKafkaTopic     = "kafka_topic"
	metaKafkaPartition = "kafka_partition"
)

// result makes messages of a window that fires. What is wrong with one is said by the
// message: an error would end in a rewind, and come again.
func (c *config) result(scope checkpoint.Scope, r window.Result) (batch service.MessageBatch, err error) {
	if c.aggregates() {
		batch = service.MessageBatch{c.aggregated(scope, r)}
	} else {
		for _, b := range r.Bodies {
			m, err := unpack(b)
			if err != nil {
				return nil, fmt.Errorf("reading a message of key %q in window %v: %w", r.Key, r.Span, err)
			}
			batch = append(batch, m)
		}
	}
	// They are the same for all messages, so they are boxed once.
	var start, end, key any = int64(r.Start), int64(r.End), r.Key
	for _, m := range batch {
		m.MetaSetMut(metaStart, start)
		m.MetaSetMut(metaEnd, end)
		if c.key != nil {
			m.MetaSetMut(metaKey, key)
		}
		if r.Again {
			m.MetaSetMut(metaAgain, true)
		}
	}
	return batch, nil
}

func (c *config) aggregated(scope checkpoint.Scope, r window.Result) *service.Message {
	values := make(map[string]any, len(r.Values))
	err := r.Err
	for i, v := range r.Values {
		if f, ok := v.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			err = errors.Join(err, fmt.Errorf("%q is %v, which is no number of JSON", c.window.Names[i], f))
			v = nil
		}
		values[c.window.Names[i]] = v
	}
	b, jsonErr := json.Marshal(values)
	if jsonErr != nil {
		b, err = []byte("{}"), errors.Join(err, jsonErr)
	}
	m := service.NewMessage(b)
	m.MetaSetMut(metaEventTime, int64(r.End-1))
	if c.key != nil {
		m.MetaSetMut(metaKafkaKey, r.Key)
	}
	if scope != (checkpoint.Scope{}) {
		m.MetaSetMut(metaKafkaTopic, scope.Topic)
		m.MetaSetMut(metaKafkaPartition, int64(scope.ID))
	}
	if err != nil {
		m.SetError(fmt.Errorf("the result of key %q in window %v: %w", r.Key, r.Span, err))
	}
	return m
}
