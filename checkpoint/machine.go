package checkpoint

import (
	"errors"
	"fmt"
	"time"
)

// Machine decides when a checkpoint starts, what its next step is, and what
// happens when something fails. It is told what happened, each time with the
// time, and answers with what to do; it does nothing itself.
//
// A checkpoint goes through these stages; one is under way at a time:
//
//	aligning    (aligned cut only) nothing may enter the ledger; wait until it is empty
//	            → Aligned
//	cut         positions, state and epochs are taken under one lock → CutTaken
//	flushing    sinks make everything up to the cut durable → Flushed
//	persisting  the store takes positions and state: now it is complete → Persisted
//	committing  sources publish their offsets → Committed
//
// A rewind goes through these:
//
//	persist-wait a persist under way cannot be called back: its outcome decides
//	             where to go back to
//	draining     sinks discard, nothing may enter, the ledger empties → Drained
//	aborting     nothing of the attempt can reach a target any more, state is
//	             dropped → Aborted
//	backing off  the restart strategy's pause
//	restoring    operators forget, sources go back → Restored
type Machine struct {
	conf     Config
	phase    phase
	used     ID
	complete ID
	cur      attempt
	next     time.Time
	request  request
	failures int

	restarts restarts
	random   func() float64
	rewind   stage
	resumeAt time.Time
	fatal    error
}

type phase uint8

const (
	notStarted phase = iota
	running
	rewinding
	// ended: the final checkpoint is complete, nothing may follow it.
	ended
	dead
)

type stage uint8

const (
	idle stage = iota
	aligning
	cutting
	flushing
	persisting
	committing
	persistWait
	draining
	aborting
	backingOff
	restoring
)

var stageNames = [...]string{
	"idle", "aligning", "cutting", "flushing", "persisting", "committing",
	"persist-wait", "draining", "aborting", "backing off", "restoring",
}

type attempt struct {
	id       ID
	kind     Kind
	stage    stage
	started  time.Time
	deadline time.Time
	final    bool
}

type request struct{ wanted, final bool }

// NewMachine returns a machine that has not started. random returns numbers in
// [0, 1) for the jitter of back-offs.
func NewMachine(conf Config, random func() float64) *Machine {
	return &Machine{conf: conf, random: random, restarts: restarts{conf: conf.Restart}}
}

// Start begins, after the last complete checkpoint of the job. used is the
// highest id ever used.
func (m *Machine) Start(now time.Time, complete, used ID) {
	m.phase = running
	m.complete, m.used = complete, max(complete, used)
	m.schedule(now)
}

// Continue tells of a complete checkpoint of the job that was found after Start:
// ids go on from there.
func (m *Machine) Continue(id ID) {
	if m.complete == 0 && m.used < id {
		m.complete = id
	}
	m.used = max(m.used, id)
}

// Found tells of a checkpoint that turned out to be complete after a rewind had begun
// because nobody knew.
func (m *Machine) Found(id ID) { m.complete, m.used = max(m.complete, id), max(m.used, id) }

// LastComplete returns the id of the last complete checkpoint, 0 if none.
func (m *Machine) LastComplete() ID { return m.complete }

// Rewinding tells whether a rewind is under way.
func (m *Machine) Rewinding() bool { return m.phase == rewinding }

// Fatal returns why the machine has died, or nil.
func (m *Machine) Fatal() error { return m.fatal }

// String prints the state for scripts.
func (m *Machine) String() string {
	switch m.phase {
	case notStarted:
		return "not started"
	case ended:
		return "ended"
	case dead:
		return "dead"
	case rewinding:
		return stageNames[m.rewind]
	}
	if m.cur.stage == idle {
		return "running"
	}
	return fmt.Sprintf("%s %d", stageNames[m.cur.stage], m.cur.id)
}

// Wake returns when Tick must be called next; the zero time means never.
func (m *Machine) Wake() time.Time {
	switch {
	case m.phase == rewinding && m.rewind == backingOff:
		return m.resumeAt
	case m.phase != running:
		return time.Time{}
	case m.cur.stage == idle:
		return m.next
	case m.cur.stage == aligning || m.cur.stage == flushing:
		return m.cur.deadline
	}
	return time.Time{}
}

// Tick tells the time.
func (m *Machine) Tick(now time.Time, kind Kind) []Action {
	if m.phase == rewinding && m.rewind == backingOff && !now.Before(m.resumeAt) {
		m.rewind = restoring
		return []Action{{Op: Restore}}
	}
	if m.phase != running {
		return nil
	}
	switch m.cur.stage {
	case idle:
		if !m.next.IsZero() && !now.Before(m.next) {
			return m.begin(now, kind)
		}
	case aligning:
		if !now.Before(m.cur.deadline) {
			return m.fail(now, kind, fmt.Errorf("batches still under way after %v", m.conf.Timeout))
		}
	case flushing:
		if !now.Before(m.cur.deadline) {
			return m.fail(now, kind, fmt.Errorf("sinks not flushed after %v", m.conf.Timeout))
		}
	}
	return nil
}

// Request asks for a checkpoint that starts from now on; final marks it as the
// last one, after which nothing happens any more. It is taken after the one under
// way, if any. Before the start, in a rewind and after the end nothing is noted:
// who asks must ask again.
func (m *Machine) Request(now time.Time, kind Kind, final bool) []Action {
	if m.phase != running {
		return nil
	}
	m.request.wanted = true
	m.request.final = m.request.final || final
	return m.proceed(now, kind)
}

// Aligned tells that the ledger is empty.
func (m *Machine) Aligned(time.Time) []Action {
	if m.phase != running || m.cur.stage != aligning {
		return nil
	}
	m.cur.stage = cutting
	return []Action{{Op: Cut, ID: m.cur.id, Kind: m.cur.kind, Final: m.cur.final}}
}

// CutTaken tells that positions and state are frozen, or why not.
func (m *Machine) CutTaken(now time.Time, kind Kind, err error) []Action {
	if m.phase != running || m.cur.stage != cutting {
		return nil
	}
	if err != nil {
		return m.fail(now, kind, err)
	}
	flush := Action{Op: Flush, ID: m.cur.id}
	m.cur.stage = flushing
	if m.cur.kind == Aligned {
		return []Action{{Op: Unalign}, flush}
	}
	return []Action{flush}
}

// Flushed tells how the flush of a checkpoint ended. An answer that comes after
// the checkpoint was given up is ignored.
func (m *Machine) Flushed(now time.Time, kind Kind, id ID, err error) []Action {
	if m.phase != running || m.cur.stage != flushing || m.cur.id != id {
		return nil
	}
	if err != nil {
		return m.fail(now, kind, err)
	}
	m.cur.stage = persisting
	return []Action{{Op: Persist, ID: id, Kind: m.cur.kind, Final: m.cur.final}}
}

// Persisted tells whether the store has the checkpoint.
func (m *Machine) Persisted(now time.Time, kind Kind, id ID, err error) []Action {
	awaited := m.phase == rewinding && m.rewind == persistWait || m.phase == running && m.cur.stage == persisting
	if !awaited || m.cur.id != id {
		return nil
	}
	if errors.Is(err, ErrFatal) || errors.Is(err, ErrCorrupt) {
		return m.Kill(err)
	}
	if m.phase == rewinding {
		if err == nil {
			m.complete, m.failures = id, 0
		}
		return m.drain()
	}
	if errors.Is(err, ErrInDoubt) {
		failed := Action{Op: Failed, ID: id, Final: m.cur.final, Err: err}
		m.cur = attempt{}
		return append([]Action{failed}, m.Fail(now, err)...)
	}
	if err != nil {
		return m.fail(now, kind, err)
	}
	m.complete = id
	m.failures = 0
	m.cur.stage = committing
	return []Action{{Op: Commit, ID: id}}
}

// Committed tells that the sources were told of a checkpoint. If they could not
// publish their offsets the checkpoint stands all the same.
func (m *Machine) Committed(now time.Time, kind Kind, id ID) []Action {
	if m.phase != running || m.cur.stage != committing || m.cur.id != id {
		return nil
	}
	done := Action{Op: Completed, ID: id, Kind: m.cur.kind, Final: m.cur.final}
	if done.Final {
		m.phase, m.cur = ended, attempt{}
		return []Action{done}
	}
	m.end(now)
	return append([]Action{done}, m.proceed(now, kind)...)
}

// proceed starts what was asked for, if nothing is under way.
func (m *Machine) proceed(now time.Time, kind Kind) []Action {
	if m.phase != running || m.cur.stage != idle || !m.request.wanted {
		return nil
	}
	return m.begin(now, kind)
}

func (m *Machine) begin(now time.Time, kind Kind) []Action {
	m.used++
	m.cur = attempt{
		id: m.used, kind: kind, stage: cutting, final: m.request.final,
		started: now, deadline: now.Add(m.conf.Timeout),
	}
	m.request = request{}
	if kind == Aligned {
		m.cur.stage = aligning
		return []Action{{Op: Align, ID: m.cur.id}}
	}
	return []Action{{Op: Cut, ID: m.cur.id, Kind: kind, Final: m.cur.final}}
}

// fail ends the checkpoint under way. What it froze stays frozen: the next one
// covers it too.
func (m *Machine) fail(now time.Time, kind Kind, err error) []Action {
	var acts []Action
	switch {
	case m.cur.kind == Aligned && (m.cur.stage == aligning || m.cur.stage == cutting):
		acts = append(acts, Action{Op: Unalign})
	case m.cur.stage == flushing:
		acts = append(acts, Action{Op: CancelFlush, ID: m.cur.id})
	}
	acts = append(acts, Action{Op: Failed, ID: m.cur.id, Final: m.cur.final, Err: err})
	stalled := m.cur.stage == aligning
	m.end(now)
	if stalled && m.conf.Interval > 0 {
		// What holds the ledger may wait for more to come. If the next checkpoint
		// began at once, sources would be let in for no time at all.
		m.next = now.Add(max(m.conf.Interval, m.conf.MinPause))
	}
	m.failures++
	if m.conf.TolerableFailures >= 0 && m.failures > m.conf.TolerableFailures {
		m.failures = 0
		return append(acts, m.Fail(now, fmt.Errorf("%d checkpoints failed in a row, the last one because of: %w",
			m.conf.TolerableFailures+1, err))...)
	}
	return append(acts, m.proceed(now, kind)...)
}

// end makes room for the next checkpoint.
func (m *Machine) end(now time.Time) {
	started := m.cur.started
	m.cur = attempt{}
	m.schedule(now)
	if m.conf.Interval <= 0 {
		return
	}
	// The interval is from start to start; a slow checkpoint is followed at once
	// by the next, min_pause aside.
	if at := started.Add(m.conf.Interval); at.Before(m.next) {
		m.next = at
	}
	if pause := now.Add(m.conf.MinPause); m.next.Before(pause) {
		m.next = pause
	}
}

func (m *Machine) schedule(now time.Time) {
	m.next = time.Time{}
	if m.conf.Interval > 0 {
		m.next = now.Add(m.conf.Interval)
	}
}
