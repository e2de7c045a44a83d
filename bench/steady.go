package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// steady feeds a topic at a steady rate and watches what comes out of the pipeline behind it,
// as a reader sees it that waits for transactions to end. Records have numbers, in the field n
// of a JSON object; what has none is not of it and is left alone.
type steady struct {
	b       *bench
	in, out string
	// perSecond is how many records are fed, to one partition after the other.
	perSecond int
	value     func(n int) []byte

	// stop ends the feeding, close the watching as well; fed and watched are closed when they
	// have ended.
	stop, close  context.CancelFunc
	fed, watched chan struct{}

	mu struct {
		sync.Mutex
		// sent and seen are when each record was, the latter zero as long as it was not.
		sent, seen []time.Time
		repeated   int
		err        error
	}
}

// feedEvery is the pause between two handfuls of records.
const feedEvery = 5 * time.Millisecond

// startSteady begins to watch, and to feed.
func (b *bench) startSteady(ctx context.Context, in, out string, perSecond int, value func(n int) []byte) (*steady, error) {
	s := &steady{b: b, in: in, out: out, perSecond: perSecond, value: value, fed: make(chan struct{}), watched: make(chan struct{})}
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	reader, err := kgo.NewClient(append(b.kafka.ClientOptions(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{out: from}))...)
	if err != nil {
		return nil, fmt.Errorf("making a consumer: %w", err)
	}
	writer, err := kgo.NewClient(append(b.kafka.ClientOptions(), kgo.DefaultProduceTopic(in), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("making a producer: %w", err)
	}
	watching, closing := context.WithCancel(ctx)
	feeding, stop := context.WithCancel(watching)
	s.stop, s.close = stop, func() {
		closing()
		<-s.fed
		<-s.watched
	}
	go func() {
		defer close(s.fed)
		defer writer.Close()
		s.feed(feeding, writer)
	}()
	go func() {
		defer close(s.watched)
		defer reader.Close()
		s.watch(watching, reader)
	}()
	return s, nil
}

func (s *steady) feed(ctx context.Context, cl *kgo.Client) {
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	// What was begun is finished, so that all that counts as sent is there to be read.
	producing := context.WithoutCancel(ctx)
	for begun, n := time.Now(), 0; ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		// A tick that came late is made up for.
		for due := int(time.Since(begun).Seconds() * float64(s.perSecond)); n < due && ctx.Err() == nil; n++ {
			r := &kgo.Record{Key: fmt.Appendf(nil, "key-%d", n%partitions), Value: s.value(n), Partition: int32(n % partitions)}
			s.mu.Lock()
			s.mu.sent, s.mu.seen = append(s.mu.sent, time.Now()), append(s.mu.seen, time.Time{})
			s.mu.Unlock()
			cl.Produce(producing, r, func(_ *kgo.Record, err error) { s.fail("producing", err) })
		}
	}
	s.fail("flushing", cl.Flush(producing))
}

func (s *steady) watch(ctx context.Context, cl *kgo.Client) {
	for {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		if err := fetches.Err(); err != nil {
			s.fail("reading", err)
			return
		}
		s.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { s.sawLocked(r.Value, now) })
		s.mu.Unlock()
	}
}

func (s *steady) sawLocked(value []byte, now time.Time) {
	var v struct{ N *int }
	if err := json.Unmarshal(value, &v); err != nil || v.N == nil || *v.N < 0 || *v.N >= len(s.mu.seen) {
		return
	}
	if s.mu.seen[*v.N].IsZero() {
		s.mu.seen[*v.N] = now
	} else {
		s.mu.repeated++
	}
}

func (s *steady) fail(doing string, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.err = errors.Join(s.mu.err, fmt.Errorf("%s: %w", doing, err))
}

// count is how many records were sent so far.
func (s *steady) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.sent)
}

// times returns when records from one number to another were sent and seen, as far as they
// were sent.
func (s *steady) times(from, to int) (sent, seen []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to = min(to, len(s.mu.sent))
	return slices.Clone(s.mu.sent[min(from, to):to]), slices.Clone(s.mu.seen[min(from, to):to])
}

// await waits until records from one number to another have been seen, as long as there is
// something new at least every b.stall and the children are alive.
func (s *steady) await(ctx context.Context, from, to int, children ...*child) error {
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	left, since := to-from+1, time.Now()
	for {
		missing := to - from
		_, seen := s.times(from, to)
		for _, t := range seen {
			if !t.IsZero() {
				missing--
			}
		}
		s.mu.Lock()
		err := s.mu.err
		s.mu.Unlock()
		for _, c := range children {
			err = errors.Join(err, c.ended())
		}
		switch {
		case err != nil || missing == 0:
			return err
		case missing < left:
			left, since = missing, time.Now()
		case time.Since(since) > s.b.stall:
			return fmt.Errorf("%d of %d records did not come in %v", missing, to-from, s.b.stall)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause waits while records go on.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish stops feeding, waits until everything has come, and tells whether something came
// more than once.
func (s *steady) finish(ctx context.Context, children ...*child) error {
	s.stop()
	<-s.fed
	if err := s.await(ctx, 0, s.count(), children...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.repeated > 0 {
		return fmt.Errorf("%d of %d records came more than once", s.mu.repeated, len(s.mu.sent))
	}
	return nil
}
