package checkpoint

import (
	"errors"
	"fmt"
	"time"
)

// Fail starts a rewind. While one is under way already, or before the start, the
// cause is that of an abandoned attempt and changes nothing.
func (m *Machine) Fail(now time.Time, cause error) []Action {
	if m.phase != running {
		return nil
	}
	wait, ok := time.Duration(0), true
	if !errors.Is(cause, ErrMoved) && !errors.Is(cause, ErrFenced) {
		wait, ok = m.restarts.failed(now, m.random())
	}
	if !ok {
		return m.Kill(Fatal(fmt.Errorf("restarted %d times within %v, the last time because of: %w",
			m.conf.Restart.MaxRestarts, m.conf.Restart.Window, cause)))
	}
	m.phase = rewinding
	m.resumeAt = now.Add(wait)
	acts := []Action{{Op: Discard, Err: cause, Wait: wait}}
	switch m.cur.stage {
	case persisting:
		m.rewind = persistWait
		return acts
	case flushing:
		acts = append(acts, Action{Op: CancelFlush, ID: m.cur.id})
	}
	return append(acts, m.drain()...)
}

// drain is the step of a rewind at which no persist is under way any more. Its
// only action was announced by Discard: Drained follows when the ledger is empty.
func (m *Machine) drain() []Action {
	m.rewind = draining
	m.cur = attempt{}
	m.request = request{}
	return nil
}

// Drained tells that the ledger is empty after a Discard. It may be told again:
// a rewind that still waits for a persist is not ready for it.
func (m *Machine) Drained(time.Time) []Action {
	if m.phase != rewinding || m.rewind != draining {
		return nil
	}
	m.rewind = aborting
	return []Action{{Op: Abort}}
}

// Aborted tells that nothing of the abandoned attempt is left. An error means
// that this cannot be known, so that going on might double records.
func (m *Machine) Aborted(now time.Time, kind Kind, err error) []Action {
	if m.phase != rewinding || m.rewind != aborting {
		return nil
	}
	if err != nil {
		return m.Kill(Fatal(fmt.Errorf("aborting what was not checkpointed: %w", err)))
	}
	m.rewind = backingOff
	return m.Tick(now, kind)
}

// Restored tells whether everybody is back at the last checkpoint. If not, the
// rewind is tried again after another back-off.
func (m *Machine) Restored(now time.Time, err error) []Action {
	if m.phase != rewinding || m.rewind != restoring {
		return nil
	}
	if errors.Is(err, ErrFatal) {
		return m.Kill(err)
	}
	if err != nil {
		wait, ok := m.restarts.failed(now, m.random())
		if !ok {
			return m.Kill(Fatal(fmt.Errorf("going back to checkpoint %d: %w", m.complete, err)))
		}
		m.rewind, m.resumeAt = backingOff, now.Add(wait)
		return nil
	}
	m.phase, m.rewind = running, idle
	m.schedule(now)
	return []Action{{Op: Resume, ID: m.complete}}
}

// Kill stops the machine for good.
func (m *Machine) Kill(err error) []Action {
	if m.phase == dead {
		return nil
	}
	m.phase, m.fatal = dead, err
	acts := []Action{}
	if m.cur.stage == flushing {
		acts = append(acts, Action{Op: CancelFlush, ID: m.cur.id})
	}
	return append(acts, Action{Op: Die, Err: err})
}
