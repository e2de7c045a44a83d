package soak

import (
	"slices"
	"sort"
	"time"
)

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
	case n < acc.covered && acc.a.once:
		acc.a.violateLocked(Doubled, "partition %d: after %d comes %d again", acc.p, acc.prev, n)
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
	var latest int64
	for _, c := range acc.commits {
		if c.at.Before(r.At.Add(-acc.a.tolerance)) {
			latest = max(latest, c.offset)
		}
	}
	right := acc.after(latest) == r.From
	for _, c := range acc.commits {
		if !c.at.After(r.At) && c.offset >= latest {
			latest = c.offset
			right = right || acc.after(latest) == r.From
		}
	}
	if !right {
		acc.a.violateLocked(WrongRestart, "partition %d: read again from %d on, after %d; %d was committed", acc.p, r.From, r.After, latest)
	}
}

// after is the first number from n on that belongs into the output.
func (acc *account) after(n int64) int64 {
	for acc.exempt[n] {
		n++
	}
	return n
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
	base := sort.Search(len(acc.commits), func(i int) bool { return !acc.commits[i].at.Before(acc.prevAt.Add(-acc.a.tolerance)) }) - 1
	if base < 0 {
		return
	}
	at := acc.commits[base].offset
	i := sort.Search(len(acc.moments), func(i int) bool { return acc.moments[i].number > at })
	acc.moments = slices.Delete(acc.moments, 0, max(i-1, 0))
	acc.forgotten += base
	acc.commits = slices.Delete(acc.commits, 0, base)
}
