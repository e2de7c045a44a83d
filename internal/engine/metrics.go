package engine

import (
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// metrics are those of a coordinator. All methods work on nil.
type metrics struct {
	done, lost, restarts *service.MetricCounter
	duration, align      *service.MetricTimer
	bytes, last, dead    *service.MetricGauge
}

func newMetrics(m *service.Metrics) *metrics {
	ms := &metrics{
		done:     m.NewCounter("tidemark_checkpoints_completed"),
		lost:     m.NewCounter("tidemark_checkpoints_failed"),
		restarts: m.NewCounter("tidemark_restarts"),
		duration: m.NewTimer("tidemark_checkpoint_duration_ns"),
		align:    m.NewTimer("tidemark_checkpoint_align_ns"),
		bytes:    m.NewGauge("tidemark_checkpoint_bytes"),
		last:     m.NewGauge("tidemark_last_checkpoint_id"),
		dead:     m.NewGauge("tidemark_fatal"),
	}
	ms.dead.Set(0)
	return ms
}

func (m *metrics) completed(id checkpoint.ID, took time.Duration) {
	if m != nil {
		m.done.Incr(1)
		m.last.Set(int64(id))
		m.duration.Timing(took.Nanoseconds())
	}
}

func (m *metrics) failed() {
	if m != nil {
		m.lost.Incr(1)
	}
}

func (m *metrics) aligned(took time.Duration) {
	if m != nil {
		m.align.Timing(took.Nanoseconds())
	}
}

func (m *metrics) persisted(bytes int64) {
	if m != nil {
		m.bytes.Set(bytes)
	}
}

func (m *metrics) restarted() {
	if m != nil {
		m.restarts.Incr(1)
	}
}

func (m *metrics) fatal() {
	if m != nil {
		m.dead.Set(1)
	}
}
