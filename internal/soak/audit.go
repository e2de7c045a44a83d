package soak

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is a kind of violation.
type Fault string

// What an Audit can find.
const (
	// Lost: a record is not in the output.
	Lost Fault = "lost"
	// Disorder: a record came before one that belongs in front of it.
	Disorder Fault = "disorder"
	// EarlyCommit: an offset was committed before everything below it was in the
	// output.
	EarlyCommit Fault = "early commit"
	// WrongRestart: a partition was not read again from its committed offset.
	WrongRestart Fault = "wrong restart"
	// TooManyRepeats: more was repeated than one interval.
	TooManyRepeats Fault = "too many repeats"
	// CommitBack: a commit went back behind an earlier one.
	CommitBack Fault = "commit back"
	// Altered: key, value or partition are not those of the source.
	Altered Fault = "altered"
	// WrongState: state is not the fold of exactly the records below the position.
	WrongState Fault = "wrong state"
	// AbandonedAttempt: a record of an abandoned attempt got through.
	AbandonedAttempt Fault = "abandoned attempt"
	// Doubled: a reader of what is committed got a record again.
	Doubled Fault = "doubled"
	// LeftOpen: a transaction stayed open after what it belonged to was over.
	LeftOpen Fault = "left open"
	// Unhealthy: something else that must not happen, such as a wrong exit code.
	Unhealthy Fault = "unhealthy"
)

// Violation is one thing that must not be.
type Violation struct {
	Fault Fault  `json:"fault"`
	What  string `json:"what"`
}

// maxViolations is how many are kept in words; all are counted.
const maxViolations = 50

// Audit checks what was delivered and committed, of which it is told in the order
// in which it is in the logs. It is safe for concurrent use.
type Audit struct {
	mu         sync.Mutex
	parts      []*account
	violations []Violation
	counts     map[Fault]int
	tolerance  time.Duration
	once       bool
	takenBack  bool
}

// NewAudit returns an audit of source partitions 0 to partitions-1.
func NewAudit(partitions int) *Audit {
	a := &Audit{parts: make([]*account, partitions), counts: map[Fault]int{}}
	for p := range a.parts {
		a.parts[p] = &account{a: a, p: int32(p), prev: -1, exempt: map[int64]bool{}}
	}
	return a
}

// Restart is a place in the output where a partition was read again.
type Restart struct {
	Partition int32 `json:"partition"`
	// From is the first number after the restart, After the last before it.
	From  int64 `json:"from"`
	After int64 `json:"after"`
	// At is when From was written again.
	At time.Time `json:"at"`
	// Span is how long before After From had been written.
	Span time.Duration `json:"span_ns"`
}

// Repeats is how many records were delivered again.
func (r Restart) Repeats() int64 { return max(r.After-r.From+1, 0) }

// Tolerate accepts restarts at an offset that was the committed one at some time
// within d before the restart showed. It is for processes that live on: one that
// gets its partitions back after an outage asks for the committed offset at once,
// and what it had under way before is delivered, and committed, in between.
func (a *Audit) Tolerate(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tolerance = d
}

// Once tells that what is delivered is delivered exactly once.
func (a *Audit) Once() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.once = true
}

// TakenBack accepts commits that go back behind earlier ones.
func (a *Audit) TakenBack() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.takenBack = true
}

// Exempt tells that a number does not belong into the output.
func (a *Audit) Exempt(p int32, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parts[p].exempt[n] = true
}

// Delivered tells of number n of partition p, at an offset of output partition p.
func (a *Audit) Delivered(p int32, n, offset int64, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.parts[p]
	acc.settleDebts(offset)
	acc.deliver(n, at)
	acc.scanned = offset + 1
}

// Committed tells that offset c of source partition p was committed, and that the
// output partition ended at end when that had been seen; -1 if nobody knows.
func (a *Audit) Committed(p int32, c int64, at time.Time, end int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.parts[p]
	if n := len(acc.commits); n > 0 && c < acc.commits[n-1].offset && !a.takenBack {
		a.violateLocked(CommitBack, "partition %d: %d was committed after %d", p, c, acc.commits[n-1].offset)
	}
	acc.commits = append(acc.commits, commit{c, at})
	if end >= 0 {
		acc.debts = append(acc.debts, debt{c, end})
		acc.settleDebts(acc.scanned)
	}
}

// Settle judges the restarts since the last call, when all commits and all output
// up to now are known, and returns them.
func (a *Audit) Settle() []Restart {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Restart
	for _, acc := range a.parts {
		for _, r := range acc.restarts {
			acc.judge(r)
		}
		all = append(all, acc.restarts...)
		acc.restarts = nil
		acc.forget()
	}
	return all
}

// Finish tells where the source ends, and how much is to be delivered of it, when everything
// is delivered and committed.
func (a *Audit) Finish(ends, due []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, end := range due {
		acc := a.parts[p]
		acc.skipExempt()
		for at := acc.covered; at < end; {
			to := end
			if len(acc.ahead) > 0 {
				to = min(to, acc.ahead[0].from)
			}
			a.violateLocked(Lost, "partition %d: %d records from offset %d to %d are not in the output", p, to-at, at, to-1)
			if len(acc.ahead) == 0 {
				break
			}
			at = acc.ahead[0].to
			acc.ahead = acc.ahead[1:]
		}
		if acc.covered > end {
			a.violateLocked(Altered, "partition %d: the output goes on to %d, and should end at %d", p, acc.covered, end)
		}
		if n := len(acc.commits); n > 0 && acc.commits[n-1].offset > ends[p] {
			a.violateLocked(EarlyCommit, "partition %d: %d is committed, the source ends at %d", p, acc.commits[n-1].offset, ends[p])
		}
	}
}

// Next returns, by partition, the number after the last one delivered.
func (a *Audit) Next() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := make([]int64, len(a.parts))
	for p, acc := range a.parts {
		next[p] = acc.prev + 1
	}
	return next
}

// Commits returns how many commits were seen, and the last ones by partition, 0
// where there is none.
func (a *Audit) Commits() (count int, last []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last = make([]int64, len(a.parts))
	for p, acc := range a.parts {
		count += acc.forgotten + len(acc.commits)
		if n := len(acc.commits); n > 0 {
			last[p] = acc.commits[n-1].offset
		}
	}
	return count, last
}

// Violate notes a violation that somebody else found.
func (a *Audit) Violate(f Fault, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.violateLocked(f, format, args...)
}

func (a *Audit) violateLocked(f Fault, format string, args ...any) {
	a.counts[f]++
	if len(a.violations) < maxViolations {
		a.violations = append(a.violations, Violation{f, fmt.Sprintf(format, args...)})
	}
}

// Violations returns the first violations, and how many there are of each kind.
func (a *Audit) Violations() ([]Violation, map[Fault]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := map[Fault]int{}
	for f, n := range a.counts {
		counts[f] = n
	}
	return slices.Clone(a.violations), counts
}

// Red tells whether anything was violated.
func (a *Audit) Red() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.violations) > 0
}

// String lists the violations.
func (a *Audit) String() string {
	first, counts := a.Violations()
	if len(first) == 0 {
		return "no violation"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "violations %v, the first of them:\n", counts)
	for _, v := range first {
		fmt.Fprintf(&b, "  %s: %s\n", v.Fault, v.What)
	}
	return b.String()
}
