package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// move is one time that partitions changed hands; times are in seconds.
type move struct {
	Kind       string `json:"kind"`
	Repetition int    `json:"repetition"`
	// Partitions that moved.
	Partitions []int32 `json:"partitions"`
	// FromEvent and FromAssigned last until the new owner has read a record of each: since the
	// start or end of a process, and since the group's coordinator has given them out.
	FromEvent    float64 `json:"from_event_seconds"`
	FromAssigned float64 `json:"from_assignment_seconds"`
	// Waited is the longest that a record of them took until a reader had it.
	Waited float64 `json:"longest_wait_seconds"`
	Busy   float64 `json:"load_average_before"`
}

// calm is how long everything flows before and after a move.
const calm = 2 * time.Second

// move has partitions change hands.
func (t *troupe) move(ctx context.Context, kind string) (move, error) {
	m := move{Kind: kind}
	if err := pause(ctx, calm); err != nil {
		return m, err
	}
	if err := t.settle(ctx); err != nil {
		return m, err
	}
	m.Busy = loadAverage()
	before, err := t.assigned(ctx)
	if err != nil {
		return m, err
	}
	from := max(t.flow.count()-int(calm.Seconds()*probesPerSecond), 0)
	event := time.Now()
	heir, gone, err := t.upset(kind)
	if err != nil {
		return m, err
	}
	base := heir.recordsIn()
	var given, going time.Time
	err = t.until(ctx, "partitions did not go on", func() (bool, error) {
		now, err := t.assigned(ctx)
		if err != nil {
			return false, err
		}
		if given.IsZero() && len(now[heir.name]) == t.share() {
			given = time.Now()
			m.Partitions = slices.DeleteFunc(slices.Clone(now[heir.name]), func(p int32) bool { return slices.Contains(before[heir.name], p) })
			slices.Sort(m.Partitions)
		}
		if given.IsZero() {
			return false, nil
		}
		counts := heir.recordsIn()
		going = time.Now()
		return !slices.ContainsFunc(m.Partitions, func(p int32) bool { return counts[p] <= base[p] }), nil
	})
	if err != nil {
		return m, err
	}
	m.FromEvent, m.FromAssigned = going.Sub(event).Seconds(), going.Sub(given).Seconds()
	if err := errors.Join(<-gone, t.settle(ctx)); err != nil {
		return m, err
	}
	m.Waited = t.waited(from, m.Partitions)
	return m, nil
}

// share is how many partitions each member has.
func (t *troupe) share() int { return partitions / len(t.members) }

// upset starts or ends a member. It returns who gets partitions by that, and what tells that
// whoever goes is gone.
func (t *troupe) upset(kind string) (heir *member, gone chan error, err error) {
	gone = make(chan error, 1)
	if kind == joins {
		heir, err = t.hire()
		close(gone)
		return heir, gone, err
	}
	leaver := t.members[0]
	t.dismiss(leaver)
	if kind == killed {
		leaver.kill()
		close(gone)
		return t.members[0], gone, nil
	}
	go func() { gone <- leaver.stop() }()
	return t.members[0], gone, nil
}

// waited returns the longest that a record of some partitions took, from a number on, in
// seconds.
func (t *troupe) waited(from int, moved []int32) float64 {
	sent, seen := t.flow.times(from, t.flow.count())
	longest := time.Duration(0)
	for i := range sent {
		if slices.Contains(moved, int32((from+i)%partitions)) && !seen[i].IsZero() {
			longest = max(longest, seen[i].Sub(sent[i]))
		}
	}
	return longest.Seconds()
}

// readResults reads what was in the windows that are looked at, and returns of how many keys.
func (t *troupe) readResults(ctx context.Context) (keys int, err error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().At(0)
	}
	cl, err := kgo.NewClient(append(t.kafka.ClientOptions(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.Out: from}))...)
	if err != nil {
		return 0, fmt.Errorf("making a consumer: %w", err)
	}
	defer cl.Close()
	results := resultsOf(t.keys)
	keys = results.left
	for results.left > 0 {
		bounded, cancel := context.WithTimeout(ctx, t.stall)
		fetches := cl.PollFetches(bounded)
		cancel()
		err := fetches.Err()
		fetches.EachRecord(func(r *kgo.Record) { err = errors.Join(err, results.add(string(r.Key), r.Value)) })
		for _, m := range t.members {
			err = errors.Join(err, m.ended())
		}
		if err != nil {
			return 0, fmt.Errorf("reading results, of which %d of %d are missing: %w", results.left, keys, err)
		}
	}
	return keys, nil
}

// results are those of the windows that are looked at: each key's, once, with one record.
type results struct {
	seen []bool
	left int
}

func resultsOf(keys int) *results {
	return &results{seen: make([]bool, keys), left: (keys + checkedKeys - 1) / checkedKeys}
}

// add takes what came out of the job, by its key. What is of no window is nothing to it.
func (r *results) add(key string, value []byte) error {
	number, ok := strings.CutPrefix(key, "user-")
	if !ok {
		return nil
	}
	n, err := strconv.Atoi(number)
	var v struct{ Records int }
	if err == nil {
		err = json.Unmarshal(value, &v)
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading the result %q %s: %w", key, value, err)
	case n < 0 || n >= len(r.seen) || n%checkedKeys != 0 || v.Records != 1:
		return fmt.Errorf("the result %q %s is wrong", key, value)
	case r.seen[n]:
		return fmt.Errorf("the result %q %s is there twice", key, value)
	}
	r.seen[n] = true
	r.left--
	return nil
}
