package input

import (
	"context"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// meters are the metrics of a source.
type meters struct {
	records, bytes                 *service.MetricCounter
	commits, failedCommits         *service.MetricCounter
	droppedRecords, againRecords   *service.MetricCounter
	bad                            *service.MetricCounter
	current, committedAt, lag, own *service.MetricGauge
}

func newMeters(m *service.Metrics) *meters {
	labels := []string{"topic", "partition"}
	return &meters{
		records:        m.NewCounter("tidemark_records_in", labels...),
		bytes:          m.NewCounter("tidemark_bytes_in", labels...),
		commits:        m.NewCounter("tidemark_offset_commits"),
		failedCommits:  m.NewCounter("tidemark_offset_commits_failed"),
		droppedRecords: m.NewCounter("tidemark_rejected_records_dropped"),
		againRecords:   m.NewCounter("tidemark_records_redelivered"),
		bad:            m.NewCounter("tidemark_bad_records", "topic"),
		current:        m.NewGauge("tidemark_current_offset", labels...),
		committedAt:    m.NewGauge("tidemark_committed_offset", labels...),
		lag:            m.NewGauge("tidemark_lag", labels...),
		own:            m.NewGauge("tidemark_partition_owned", labels...),
	}
}

func (m *meters) committed()        { m.commits.Incr(1) }
func (m *meters) commitFailed()     { m.failedCommits.Incr(1) }
func (m *meters) dropped(n int)     { m.droppedRecords.Incr(int64(n)) }
func (m *meters) redelivered(n int) { m.againRecords.Incr(int64(n)) }

// read counts what was emitted for the first time.
func (m *meters) read(l *lane, records, bytes int, last int64) {
	m.records.Incr(int64(records), l.meters.labels...)
	m.bytes.Incr(int64(bytes), l.meters.labels...)
	m.current.Set(last, l.meters.labels...)
}

// badRecords counts records that could not be read; by topic, as the watermark processors count
// those without an event time: a name has the same labels everywhere.
func (m *meters) badRecords(l *lane, n int) { m.bad.Incr(int64(n), l.place().Topic) }

// laneMeters are those of one partition. Engine metrics cannot drop a series, so
// when the partition goes its lag and ownership go to 0.
type laneMeters struct {
	m      *meters
	labels []string
}

func (m *meters) lane(topic string, partition int32) laneMeters {
	l := laneMeters{m: m, labels: []string{topic, strconv.Itoa(int(partition))}}
	m.own.Set(1, l.labels...)
	return l
}

func (l laneMeters) committed(offset int64) { l.m.committedAt.Set(offset, l.labels...) }
func (l laneMeters) lag(n int64)            { l.m.lag.Set(n, l.labels...) }

func (l laneMeters) gone() {
	l.m.lag.Set(0, l.labels...)
	l.m.own.Set(0, l.labels...)
}

// measureOften keeps the lag up to date, as often as somebody needs it.
func (s *source) measureOften(ctx context.Context) {
	for {
		t := time.NewTimer(s.lookPeriod())
		select {
		case <-t.C:
			s.measure(ctx)
		case <-s.hurry:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// measure finds out the lag: to the last stable offset where only committed records
// are read, so that a fully read partition has lag 0.
func (s *source) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.conf.LagPeriod+5*time.Second)
	defer cancel()
	asked := time.Now()
	ends, missing, err := kafka.Ends(ctx, s.admin, s.owned(), s.conf.Isolation)
	if err != nil {
		s.log.Debugf("Measuring the lag failed: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for p, end := range ends {
		if l := s.mu.lanes[topicPartition{p.Topic, p.ID}]; l != nil && l.prefix != nil {
			l.look(checkpoint.Offset(end), asked, now)
			l.meters.lag(max(end-int64(l.prefix.Position()), 0))
		}
	}
	for _, p := range missing {
		if l := s.mu.lanes[topicPartition{p.Topic, p.ID}]; l != nil && l.prefix != nil {
			l.look(l.prefix.Position(), asked, now) // There is nothing more to read.
		}
	}
}

func (s *source) owned() []kafka.Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := make([]kafka.Partition, 0, len(s.mu.lanes))
	for tp := range s.mu.lanes {
		parts = append(parts, kafka.Partition{Topic: tp.topic, ID: tp.partition})
	}
	return parts
}

// forget sets the gauges of what is left to 0 when the input ends.
func (s *source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.mu.lanes {
		l.meters.gone()
	}
}
