package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// errNotAsked says that nobody has to know where the output ends.
var errNotAsked = errors.New("not asked for")

// once is what a rig knows of a pipeline that delivers exactly once.
type once struct {
	// raw reads the target with all that was aborted.
	raw *tail

	mu sync.Mutex
	// owners holds, by source partition, the transactional id whose commit came last,
	// writers the ids by client.
	owners  map[int32]string
	writers map[string]string
	// written counts the records of the target, aborted ones included, seen those that a
	// reader of committed ones has seen, aborts by partition the transactions that were
	// aborted.
	written, seen int64
	aborts        int
	// shown is when a record of a partition could last be seen.
	shown []time.Time
	// loaded is when a broker that was away can be believed again.
	loaded time.Time
}

// FollowOnce is Follow for a pipeline that delivers exactly once: of output and commits it
// sees what a reader of committed transactions does, in which everything has to be once
// and in order. Beside that it counts what was aborted, and asks for the group's offsets
// all the time, which must not go back.
func (r *Rig) FollowOnce() {
	r.t.Helper()
	n := r.Numbers.Partitions()
	r.once = &once{owners: map[int32]string{}, writers: map[string]string{}, shown: make([]time.Time, n)}
	r.Audit.Once()
	r.Watch = r.once.show
	r.once.raw = r.tail(&tail{topic: r.Target, handle: r.once.count, marker: r.once.ended}, r.Output, r.starts())
	r.Follow()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.sampleOffsets(ctx)
	}()
	r.t.Cleanup(func() { cancel(); <-done })
}

func (o *once) show(p int32, _ int64, _ *kgo.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown[p] = time.Now()
	o.seen++
}

func (o *once) count(*kgo.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written++
}

// ended is told of the end of a transaction in a partition of the target.
func (o *once) ended(r *kgo.Record) {
	const abort = 0 // after the version, in two bytes each
	if len(r.Key) < 4 || binary.BigEndian.Uint16(r.Key[2:]) != abort {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.aborts++
}

// claimed notes who has a partition, as the mark of a commit says.
func (o *once) claimed(p int32, metadata string) {
	m, ok, err := kafka.ParseMark(metadata)
	if err != nil || !ok || m.Writer == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners[p] = m.Writer
	// A member is called after its client, or after its instance if it has one.
	const uuid = len("-00000000-0000-0000-0000-000000000000")
	if len(m.Member) > uuid {
		o.writers[m.Member[:len(m.Member)-uuid]] = m.Writer
	}
}

// WriterOf returns the transactional id of a child, by its instance, or its name if it has
// none; empty if it has not had a partition yet.
func (r *Rig) WriterOf(name string) string {
	r.once.mu.Lock()
	defer r.once.mu.Unlock()
	return r.once.writers[name]
}

// Owned returns the partitions that a transactional id was the last to commit for.
func (r *Rig) Owned(writer string) []int32 {
	r.once.mu.Lock()
	defer r.once.mu.Unlock()
	var ps []int32
	for p, w := range r.once.owners {
		if w == writer {
			ps = append(ps, p)
		}
	}
	return ps
}

// Aborted returns how many transactions were aborted, counted by partition of the target,
// and how many records were written that nobody who reads committed ones will see, or not
// yet.
func (r *Rig) Aborted() (transactions int, records int64) {
	r.once.mu.Lock()
	defer r.once.mu.Unlock()
	return r.once.aborts, r.once.written - r.once.seen
}

// Open returns the transactions of the rig's group that are open, with the time when they
// began, by transactional id. It is an error if brokers do not answer.
func (r *Rig) Open() (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	listed, err := kadm.NewClient(r.targets).ListTransactions(ctx, nil, []string{"Ongoing"})
	if err != nil {
		return nil, fmt.Errorf("listing transactions: %w", err)
	}
	maps.DeleteFunc(listed, func(id string, _ kadm.ListedTransaction) bool { return !strings.Contains(id, r.Group) })
	if len(listed) == 0 {
		return nil, nil
	}
	described, err := kadm.NewClient(r.targets).DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		return nil, fmt.Errorf("describing transactions: %w", err)
	}
	open := map[string]time.Time{}
	for id, d := range described {
		if d.Err == nil && d.State == "Ongoing" {
			open[id] = time.UnixMilli(d.StartTimestamp)
		}
	}
	return open, nil
}

// AwaitEnded waits until no transaction is open that began before a moment.
func (r *Rig) AwaitEnded(before time.Time, within time.Duration) bool {
	end := time.Now().Add(within)
	for {
		open, err := r.Open()
		maps.DeleteFunc(open, func(_ string, began time.Time) bool { return !began.Before(before) })
		if err == nil && len(open) == 0 {
			return true
		}
		if time.Now().After(end) {
			r.Audit.Violate(LeftOpen, "%v later these transactions, from before %v, are still open: %v (%v)",
				within, before.Format(time.TimeOnly), open, err)
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// AwaitEnd waits until a child ends by itself with an exit code.
func (r *Rig) AwaitEnd(c *Child, code int, within time.Duration) bool {
	r.children = slices.DeleteFunc(r.children, func(o *Child) bool { return o == c })
	got, err := c.Wait(within)
	if err == nil && got != code {
		err = fmt.Errorf("%s ended with code %d, want %d; its log ends:\n%s", c.name, got, code, c.logEnd(20))
	}
	if err != nil {
		r.Audit.Violate(Unhealthy, "%v", err)
	}
	return err == nil
}

// Shown returns when a record of a partition could last be seen.
func (r *Rig) Shown(p int32) time.Time {
	r.once.mu.Lock()
	defer r.once.mu.Unlock()
	return r.once.shown[p]
}

// sampleEvery is how often the group's offsets are asked for.
const sampleEvery = 50 * time.Millisecond

// loading is how long a broker that was started may take to read what was committed. One that
// was killed is elected twice; on a busy machine Kafka 4.1.0 takes the end of its first reading
// for that of the second, and for a moment tells of offsets of long ago.
const loading = 10 * time.Second

// WhileAway calls a function that ends a broker and starts it again. Until it has had time to
// load, offsets that it tells of may be behind: a commit that does go back is in the log,
// where followCommits sees it, and stays behind afterwards.
func (r *Rig) WhileAway(restart func()) {
	known := func(at time.Time) {
		r.once.mu.Lock()
		defer r.once.mu.Unlock()
		r.once.loaded = at
	}
	known(time.Now().Add(time.Hour))
	restart()
	known(time.Now().Add(loading))
}

// sampleOffsets asks for the offsets of the group again and again.
func (r *Rig) sampleOffsets(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	highest := map[int32]int64{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		offsets, err := r.admin.FetchOffsets(within, r.Group)
		cancel()
		if err != nil {
			continue // The broker may be away.
		}
		for p, o := range offsets[r.Source] {
			if o.Err != nil {
				continue
			}
			if o.At < highest[p] && !r.offsetsForShow && r.once.answers() {
				r.Audit.Violate(CommitBack, "partition %d: %d is committed, and %d was", p, o.At, highest[p])
			}
			highest[p] = max(highest[p], o.At)
		}
	}
}

func (o *once) answers() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().After(o.loaded)
}

// CatchUpRaw returns when also what was aborted so far was counted.
func (r *Rig) CatchUpRaw() {
	r.t.Helper()
	ctx, cancel := r.context()
	defer cancel()
	r.must(r.once.raw.await(ctx))
}
