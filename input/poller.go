package input

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// poller polls the client and dispatches what it gets to the lanes. It is the
// only goroutine that polls.
//
// A seek needs it parked: a poll that returned before the seek and dispatches
// after it would put later records where earlier ones are due, which a lane
// cannot tell from a gap.
type poller struct {
	s      *source
	client *kgo.Client

	mu sync.Mutex
	// cancel ends the poll under way.
	cancel context.CancelFunc
	// parking counts who wants the poller parked; parked is closed when it is,
	// go_ when it may go on.
	parking int
	parked  chan struct{}
	resume  chan struct{}
	stopped bool
	done    chan struct{}
}

func startPoller(s *source, client *kgo.Client) *poller {
	p := &poller{s: s, client: client, parked: make(chan struct{}), resume: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

func (p *poller) run() {
	defer close(p.done)
	timer := time.NewTimer(pollAnyway)
	defer timer.Stop()
	waited := false
	for {
		ctx, ok := p.begin()
		if !ok {
			return
		}
		if p.s.wantsRecords(waited) {
			p.s.poll(ctx, p.client)
			waited = false
			continue
		}
		timer.Reset(pollAnyway)
		select {
		case <-p.s.room:
		case <-timer.C:
			waited = true
		case <-ctx.Done():
		}
	}
}

// pollAnyway is how long partitions that had no more records at the last look wait
// for a poll while others have plenty.
const pollAnyway = 50 * time.Millisecond

// pollNew is how long a partition is polled for whose end is not known yet.
const pollNew = time.Second

// begin waits while somebody wants the poller parked, and returns the context of
// the next poll.
func (p *poller) begin() (context.Context, bool) {
	for {
		p.mu.Lock()
		if p.stopped {
			p.mu.Unlock()
			return nil, false
		}
		if p.parking == 0 {
			ctx, cancel := context.WithCancel(p.s.ctx)
			if p.cancel != nil {
				p.cancel()
			}
			p.cancel = cancel
			p.mu.Unlock()
			return ctx, true
		}
		parked, resume := p.parked, p.resume
		select {
		case <-parked:
		default:
			close(parked)
		}
		p.mu.Unlock()
		<-resume
	}
}

// park returns when no poll is under way and none begins until unpark.
func (p *poller) park(ctx context.Context) error {
	p.mu.Lock()
	p.parking++
	parked := p.parked
	if p.cancel != nil {
		p.cancel()
	}
	p.mu.Unlock()
	select {
	case <-parked:
		return nil
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.unpark()
		return ctx.Err()
	}
}

func (p *poller) unpark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parking--
	if p.parking > 0 {
		return
	}
	close(p.resume)
	p.parked, p.resume = make(chan struct{}), make(chan struct{})
}

// stop makes the poller end, which done tells. A poll may be waiting for a revoke
// that is under way.
func (p *poller) stop() {
	p.mu.Lock()
	p.stopped = true
	if p.cancel != nil {
		p.cancel()
	}
	if p.parking > 0 {
		close(p.resume)
		p.parked, p.resume, p.parking = make(chan struct{}), make(chan struct{}), 0
	}
	p.mu.Unlock()
}

// wantsRecords tells whether to poll: while no lane has plenty, or if one that is
// short of records is known to have more in its log, or is new and may have. A poll
// returns what there is of one partition before it turns to the next, so without
// that the first one would begin long before the others. Partitions that are read to
// their ends would otherwise make the poller fetch the others without end; they
// are polled for when nothing else was polled for a while.
func (s *source) wantsRecords(waited bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	refill, plenty, short, pending := s.refill(), false, false, false
	for _, l := range s.mu.lanes {
		switch {
		case l.phase == resolving:
			pending = true
		case l.phase != flowing || l.read() || s.stocked(l):
		case l.queued >= refill:
			plenty = true
		default:
			short = true
			pending = pending || l.next < l.end || l.end < 0 && time.Since(l.born) < pollNew
		}
	}
	if !(len(s.mu.lanes) == 0 || short && !plenty || pending || short && waited) {
		return false
	}
	s.pauseLocked()
	return true
}

// queueBytes bounds what all lanes together hold; one may hold its share, but at
// least leastQueueBytes.
const (
	queueBytes      = 64 << 20
	leastQueueBytes = 2 << 20
)

func (s *source) laneBytesLocked() int {
	return max(queueBytes/max(len(s.mu.lanes), 1), leastQueueBytes)
}

// pauseLocked pauses lanes at the client that hold more than their share: their
// pipeline is stuck, or slower than the others'. A lane is resumed at half of it
// and not when it is used up, because the client asks a broker for one thing at a
// time: a fetch that waits for records of other partitions may take fetch_max_wait.
func (s *source) pauseLocked() {
	share := s.laneBytesLocked()
	for tp, l := range s.mu.lanes {
		if l.bytes > share || l.phase == flowing && (l.read() || s.stocked(l)) {
			s.pauseLaneLocked(tp, l)
			continue
		}
		s.resumeLocked(l)
	}
}

func (s *source) pauseLaneLocked(tp topicPartition, l *lane) {
	if !l.paused {
		s.mu.client.PauseFetchPartitions(map[string][]int32{tp.topic: {tp.partition}})
		l.paused = true
	}
}

// stocked tells that a lane has to wait for others and has what it needs to go on at
// once when it need not any more: a fetch for it alone might have to wait for one of the
// others, which takes up to fetch_max_wait.
func (s *source) stocked(l *lane) bool { return l.waits && l.queued >= s.refill() }

// resumeLocked lets the client fetch a paused lane again that has room.
// The pipeline does so itself, because the poller may be inside a poll that waits
// for records of other partitions, which may never come.
func (s *source) resumeLocked(l *lane) {
	if l.paused && l.phase != resolving && !l.read() && !l.resetting && !s.stocked(l) && !time.Now().Before(l.held) && l.bytes < s.laneBytesLocked()/2 {
		s.mu.client.ResumeFetchPartitions(map[string][]int32{l.topic: {l.partition}})
		l.paused = false
	}
}

// poll polls once and dispatches. The client blocks rebalances from the poll's
// return until AllowRebalance, so the lanes that are found by then are those that
// the records were fetched for.
func (s *source) poll(ctx context.Context, client *kgo.Client) {
	fetches := client.PollRecords(ctx, pollRecords)
	defer client.AllowRebalance()
	if ctx.Err() == nil || fetches.NumRecords() > 0 {
		s.dispatch(fetches)
	}
}

func (s *source) dispatch(fetches kgo.Fetches) {
	s.mu.Lock()
	var failed []kgo.FetchError
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			failed = append(failed, kgo.FetchError{Topic: p.Topic, Partition: p.Partition, Err: p.Err})
		}
		l := s.mu.lanes[topicPartition{p.Topic, p.Partition}]
		if l == nil || l.phase != flowing {
			return
		}
		l.end = s.visibleEnd(p)
		l.accept(p.Records)
	})
	s.mu.Unlock()
	signal(s.wake)
	for _, f := range failed {
		s.fetchFailed(f)
	}
}

// visibleEnd is where the log ends for this reader.
func (s *source) visibleEnd(p kgo.FetchTopicPartition) checkpoint.Offset {
	if s.conf.Isolation == kafka.ReadCommitted && p.LastStableOffset >= 0 {
		return checkpoint.Offset(p.LastStableOffset)
	}
	return checkpoint.Offset(p.HighWatermark)
}

// holdAfter is how long a partition is not fetched after an error that the client
// does not retry by itself, and asks for again at once.
const holdAfter = time.Second

// hold keeps the client from fetching a partition for a while.
func (s *source) hold(tp topicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.lanes[tp]
	if l == nil {
		return
	}
	s.pauseLaneLocked(tp, l)
	l.held = time.Now().Add(holdAfter)
	time.AfterFunc(holdAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.resumeLocked(l)
	})
}

// fetchFailed decides what an error of a fetch means.
func (s *source) fetchFailed(f kgo.FetchError) {
	var lost *kgo.ErrDataLoss
	tp := topicPartition{f.Topic, f.Partition}
	switch {
	case errors.As(f.Err, &lost):
		s.logCutBack(lost)
	case errors.Is(f.Err, context.Canceled), errors.Is(f.Err, kgo.ErrClientClosed):
	case errors.Is(f.Err, kerr.OffsetOutOfRange):
		s.outOfRange(tp)
	case kafka.MayBeDamage(f.Err) && f.Topic != "":
		s.damaged(f)
	default:
		s.hold(tp)
		s.reportFetch(f)
		if errors.Is(f.Err, kerr.UnknownTopicID) {
			s.topicUnknown(f.Topic)
		}
	}
}

// pollRecords bounds the records of one poll, so that lanes are filled evenly.
const pollRecords = 10_000

// reportEvery is how often an error of fetching that stays the same is logged.
const reportEvery = 10 * time.Second

// reportFetch logs an error of fetching, or stops the stream if no retry heals
// it. The client goes on trying by itself.
func (s *source) reportFetch(f kgo.FetchError) {
	where := fmt.Sprintf("reading %s/%d", f.Topic, f.Partition)
	if f.Topic == "" {
		where = "reading"
	}
	err := fmt.Errorf("%s: %w", where, f.Err)
	if fatal := s.fatalIf(err); errors.Is(fatal, checkpoint.ErrFatal) {
		s.handle.Fatal(fatal)
		return
	}
	s.report(where, fmt.Errorf("%w; trying on", err))
}

// report logs about a subject, but not more often than every reportEvery.
func (s *source) report(subject string, err error) {
	now := time.Now()
	s.mu.Lock()
	due := now.Sub(s.mu.reported[subject]) >= reportEvery
	if due {
		s.mu.reported[subject] = now
	}
	s.mu.Unlock()
	if due {
		s.log.Warnf("%v", err)
	}
}
