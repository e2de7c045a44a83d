package soak

import (
	"fmt"
	"slices"
	"sort"
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
	if n := len(acc.commits); n > 0 && c < acc.commits[n-1].offset {
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

// Finish tells where the source ends, when everything is delivered and committed.
func (a *Audit) Finish(ends []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, end := range ends {
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
			a.violateLocked(Altered, "partition %d: the output goes on to %d, the source ends at %d", p, acc.covered, end)
		}
		if n := len(acc.commits); n > 0 && acc.commits[n-1].offset > end {
			a.violateLocked(EarlyCommit, "partition %d: %d is committed, the source ends at %d", p, acc.commits[n-1].offset, end)
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

type commit struct {
	offset int64
	at     time.Time
}

// debt is a commit that the output up to end has to justify.
type debt struct{ offset, end int64 }

type span struct{ from, to int64 }

type moment struct {
	number int64
	at     time.Time
}

// account is what is known of one partition. The audit's lock guards it.
type account struct {
	a *Audit
	p int32
	// covered: every number below was delivered, or is exempt. ahead holds what was
	// delivered beyond the first gap, in order and not touching.
	covered int64
	ahead   []span
	exempt  map[int64]bool
	// prev is the number delivered last, scanned the output offset after it.
	prev    int64
	prevAt  time.Time
	scanned int64
	// moments tells when numbers were delivered, the last time each; one entry for
	// each new time.
	moments []moment
	// commits since the last forget, that one included; forgotten counts others.
	commits   []commit
	forgotten int
	debts     []debt
	restarts  []Restart
}

func (acc *account) deliver(n int64, at time.Time) {
	want := acc.prev + 1
	for acc.exempt[want] {
		want++
	}
	switch {
	case acc.exempt[n]:
		acc.a.violateLocked(Altered, "partition %d: record %d does not belong into the output", acc.p, n)
	case n == want:
	case n < acc.covered:
		acc.restarts = append(acc.restarts, Restart{
			Partition: acc.p, From: n, After: acc.prev, At: at, Span: acc.prevAt.Sub(acc.deliveredAt(n)),
		})
		acc.cutMoments(n)
	default:
		acc.a.violateLocked(Disorder, "partition %d: after %d comes %d", acc.p, acc.prev, n)
	}
	acc.cover(n)
	if k := len(acc.moments); k == 0 || !acc.moments[k-1].at.Equal(at) {
		acc.moments = append(acc.moments, moment{n, at})
	}
	acc.prev, acc.prevAt = n, at
}

// cover notes that n was delivered.
func (acc *account) cover(n int64) {
	acc.skipExempt()
	switch {
	case n < acc.covered:
	case n == acc.covered:
		acc.covered++
		acc.skipExempt()
		for len(acc.ahead) > 0 && acc.ahead[0].from <= acc.covered {
			acc.covered = max(acc.covered, acc.ahead[0].to)
			acc.ahead = acc.ahead[1:]
			acc.skipExempt()
		}
	default:
		i := sort.Search(len(acc.ahead), func(i int) bool { return acc.ahead[i].to >= n })
		switch {
		case i < len(acc.ahead) && acc.ahead[i].to == n:
			acc.ahead[i].to++
			if i+1 < len(acc.ahead) && acc.ahead[i+1].from == n+1 {
				acc.ahead[i].to = acc.ahead[i+1].to
				acc.ahead = slices.Delete(acc.ahead, i+1, i+2)
			}
		case i < len(acc.ahead) && acc.ahead[i].from <= n:
		case i < len(acc.ahead) && acc.ahead[i].from == n+1:
			acc.ahead[i].from = n
		default:
			acc.ahead = slices.Insert(acc.ahead, i, span{n, n + 1})
		}
	}
}

func (acc *account) skipExempt() {
	for acc.exempt[acc.covered] {
		acc.covered++
	}
}

// settleDebts checks the commits that the output below an offset has to justify.
func (acc *account) settleDebts(below int64) {
	kept := acc.debts[:0]
	for _, d := range acc.debts {
		if d.end > below {
			kept = append(kept, d)
			continue
		}
		acc.skipExempt()
		if acc.covered < d.offset {
			acc.a.violateLocked(EarlyCommit, "partition %d: %d was committed when the output, which ended at %d, lacked %d",
				acc.p, d.offset, d.end, acc.covered)
		}
	}
	acc.debts = kept
}

// judge finds out whether a restart was at the offset that was committed at its
// time. Times are the broker's, in milliseconds: of a commit in the same one it
// cannot be told whether it came first.
func (acc *account) judge(r Restart) {
	var sure, maybe int64
	for _, c := range acc.commits {
		if c.at.Before(r.At) {
			sure = max(sure, c.offset)
		}
		if !c.at.After(r.At) {
			maybe = max(maybe, c.offset)
		}
	}
	for acc.exempt[sure] {
		sure++
	}
	for acc.exempt[maybe] {
		maybe++
	}
	if r.From != sure && r.From != maybe {
		acc.a.violateLocked(WrongRestart, "partition %d: read again from %d on, after %d; %d was committed", acc.p, r.From, r.After, maybe)
	}
}

// deliveredAt tells when a number was delivered the last time.
func (acc *account) deliveredAt(n int64) time.Time {
	i := sort.Search(len(acc.moments), func(i int) bool { return acc.moments[i].number > n })
	if i == 0 {
		return time.Time{}
	}
	return acc.moments[i-1].at
}

// cutMoments forgets the moments from a number on: it is being delivered again.
func (acc *account) cutMoments(n int64) {
	i := sort.Search(len(acc.moments), func(i int) bool { return acc.moments[i].number >= n })
	acc.moments = acc.moments[:i]
}

// forget drops what cannot matter any more. Commits may be known up to a later time
// than the output: a restart that is still to come is not older than what was
// delivered last, and needs the commit before it.
func (acc *account) forget() {
	base := sort.Search(len(acc.commits), func(i int) bool { return !acc.commits[i].at.Before(acc.prevAt) }) - 1
	if base < 0 {
		return
	}
	at := acc.commits[base].offset
	i := sort.Search(len(acc.moments), func(i int) bool { return acc.moments[i].number > at })
	acc.moments = slices.Delete(acc.moments, 0, max(i-1, 0))
	acc.forgotten += base
	acc.commits = slices.Delete(acc.commits, 0, base)
}
