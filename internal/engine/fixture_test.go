package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// journal is the order of effects, as everybody who takes part reports them.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was added since the last time.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

// record is one record on its way.
type record struct {
	origin checkpoint.Origin
	span   *checkpoint.Span
}

func (r *record) String() string {
	return fmt.Sprintf("%s@%d", r.origin.Entry.Partition, r.origin.Offset)
}

// feed is a source whose partitions never run dry. Each batch is one record.
type feed struct {
	name    string
	journal *journal
	handle  checkpoint.SourceHandle

	mu        sync.Mutex
	lanes     map[checkpoint.Partition]*lane
	commitErr error
	commits   []checkpoint.Manifest
	rewindErr error
	// holdRewind keeps Rewind from returning until it is closed; nil = at once.
	holdRewind chan struct{}
}

type lane struct {
	start, next checkpoint.Offset
	prefix      *checkpoint.Prefix
	stop        checkpoint.Offset
}

func newFeed(j *journal, name string, partitions ...int32) *feed {
	f := &feed{name: name, journal: j, lanes: map[checkpoint.Partition]*lane{}}
	for _, id := range partitions {
		f.lanes[checkpoint.Partition{Topic: "t", ID: id}] = &lane{prefix: checkpoint.NewPrefix(0), stop: checkpoint.Unbounded}
	}
	return f
}

// restore starts where the last checkpoint says.
func (f *feed) restore(t testing.TB) checkpoint.Restored {
	t.Helper()
	r, err := f.handle.Restore(t.Context())
	require.NoError(t, err)
	f.startAt(r.Positions)
	return r
}

func (f *feed) startAt(ps checkpoint.Positions) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, l := range f.lanes {
		p.Source = f.name
		l.start = ps[p].Next
		l.next = l.start
		l.prefix.Reset(l.start)
	}
}

// emit puts the next record of a partition into the ledger.
func (f *feed) emit(ctx context.Context, id int32) (*record, error) {
	p := checkpoint.Partition{Topic: "t", ID: id}
	attempt := f.handle.Attempt()
	e, err := f.handle.Enter(ctx, p)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if attempt != e.Attempt {
		f.handle.Leave(e, nil)
		return nil, nil // What was prepared before a rewind is not emitted after it.
	}
	l := f.lanes[p]
	r := &record{origin: checkpoint.Origin{Context: ctx, Entry: e, Offset: l.next}, span: l.prefix.Open(l.next + 1)}
	l.next++
	return r, nil
}

// ack answers for a record.
func (f *feed) ack(r *record) {
	if r.origin.Entry.State() == checkpoint.Live {
		f.mu.Lock()
		p := r.origin.Entry.Partition
		p.Source = ""
		f.lanes[p].prefix.Done(r.span)
		f.mu.Unlock()
	}
	f.handle.Leave(r.origin.Entry, nil)
}

func (f *feed) Positions() checkpoint.Positions {
	f.mu.Lock()
	defer f.mu.Unlock()
	ps := checkpoint.Positions{}
	for p, l := range f.lanes {
		ps[p] = checkpoint.Position{Next: l.prefix.Position(), LeaderEpoch: checkpoint.UnknownEpoch, Stop: l.stop}
	}
	return ps
}

func (f *feed) Commit(_ context.Context, m *checkpoint.Manifest) error {
	f.journal.add("%s: commit %d %s", f.name, m.ID, offsets(m.Positions))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.commitErr != nil {
		return f.commitErr
	}
	f.commits = append(f.commits, *m)
	return nil
}

func (f *feed) committed() []checkpoint.Manifest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.commits)
}

func (f *feed) Rewind(ctx context.Context, to checkpoint.Positions) error {
	f.journal.add("%s: rewind to %s", f.name, offsets(to))
	f.mu.Lock()
	hold, err := f.holdRewind, f.rewindErr
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, l := range f.lanes {
		p.Source = f.name
		l.next = l.start
		if pos, ok := to[p]; ok {
			l.next = pos.Next
		}
		l.prefix.Reset(l.next)
	}
	return nil
}

// set changes what the source does from now on.
func (f *feed) set(change func(*feed)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// offsets prints positions in order: "0:5 1:7".
func offsets(ps checkpoint.Positions) string {
	var parts []string
	for _, p := range ps.Sorted() {
		parts = append(parts, fmt.Sprintf("%d:%d", p.ID, ps[p].Next))
	}
	return strings.Join(parts, " ")
}

// drain is a sink. What it accepts is durable once it was flushed.
type drain struct {
	name    string
	journal *journal
	handle  checkpoint.SinkHandle

	mu         sync.Mutex
	room       *sync.Cond
	capacity   int // records accepted and not durable; 0 = any number
	pending    []*record
	durable    map[place]int // how often
	discarding bool
	flushErr   error
	abortErr   error
	// holdFlush keeps Flush from returning until it is closed; nil = at once.
	holdFlush chan struct{}
}

type place struct {
	partition checkpoint.Partition
	offset    checkpoint.Offset
}

func newDrain(j *journal, name string) *drain {
	d := &drain{name: name, journal: j, durable: map[place]int{}}
	d.room = sync.NewCond(&d.mu)
	return d
}

// write accepts a record, or drops it if it belongs to an abandoned attempt, and
// answers with success either way; it waits while there is no room.
func (d *drain) write(r *record) error {
	if err := d.handle.Failed(); err != nil {
		return err
	}
	if d.accept(r) {
		return nil
	}
	d.journal.add("%s: drop %s", d.name, r)
	return d.handle.Failed()
}

func (d *drain) accept(r *record) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.capacity > 0 && len(d.pending) >= d.capacity && !d.discarding {
		d.room.Wait()
	}
	if d.discarding || r.origin.Entry.State() == checkpoint.Discarded {
		return false
	}
	d.pending = append(d.pending, r)
	return true
}

func (d *drain) Rotate(checkpoint.ID) {}

func (d *drain) Flush(ctx context.Context, id checkpoint.ID) error {
	d.mu.Lock()
	n, hold := len(d.pending), d.holdFlush
	d.mu.Unlock()
	d.journal.add("%s: flush %d", d.name, id)
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flushErr != nil {
		return d.flushErr
	}
	n = min(n, len(d.pending)) // It was discarded meanwhile.
	for _, r := range d.pending[:n] {
		d.durable[place{r.origin.Entry.Partition, r.origin.Offset}]++
	}
	d.pending = slices.Delete(d.pending, 0, n)
	d.room.Broadcast()
	return nil
}

func (d *drain) Discard() {
	d.journal.add("%s: discard", d.name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.discarding, d.pending = true, nil
	d.room.Broadcast()
}

func (d *drain) Abort(context.Context) error {
	d.journal.add("%s: abort", d.name)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.abortErr
}

func (d *drain) Accept() {
	d.journal.add("%s: accept", d.name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.discarding = false
}

// set changes what the sink does from now on.
func (d *drain) set(change func(*drain)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// has tells whether a record with that partition and offset is durable.
func (d *drain) has(p checkpoint.Partition, o checkpoint.Offset) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable[place{p, o}] > 0
}

// tally is an operator that counts the records of each partition in memory and
// writes the counts to its state when it is frozen.
type tally struct {
	name    string
	journal *journal
	handle  checkpoint.OperatorHandle

	mu        sync.Mutex
	counts    map[checkpoint.Partition]uint64
	freezeErr error
}

func newTally(j *journal, name string) *tally {
	return &tally{name: name, journal: j, counts: map[checkpoint.Partition]uint64{}}
}

var countKey = []byte("count")

// process counts a record.
func (o *tally) process(r *record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := r.origin.Entry.Partition
	if _, ok := o.counts[p]; !ok {
		n, err := o.stored(p)
		if err != nil {
			return err
		}
		o.counts[p] = n
	}
	o.counts[p]++
	return nil
}

// stored reads what the state says; 0 if nothing.
func (o *tally) stored(p checkpoint.Partition) (uint64, error) {
	v, err := o.handle.State().Get(p, countKey)
	if err != nil || v == nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func (o *tally) Freeze(id checkpoint.ID) error {
	o.journal.add("%s: freeze %d", o.name, id)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.freezeErr != nil {
		return o.freezeErr
	}
	for p, n := range o.counts {
		if err := o.handle.State().Put(p, countKey, binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return err
		}
	}
	return nil
}

// set changes what the operator does from now on.
func (o *tally) set(change func(*tally)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *tally) Restore(context.Context) error {
	o.journal.add("%s: restore", o.name)
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.counts)
	return nil
}

// vault is a store that can be made to wait and to fail, and that everybody can
// look into.
type vault struct {
	checkpoint.Store
	journal *journal

	mu        sync.Mutex
	hold      chan struct{}
	err       error
	persisted []checkpoint.Manifest
	// onPersist is called for each checkpoint before the store has it.
	onPersist func(*checkpoint.Manifest)
}

func (v *vault) Persist(ctx context.Context, m *checkpoint.Manifest, cs []checkpoint.Change) (int64, error) {
	v.journal.add("store: persist %d %s", m.ID, offsets(m.Positions))
	v.mu.Lock()
	hold, err, look := v.hold, v.err, v.onPersist
	v.mu.Unlock()
	if look != nil {
		look(m)
	}
	if hold != nil {
		<-hold // A sync cannot be called back.
	}
	if err != nil {
		return 0, err
	}
	n, err := v.Store.Persist(ctx, m, cs)
	if err == nil {
		v.mu.Lock()
		v.persisted = append(v.persisted, *m)
		v.mu.Unlock()
	}
	return n, err
}

func (v *vault) set(change func(*vault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vault) last() (m checkpoint.Manifest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.persisted); n > 0 {
		m = v.persisted[n-1]
	}
	return m
}

// watch puts a vault around the store of a build that has started.
func watch(c *Coordinator, j *journal) *vault {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &vault{Store: c.mu.store, journal: j}
	c.mu.store = v
	return v
}

func newRegistry() *registry { return &registry{builds: map[string]*Coordinator{}} }

// build returns the coordinator that components constructed now find.
func (r *registry) build() *Coordinator {
	return r.coordinator("", service.MockResources().Logger())
}

// every second, no failure tolerated less than any number, quick restarts.
func settings(dir string) checkpoint.Config {
	return checkpoint.Config{
		Interval: time.Second, Timeout: 10 * time.Second, TolerableFailures: -1, ShutdownTimeout: 5 * time.Second,
		Restart:   checkpoint.Restart{InitialBackoff: 100 * time.Millisecond, MaxBackoff: time.Second, Multiplier: 2},
		Directory: dir, Static: true, Sets: true, Retain: 1,
	}
}

// line is a whole stream: one source, perhaps an operator, one sink.
type line struct {
	journal *journal
	c       *Coordinator
	feed    *feed
	tally   *tally
	drain   *drain
	vault   *vault // nil without a store
}

// lay builds a line and starts it. Its one partition is t/0.
func lay(t testing.TB, reg *registry, conf checkpoint.Config, stateful bool) *line {
	t.Helper()
	l := construct(t, reg, conf, stateful)
	l.start(t)
	return l
}

// construct builds a line and does not start it.
func construct(t testing.TB, reg *registry, conf checkpoint.Config, stateful bool) *line {
	t.Helper()
	j := &journal{}
	l := &line{journal: j, feed: newFeed(j, "in", 0), drain: newDrain(j, "out")}
	c := reg.build()
	h, err := c.JoinSource("in", l.feed, conf)
	require.NoError(t, err)
	l.feed.handle = h
	l.c = h.(*source).c
	t.Cleanup(l.crash)
	if stateful {
		l.tally = newTally(j, "tally")
		l.tally.handle, err = l.c.JoinOperator("tally", l.tally)
		require.NoError(t, err)
	}
	l.drain.handle, err = l.c.JoinSink("out", l.drain)
	require.NoError(t, err)
	return l
}

func (l *line) start(t testing.TB) checkpoint.Restored {
	t.Helper()
	r := l.feed.restore(t)
	if r.Stored {
		l.vault = watch(l.c, l.journal)
	}
	return r
}

// move takes n records all the way.
func (l *line) move(t testing.TB, n int) {
	t.Helper()
	for range n {
		r := l.emit(t)
		l.deliver(t, r)
	}
}

func (l *line) emit(t testing.TB) *record {
	t.Helper()
	r, err := l.feed.emit(t.Context(), 0)
	require.NoError(t, err)
	require.NotNil(t, r)
	return r
}

func (l *line) deliver(t testing.TB, r *record) {
	t.Helper()
	if l.tally != nil {
		require.NoError(t, l.tally.process(r))
	}
	require.NoError(t, l.drain.write(r))
	l.feed.ack(r)
}

// close ends the line like Benthos does: the source first.
func (l *line) close(t testing.TB) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return l.feed.handle.Close(ctx)
}

// crash ends a build as if the process had died: no final checkpoint.
func (l *line) crash() {
	l.c.kill(checkpoint.ErrDead)
	l.c.shut()
}

// pass lets time of the bubble pass, and waits for everybody to have done what is due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// listen returns what is reported as fatal to the process from now on; Failed
// begins anew.
func listen(t testing.TB) <-chan error {
	process.mu.Lock()
	process.first, process.uncovered = nil, nil
	process.mu.Unlock()
	told := make(chan error, 10)
	t.Cleanup(OnFatal(func(err error) { told <- err }))
	return told
}
