package output

import (
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stats counts what reaches the brokers, once per slab.
type stats struct {
	records, bytes, errors *service.MetricCounter
	sendTime               *service.MetricGauge
}

func newStats(m *service.Metrics) *stats {
	s := &stats{
		records:  m.NewCounter("tidemark_records_out", "topic"),
		bytes:    m.NewCounter("tidemark_bytes_out", "topic"),
		errors:   m.NewCounter("tidemark_producer_errors", "topic"),
		sendTime: m.NewGauge("tidemark_send_time_ms"),
	}
	s.sendTime.SetFloat64(0)
	return s
}

// delivered counts a slab that is done.
func (s *stats) delivered(sl *slab, records int) {
	if records == 0 {
		return
	}
	s.sendTime.SetFloat64(sinceMs(sl.started))
	if topic := sl.records[0].Topic; sameTopic(sl.records, topic) {
		s.records.Incr(int64(records), topic)
		s.bytes.Incr(sl.bytes, topic)
		return
	}
	type sum struct{ records, bytes int64 }
	sums := make(map[string]*sum)
	for i := range sl.records {
		if sl.errs != nil && sl.errs[i] != nil {
			continue
		}
		of := sums[sl.records[i].Topic]
		if of == nil {
			of = new(sum)
			sums[sl.records[i].Topic] = of
		}
		of.records++
		of.bytes += int64(userSize(&sl.records[i]))
	}
	for topic, of := range sums {
		s.records.Incr(of.records, topic)
		s.bytes.Incr(of.bytes, topic)
	}
}

// failed counts records that are given up.
func (s *stats) failed(topic string, records int) { s.errors.Incr(int64(records), topic) }

// sameTopic compares the topics; of a literal one all are the same string, which
// costs a comparison of pointers each.
func sameTopic(records []kgo.Record, topic string) bool {
	for i := range records {
		if records[i].Topic != topic {
			return false
		}
	}
	return true
}
