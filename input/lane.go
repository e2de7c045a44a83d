package input

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// lane carries the records of one partition for the time of one assignment, from
// the dispatch of a poll to their acknowledgement. Everything in it is guarded by
// the source's mu.
//
// A lane is born when its partition is assigned and dies when it is revoked; a
// partition that comes back gets a new lane. So whatever still holds a dead lane
// (a poll, a batch under way, an acknowledgement) cannot touch the new one.
type lane struct {
	// number tells it from other lanes of the source.
	number    int
	topic     string
	partition int32

	born  time.Time
	phase lanePhase
	// turn counts how often the lane was taken back; what was prepared in an
	// earlier turn is stale.
	turn int

	// start is where the lane began, with the watermark from; next the offset that the
	// dispatch expects: anything below it is a repetition of the client and is dropped.
	start, next checkpoint.Offset
	from        checkpoint.Watermark
	// stop is the end of a bounded run, exclusive; checkpoint.Unbounded if none.
	stop checkpoint.Offset

	// queue holds records that wait to be emitted, in order; queued is how many, and
	// bytes about how much memory they take.
	queue         [][]*kgo.Record
	queued, bytes int
	// paused: the client does not fetch the partition. resetting: its position is
	// out of range and a new one is being looked for; the client would ask for it
	// without end.
	paused, resetting bool
	// held is until when it is not to be fetched.
	held time.Time
	// waits: it is too far ahead of others.
	waits bool
	// reset: it was moved to start by hand, and no checkpoint that was taken since is
	// complete: a rewind goes to start.
	reset bool

	prefix *checkpoint.Prefix
	// epoch is the leader epoch of the last record taken from the queue.
	epoch int32
	// damage is as in batch; a map that is there does not change.
	damage map[checkpoint.Offset]error
	// inflight counts batches emitted and not answered for.
	inflight int
	// again holds rejected batches that wait to be delivered again.
	again []*batch

	// end is where the log ended, as the isolation level sees it, when it was last
	// looked at; -1 before that.
	end checkpoint.Offset
	// quiet is since when nothing is left to read, at position quietAt; the zero value
	// while there is something. looked is when that was last seen to be so.
	quiet, looked time.Time
	quietAt       checkpoint.Offset

	// committed is the last position that was published, and when.
	committed   checkpoint.Offset
	committedAt time.Time

	meters laneMeters
}

type lanePhase uint8

const (
	// resolving: assigned, its start is not known yet.
	resolving lanePhase = iota
	// flowing: records are dispatched and emitted.
	flowing
	// draining: being revoked; what is in flight may still be acknowledged.
	draining
	// dead: whatever arrives is dropped.
	dead
)

func newLane(topic string, partition int32) *lane {
	return &lane{
		topic: topic, partition: partition, born: time.Now(), next: -1, start: -1, stop: checkpoint.Unbounded,
		epoch: checkpoint.UnknownEpoch, end: -1, committed: -1,
	}
}

// begin gives the lane its start and lets it flow.
func (l *lane) begin(st starting) {
	l.phase, l.born = flowing, time.Now()
	l.start, l.next, l.stop, l.from = st.at, st.at, st.stop, st.watermark
	l.prefix = checkpoint.NewPrefix(st.at)
	l.prefix.Advance(st.watermark)
}

// position reports where the lane stands, or false while that is unknown.
func (l *lane) position() (checkpoint.Position, bool) {
	if l.prefix == nil {
		return checkpoint.Position{}, false
	}
	return checkpoint.Position{
		Next: l.prefix.Position(), LeaderEpoch: l.epoch, Stop: l.stop, Watermark: l.prefix.Watermark(),
	}, true
}

// finished tells that a bounded lane was read, and acknowledged, to its end.
func (l *lane) finished() bool {
	return l.prefix != nil && l.stop != checkpoint.Unbounded && l.prefix.Position() >= l.stop
}

// read tells that a bounded lane needs no more records from the broker.
func (l *lane) read() bool { return l.stop != checkpoint.Unbounded && l.next >= l.stop }

// accept takes the records of a fetch. Repetitions of what the lane had already
// and records at or after the end of a bounded run are left out.
func (l *lane) accept(rs []*kgo.Record) {
	for len(rs) > 0 && checkpoint.Offset(rs[0].Offset) < l.next {
		rs = rs[1:]
	}
	if l.stop != checkpoint.Unbounded {
		for n := len(rs); n > 0 && checkpoint.Offset(rs[n-1].Offset) >= l.stop; n-- {
			rs = rs[:n-1]
			l.next = l.stop
		}
	}
	if len(rs) > 0 {
		l.next = max(l.next, checkpoint.Offset(rs[len(rs)-1].Offset)+1)
		l.queue = append(l.queue, rs)
		l.queued += len(rs)
		l.bytes += weigh(rs)
	}
	if l.stop != checkpoint.Unbounded && l.next >= l.stop && l.queued == 0 {
		l.prefix.Pass(l.stop)
	}
}

// take removes up to n records from the queue, control records left out, and
// opens a span for them. It returns nil if there was nothing to emit; positions
// have moved past control records all the same.
func (l *lane) take(n int) *batch {
	for l.queued > 0 {
		rs := l.cutQueue(n)
		last := rs[len(rs)-1]
		end := checkpoint.Offset(last.Offset) + 1
		if l.stop != checkpoint.Unbounded && l.next >= l.stop && l.queued == 0 {
			end = max(end, l.stop) // gaps before the end of a bounded run
		}
		l.epoch = last.LeaderEpoch
		rs = dropControl(rs)
		if len(rs) == 0 {
			l.prefix.Pass(end)
			continue
		}
		return &batch{lane: l, turn: l.turn, records: rs, span: l.prefix.Open(end), damage: l.damage}
	}
	return nil
}

// cutQueue removes up to n records from the head of the queue, at least one. A
// run that one fetch returned is sliced, not copied; short runs are joined.
func (l *lane) cutQueue(n int) []*kgo.Record {
	head := l.queue[0]
	if len(head) > n {
		l.queue[0] = head[n:]
		l.queued -= n
		l.bytes -= weigh(head[:n])
		return head[:n:n]
	}
	l.queue[0] = nil
	l.queue = l.queue[1:]
	for len(l.queue) > 0 && len(head)+len(l.queue[0]) <= n {
		head = append(head[:len(head):len(head)], l.queue[0]...)
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
	l.queued -= len(head)
	l.bytes -= weigh(head)
	return head
}

// recordOverhead is what a record takes beside its key, value and headers.
const recordOverhead = 200

// weigh estimates the memory that records take.
func weigh(rs []*kgo.Record) int {
	n := len(rs) * recordOverhead
	for _, r := range rs {
		n += len(r.Key) + len(r.Value)
	}
	return n
}

// back takes the lane back to a position, and a watermark: everything it holds is
// dropped.
func (l *lane) back(to checkpoint.Offset, w checkpoint.Watermark) {
	l.turn++
	l.queue, l.queued, l.bytes = nil, 0, 0
	l.again = nil
	l.inflight = 0
	l.next = to
	l.prefix.Reset(to)
	l.prefix.Advance(w)
}

// die drops everything.
func (l *lane) die() {
	l.phase = dead
	l.turn++
	l.queue, l.queued, l.bytes, l.again, l.inflight = nil, 0, 0, nil, 0
}

// dropControl leaves out transaction markers, which the client delivers so that
// positions can move past them.
func dropControl(rs []*kgo.Record) []*kgo.Record {
	for i, r := range rs {
		if r.Attrs.IsControl() {
			kept := append([]*kgo.Record(nil), rs[:i]...)
			for _, r := range rs[i+1:] {
				if !r.Attrs.IsControl() {
					kept = append(kept, r)
				}
			}
			return kept
		}
	}
	return rs
}

// batch is a run of records of one lane on its way through the pipeline.
type batch struct {
	lane    *lane
	turn    int
	records []*kgo.Record
	span    *checkpoint.Span
	// damage says what is wrong with records that stand for a batch that cannot be read; nil
	// if nothing is.
	damage map[checkpoint.Offset]error
	// tries counts deliveries before this one; due is when the next may start.
	tries int
	due   time.Time
}

// stale tells that the lane was taken back or has died since.
func (b *batch) stale() bool { return b.turn != b.lane.turn }
