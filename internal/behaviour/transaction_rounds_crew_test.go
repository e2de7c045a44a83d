package behaviour

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

const (
	// session is the group's patience with a member.
	session = 6 * time.Second
	// recovering is how long it may take until records of all partitions come again, after
	// what a fault itself takes. It is less than a transaction that nobody ends stays open.
	recovering = 45 * time.Second
	// ending is how long after that a transaction of before may be open.
	ending = 10 * time.Second
	// handing is what members have for a rebalance.
	handing = 8 * time.Second
	// roundParts is how many partitions a topic of the rounds has.
	roundParts = 4
)

// roundMate is one process, with a way of its own to each cluster.
type roundMate struct {
	*stream
	name     string
	ways     []*kafkatest.Proxy
	prefix   string
	instance string
	// index and count say which shard it is, where they are static.
	index, count int
	// buried is closed when a killed process is gone, nil for others. It cannot be waited for
	// with stop: a mutex would stop the clock.
	buried chan struct{}
}

// to is its way to the cluster that it writes to.
func (m *roundMate) to() *kafkatest.Proxy { return m.ways[len(m.ways)-1] }

func (m *roundMate) down() {
	for _, p := range m.ways {
		p.Down()
	}
}

func (m *roundMate) up() {
	for _, p := range m.ways {
		p.Up()
	}
}

// hold keeps all requests of a process on their way, or all answers to them too.
func (m *roundMate) hold(answers bool) (release func()) {
	var holds []*kafkatest.Hold
	for _, p := range m.ways {
		holds = append(holds, p.HoldRequests(everyKey()...))
		if answers {
			holds = append(holds, p.HoldAnswers(everyKey()...))
		}
	}
	return func() {
		for _, h := range holds {
			h.Release()
		}
	}
}

// over tells that a process has ended, whoever ended it.
func (m *roundMate) over() bool { return len(m.done) > 0 }

// roundsCrew plays rounds in one bubble.
type roundsCrew struct {
	t      *testing.T
	w      *roundsWorld
	form   *form
	random *rand.Rand
	v      *soak.Verdict
	audit  *soak.Audit
	begun  time.Time
	// from is the cluster that is read, to the one that is written; mostly the same.
	from, to       *kafkatest.Cluster
	admin          *kadm.Client
	in, out, store string
	feed           *roundsFeed
	// windows are what is written, nil if those are the records themselves.
	windows  *roundsWindows
	wentBack func() []string
	mates    []*roundMate
	// shards are how many there are, where they are static.
	shards, started int
	order           []int
	all             []*roundMate
}

// newRoundsCrew starts a cluster and its first processes in a bubble.
func newRoundsCrew(t *testing.T, w *roundsWorld, f *form, r *rand.Rand, v *soak.Verdict) *roundsCrew {
	t.Helper()
	c := &roundsCrew{t: t, w: w, form: f, random: r, v: v, audit: soak.NewAudit(roundParts), begun: time.Now(), shards: 2}
	c.audit.Once()
	c.from = kafkatest.Virtual(t, kfake.Ports([]int{9092, 9093}[:1+r.IntN(2)]...))
	c.to = c.from
	w.of = []dialer{c.from}
	if f.apart {
		c.to = kafkatest.Virtual(t, kfake.Ports(9192), kfake.ClusterID("other"))
		w.of = append(w.of, c.to)
	}
	c.admin = kafkatest.Admin(t, c.to)
	c.in, c.out, c.store = kafkatest.Topic(t, c.from, roundParts), kafkatest.Topic(t, c.to, roundParts), kafkatest.Unique(t)
	t.Cleanup(func() {
		if t.Failed() {
			c.logs()
		}
	})
	c.wentBack = sampled(t, c.from, c.in)
	c.feed = newRoundsFeed(t, c.in)
	take := func(rec *kgo.Record) { copied(t, rec, c.audit) }
	if f.windows {
		c.windows = newRoundsWindows(r, c.audit)
		c.feed.some, c.feed.record, take = c.windows.some, c.windows.record, c.windows.take
	}
	followRounds(t, c.to, c.out, take)
	c.feed.start(c.from, rand.New(rand.NewPCG(r.Uint64(), 0)))
	if f.static {
		c.staff(prefixOf(0))
	} else {
		c.hire()
	}
	time.Sleep(time.Second) // virtual: there is something to show
	require.True(t, c.settled(), "nothing comes of it in the beginning")
	return c
}

// log is t.Logf with the time of the bubble.
func (c *roundsCrew) log(format string, args ...any) {
	c.t.Logf("%9.3fs %s", time.Since(c.begun).Seconds(), fmt.Sprintf(format, args...))
}

// logs writes the logs of all processes into the folder TIDEMARK_SOAK_LOGS, if it is set.
func (c *roundsCrew) logs() {
	dir := os.Getenv("TIDEMARK_SOAK_LOGS")
	if dir == "" {
		return
	}
	for _, m := range c.all {
		_ = os.WriteFile(filepath.Join(dir, c.form.name+"-"+m.name+".log"), []byte(m.logs.String()), 0o600)
	}
}

func (c *roundsCrew) within(from, to time.Duration) time.Duration {
	return from + time.Duration(c.random.Int64N(int64(to-from)))
}

func (c *roundsCrew) coin() bool { return c.random.IntN(2) == 0 }

// prefixOf makes transactional ids tell whose they are.
func prefixOf(n int) string { return fmt.Sprintf("p%d", n) }

// hire starts a member with another prefix than any other has, every other one with a name
// for good.
func (c *roundsCrew) hire() *roundMate {
	instance := ""
	if c.coin() {
		instance = fmt.Sprintf("i%d", c.started)
	}
	return c.start(&roundMate{prefix: prefixOf(c.started), instance: instance})
}

// again starts a process in the place of another one: with the same name, or index, and
// every other time the same transactional id.
func (c *roundsCrew) again(m *roundMate) *roundMate {
	next := &roundMate{prefix: m.prefix, instance: m.instance, index: m.index, count: m.count}
	if c.coin() {
		next.prefix = prefixOf(c.started)
	}
	return c.start(next)
}

// staff starts all shards.
func (c *roundsCrew) staff(prefix string) {
	for i := range c.shards {
		c.start(&roundMate{prefix: prefix, index: i, count: c.shards})
	}
}

func (c *roundsCrew) start(m *roundMate) *roundMate {
	c.t.Helper()
	m.name = fmt.Sprintf("mate-%d", c.started)
	c.started++
	m.ways = append(m.ways, kafkatest.NewProxy(c.t, c.from))
	if c.form.apart {
		m.ways = append(m.ways, kafkatest.NewProxy(c.t, c.to))
	}
	m.stream = &stream{t: c.t, done: make(chan error, 1), logs: &logs{}}
	level := slog.LevelInfo // One for debugging costs a lot.
	if os.Getenv("TIDEMARK_SOAK_LOGS") != "" {
		level = slog.LevelDebug
	}
	b := c.w.env.NewStreamBuilder()
	b.DisableLinting() // That takes as long as all the rest.
	b.SetLogger(slog.New(slog.NewTextHandler(io.Writer(m.logs), &slog.HandlerOptions{Level: level})))
	require.NoError(c.t, b.SetYAML(c.yaml(m)))
	var err error
	m.s, err = b.Build()
	require.NoError(c.t, err)
	done := m.done
	go func() { done <- m.s.Run(context.Background()) }()
	c.t.Cleanup(func() {
		if m.buried != nil {
			<-m.buried
			return
		}
		_ = m.stop()
	})
	c.mates, c.all = append(c.mates, m), append(c.all, m)
	return m
}

// yaml is the configuration of a process.
func (c *roundsCrew) yaml(m *roundMate) string {
	seeds := func(p *kafkatest.Proxy) string { return fmt.Sprintf("[%q]", strings.Join(p.Seeds(), ",")) }
	checkpoint := []string{"job: j", "interval: " + c.within(200*time.Millisecond, 1200*time.Millisecond).Round(time.Millisecond).String()}
	if c.form.store {
		checkpoint = append(checkpoint, "store: { topic: "+c.store+", partitions: 3 }")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "http: { enabled: false }\ninput:\n  kafka_checkpointed:\n    seed_brokers: %s\n    topics: [ %s ]\n", seeds(m.ways[0]), c.in)
	fmt.Fprintf(&b, "    start_from: earliest\n    client_id: %s\n    max_batch_records: %d\n    checkpoint: { %s }\n",
		m.name, 1+c.random.IntN(20), strings.Join(checkpoint, ", "))
	if c.form.static {
		fmt.Fprintf(&b, "    assignment: static\n    shard: { index: %d, count: %d }\n", m.index, m.count)
	} else {
		fmt.Fprintf(&b, "    consumer_group: g\n    session_timeout: %s\n    heartbeat_interval: 1s\n    rebalance_timeout: %s\n", session, handing)
	}
	if m.instance != "" {
		fmt.Fprintf(&b, "    instance_id: %s\n", m.instance)
	}
	if c.windows != nil {
		b.WriteString(c.windows.yaml())
	}
	fmt.Fprintf(&b, "output:\n  kafka_checkpointed:\n    seed_brokers: %s\n    topic: %s\n    %s\n    transactional_id_prefix: %s\n",
		seeds(m.to()), c.out, samePartition, m.prefix)
	return b.String() + patient
}

// any returns a process by chance, one that has partitions if it is a shard.
func (c *roundsCrew) any() *roundMate {
	for {
		if m := c.mates[c.random.IntN(len(c.mates))]; !c.form.static || c.busy(m) {
			return m
		}
	}
}

// busy tells that a shard has partitions.
func (c *roundsCrew) busy(m *roundMate) bool {
	for p := range int32(roundParts) {
		if kafka.ShardOf(c.in, p, m.count) == m.index {
			return true
		}
	}
	return false
}

// dismiss forgets a process.
func (c *roundsCrew) dismiss(m *roundMate) {
	c.mates = slices.DeleteFunc(c.mates, func(o *roundMate) bool { return o == m })
}
