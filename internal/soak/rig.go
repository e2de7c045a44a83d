package soak

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// patience bounds every wait of a rig that is not about a promise.
const patience = 2 * time.Minute

// Load is what a rig moves.
type Load struct {
	// Partitions of source and target; 0 = 4.
	Partitions int
	// Size of values in bytes; 0 = 100.
	Size int
	// SourceConfig and TargetConfig are topic configs as "name=value". Unless they
	// say otherwise, records of the target get the time when the broker took them,
	// which the bound on repeats needs.
	SourceConfig, TargetConfig []string
	// Output is the cluster of the target; nil = that of the source.
	Output kafkatest.Endpoint
	// OffsetsForShow: the group's offsets are there for others to see, and nobody but the
	// process that commits them says so. One that was taken for dead may take them back.
	OffsetsForShow bool
	// NoTimestamps: nobody says when the brokers took records, so the time is that at which
	// they are read.
	NoTimestamps bool
	// ZooKeeper that keeps the group's offsets, of this broker; nil = Kafka does.
	ZooKeeper *kafkatest.Broker
	// Windows: what comes out are results of windows, not copies.
	Windows bool
}

// Rig is a source topic that is fed, a target topic and a group that are followed,
// and a proxy for children to go through. It ends with the test.
type Rig struct {
	t testing.TB
	// Broker has the source and the group, Output the target.
	Broker, Output        kafkatest.Endpoint
	Proxy                 *kafkatest.Proxy
	Group, Source, Target string
	Numbers               *Numbering
	Audit                 *Audit
	// Windows that the output consists of, nil if it does of copies.
	Windows *Windows
	// Watch, if set before the first record, sees each record of the output first.
	// It is called on another goroutine than the test's.
	Watch func(p int32, n int64, r *kgo.Record)

	client *kgo.Client
	// admin asks the source's cluster, as client does, targets that of the target.
	admin           *kadm.Client
	targets         *kgo.Client
	feeder          *feeder
	output, commits *tail
	children        []*Child
	once            *once
	// nodes are followed in place of commits, where ZooKeeper keeps offsets.
	nodes        *nodes
	zooKeeper    *kafkatest.Broker
	noTimestamps bool
	// OnCrash, if set, is called when a child was killed, before its traces are looked at.
	OnCrash        func()
	offsetsForShow bool
	started        int
	filled         int64
}

// NewRig makes the topics on a broker and begins to follow them. Nothing is fed
// before Feed.
func NewRig(t testing.TB, broker kafkatest.Endpoint, l Load) *Rig {
	t.Helper()
	if l.Partitions == 0 {
		l.Partitions = 4
	}
	if l.Size == 0 {
		l.Size = 100
	}
	base := kafkatest.Unique(t)
	r := &Rig{
		t: t, Broker: broker, Output: l.Output, Proxy: kafkatest.NewProxy(t, broker),
		Group: base + "-group", Source: base + "-in", Target: base + "-out",
		Numbers: NewNumbering(l.Partitions, l.Size), Audit: NewAudit(l.Partitions), zooKeeper: l.ZooKeeper, noTimestamps: l.NoTimestamps,
	}
	if r.offsetsForShow = l.OffsetsForShow; r.offsetsForShow {
		r.Audit.TakenBack()
	}
	if l.Windows {
		r.Windows = newWindows(r.Numbers)
		l.TargetConfig = append(l.TargetConfig, "message.timestamp.type=CreateTime")
	}
	kafkatest.CreateTopic(t, broker, r.Source, l.Partitions, l.SourceConfig...)
	r.client = kafkatest.Client(t, broker)
	r.admin = kadm.NewClient(r.client)
	if r.targets = r.client; r.Output == nil {
		r.Output = broker
	} else {
		r.targets = kafkatest.Client(t, r.Output)
	}
	if !l.NoTimestamps {
		l.TargetConfig = append([]string{"message.timestamp.type=LogAppendTime"}, l.TargetConfig...)
	} else {
		r.Audit.Tolerate(readLate)
	}
	kafkatest.CreateTopic(t, r.Output, r.Target, l.Partitions, l.TargetConfig...)
	return r
}

// Follow begins to follow target and group, and makes the feeder.
func (r *Rig) Follow() {
	r.t.Helper()
	r.follow()
	output := r.followOutput()
	if r.Windows != nil {
		output = r.followWindows()
	}
	r.output = r.tail(&tail{topic: r.Target, committed: r.once != nil, handle: output}, r.Output, r.starts())
	var err error
	r.feeder, err = newFeeder(r.Broker.ClientOptions(), r.Numbers, r.Source, r.filled)
	r.must(err)
	r.t.Cleanup(r.feeder.close)
}

// follow begins to follow what the group commits.
func (r *Rig) follow() {
	r.t.Helper()
	if r.zooKeeper != nil {
		r.nodes = r.followNodes()
		return
	}
	ctx, cancel := r.context()
	defer cancel()
	// The first commit would create the topic of commits too late for its ends to
	// be known.
	kafkatest.CommitOffsets(r.t, r.Broker, r.Group+"-other", r.Source, map[int32]int64{0: 0})
	ends, err := listEnds(ctx, r.client, offsetsTopic)
	r.must(err)
	from := map[int32]int64{}
	for p, end := range ends {
		from[int32(p)] = end
	}
	r.commits = r.tail(&tail{topic: offsetsTopic, committed: r.once != nil, handle: r.followCommits(func() ([]int64, error) {
		if r.once != nil {
			return nil, errNotAsked // order says more
		}
		ctx, cancel := r.context()
		defer cancel()
		return listEnds(ctx, r.targets, r.Target)
	})}, r.Broker, from)
}

// readLate is how much later a record may be read than it was written.
const readLate = 2 * time.Second

func (r *Rig) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// must ends the test because of an error that is not the pipeline's.
func (r *Rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// Feed sets the rate at which the source is fed, in records per second.
func (r *Rig) Feed(perSecond int) { r.feeder.setRate(perSecond) }

// Fed stops the feeding and returns where each partition of the source ends.
func (r *Rig) Fed() []int64 {
	r.t.Helper()
	ctx, cancel := r.context()
	defer cancel()
	ends, err := r.feeder.flush(ctx)
	r.must(err)
	return ends
}

// Fill writes the first n records of each partition of the source at once, before
// Follow. Each shape may change a record.
func (r *Rig) Fill(n int64, shape ...func(*kgo.Record)) {
	r.t.Helper()
	for p := range int32(r.Numbers.Partitions()) {
		records := make([]*kgo.Record, 0, n)
		for i := range n {
			rec := r.Numbers.Record(r.Source, p, i)
			for _, s := range shape {
				s(rec)
			}
			records = append(records, rec)
		}
		kafkatest.Produce(r.t, r.Broker, records...)
	}
	r.filled = n
}

// Start starts a child with a pipeline.
func (r *Rig) Start(c Copy) *Child {
	r.t.Helper()
	r.started++
	if c.Name == "" {
		c.Name = fmt.Sprintf("child-%d", r.started)
	}
	if c.Binary == "" {
		c.Binary = Tidemark(r.t)
	}
	address := ""
	if c.Metrics {
		address = freeAddress(r.t)
	}
	child := startChild(r.t, c.Binary, c.Name, c.yaml(r, address))
	child.http = address
	r.children = append(r.children, child)
	return child
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("finding a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Kill9 kills a child and makes the group forget it. Afterwards nothing that it
// sent can be committed any more, and all that it did is known. It returns how many
// records were delivered and not committed.
func (r *Rig) Kill9(c *Child) (uncommitted int64) {
	r.t.Helper()
	r.Crash(c)
	if r.OnCrash != nil {
		r.OnCrash()
	}
	if r.nodes == nil {
		r.Evict(c)
	}
	r.CatchUp()
	next := r.Audit.Next()
	_, committed := r.Audit.Commits()
	for p, n := range next {
		uncommitted += max(n-committed[p], 0)
	}
	return uncommitted
}

// Crash kills a child, which must not have ended by itself.
func (r *Rig) Crash(c *Child) {
	r.children = slices.DeleteFunc(r.children, func(o *Child) bool { return o == c })
	if err := c.Kill9(); err != nil {
		r.Audit.Violate(Unhealthy, "%v", err)
	}
}

// Stop asks a child to end, which must do so in order.
func (r *Rig) Stop(c *Child) bool {
	r.children = slices.DeleteFunc(r.children, func(o *Child) bool { return o == c })
	code, err := c.Terminate(stopPatience)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s, which was asked to end, did so with code %d; its log ends:\n%s", c.name, code, c.logEnd(20))
	}
	if err != nil {
		r.Audit.Violate(Unhealthy, "%v", err)
	}
	return err == nil
}

// stopPatience is how long a child may take to end: its shutdown_timeout and some.
const stopPatience = 40 * time.Second

// Evict makes the group forget a dead child at once.
func (r *Rig) Evict(c *Child) {
	r.t.Helper()
	kafkatest.Until(r.t, patience, func() error {
		ctx, cancel := r.context()
		defer cancel()
		return evict(ctx, r.client, r.Group, c.name)
	})
}

// CatchUp returns when all that was delivered and committed so far is audited.
// Commits come last: they judge what was delivered.
func (r *Rig) CatchUp() {
	r.t.Helper()
	ctx, cancel := r.context()
	defer cancel()
	r.must(r.output.await(ctx))
	if r.nodes != nil {
		r.must(r.nodes.look())
		return
	}
	r.must(r.commits.await(ctx))
}

// AwaitCommit waits until the group commits from now on, while a child lives.
func (r *Rig) AwaitCommit(c *Child, within time.Duration) bool {
	r.t.Helper()
	before, _ := r.Audit.Commits()
	return r.Await(within, "a commit", func() bool {
		now, _ := r.Audit.Commits()
		return now > before || c.Ended()
	})
}

// AwaitCommitted waits until, by partition, the offsets are committed.
func (r *Rig) AwaitCommitted(offsets []int64, within time.Duration) bool {
	r.t.Helper()
	return r.Await(within, fmt.Sprintf("the commit of %v", offsets), func() bool {
		_, committed := r.Audit.Commits()
		for p, o := range offsets {
			if committed[p] < o {
				return false
			}
		}
		return true
	})
}

// Await waits for something that the pipeline has to do; if it does not, that is a
// violation.
func (r *Rig) Await(within time.Duration, what string, done func() bool) bool {
	end := time.Now().Add(within)
	for !done() {
		if !time.Now().Before(end) {
			r.Audit.Violate(Unhealthy, "waited %v in vain for %s", within, what)
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// AwaitMembers waits until the group is settled with n members that all have
// partitions.
func (r *Rig) AwaitMembers(n int, within time.Duration) bool {
	r.t.Helper()
	return r.Await(within, fmt.Sprintf("%d members", n), func() bool {
		ctx, cancel := r.context()
		defer cancel()
		ms, stable, err := members(ctx, r.client, r.Group)
		if err != nil || !stable || len(ms) != n {
			return false
		}
		return !slices.ContainsFunc(ms, func(m member) bool { return m.partitions == 0 })
	})
}

// AwaitDelivery stops the feeding and waits until all of it is delivered and
// committed, for as long as there is some progress within a time. It returns where
// the source ends.
func (r *Rig) AwaitDelivery(within time.Duration) []int64 {
	r.t.Helper()
	ends := r.Fed()
	delivered, moved := r.Audit.Next(), time.Now()
	for {
		now := r.Audit.Next()
		_, committed := r.Audit.Commits()
		if slices.Equal(now, r.due(ends)) && slices.Equal(committed, ends) {
			return ends
		}
		if !slices.Equal(now, delivered) {
			delivered, moved = now, time.Now()
		}
		if time.Since(moved) > within {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, committed := r.Audit.Commits()
	r.Audit.Violate(Unhealthy, "nothing was delivered for %v: the source ends at %v, delivered is %v of %v, committed %v",
		within, ends, delivered, r.due(ends), committed)
	for _, c := range r.children {
		c.dump()
	}
	return ends
}

// Behind returns how many records, or windows, of each partition are fed and not delivered.
func (r *Rig) Behind() []int64 {
	behind := r.due(r.feeder.written())
	for p, n := range r.Audit.Next() {
		behind[p] -= n
	}
	return behind
}

// Drain stops the feeding, waits until all of it is delivered and committed, stops
// the children in order, and closes the books. It returns the last restarts.
func (r *Rig) Drain(within time.Duration) []Restart {
	r.t.Helper()
	ends := r.AwaitDelivery(within)
	for _, c := range slices.Clone(r.children) {
		r.Stop(c)
	}
	r.CatchUp()
	restarts := r.Audit.Settle()
	r.Audit.Finish(ends, r.due(ends))
	r.verifySource(ends)
	return restarts
}

// readRate is how many records a second are read at least.
const readRate = 20_000

// verifySource checks what all of the audit rests on: that number i of a partition
// is at offset i of the source.
func (r *Rig) verifySource(ends []int64) {
	r.t.Helper()
	from := map[int32]int64{}
	for p := range ends {
		from[int32(p)] = 0
	}
	wrong := make(chan error, 1)
	f, err := newTail(r.Broker.ClientOptions(), r.Source, from, func(rec *kgo.Record) {
		p, n, err := ParseValue(rec.Value)
		if err == nil && (p != rec.Partition || n != rec.Offset) {
			err = fmt.Errorf("source %d offset %d holds record %d/%d", rec.Partition, rec.Offset, p, n)
		}
		if err != nil {
			select {
			case wrong <- err:
			default: // One is enough.
			}
		}
	})
	r.must(err)
	defer f.close()
	records := int64(0)
	for _, end := range ends {
		records += end
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(records/readRate)*time.Second)
	defer cancel()
	r.must(f.await(ctx))
	select {
	case err := <-wrong:
		r.t.Fatalf("the harness itself is wrong: %v", err)
	default:
	}
}
