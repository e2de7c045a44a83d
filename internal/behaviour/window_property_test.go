package behaviour

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Whatever the windows, the streams, and what befalls the job: the results are those of an
// offline computation, none is late that is not, and none leaves twice that was not read
// twice. TIDEMARK_WINDOW_SEEDS says how many jobs there are.
func TestWindowsOfRandomJobs(t *testing.T) {
	seed, rounds := uint64(time.Now().UnixNano()), 8
	if s := os.Getenv("TIDEMARK_WINDOW_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		rounds = n
	}
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed, rounds = n, 1
	}
	w := newWindowWorld(t)
	for round := range rounds {
		again := seed + uint64(round)
		if !t.Run("", func(t *testing.T) { playWindows(t, w, again) }) {
			t.Logf("replay with TIDEMARK_SEED=%d go test ./internal/behaviour -run '^%s$'", again, t.Name())
			return
		}
	}
}

// windowWorld is what the components of all jobs refer to: to make a new environment for each
// life would cost more than the life.
type windowWorld struct {
	kafkatest.Endpoint
	env     *service.Environment
	cluster *kafkatest.Cluster
	m       *gathered
	mood    *mood
}

func newWindowWorld(t testing.TB) *windowWorld {
	t.Helper()
	w := &windowWorld{}
	w.env = environment(t, w)
	require.NoError(t, w.env.RegisterMetricsExporter("gathered", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return w.m, nil }))
	require.NoError(t, w.env.RegisterBatchProcessor("moody", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) { return w.mood, nil }))
	return w
}

// Dial connects to the cluster of the job that runs.
func (w *windowWorld) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return w.cluster.Dial(ctx, network, address)
}

// windowJob is a job that lives several times.
type windowJob struct {
	t      *testing.T
	r      *rand.Rand
	world  *windowWorld
	e      *kafkatest.Cluster
	plan   *windowPlan
	topics []string
	feeder *feeder
	out    *outcome
	// base is a folder for all lives, directory the store of the next one.
	base, directory string
	lives           int
	// crashed: a life has not ended in order, or has gone back.
	crashed bool
	late    int64
}

func playWindows(t *testing.T, w *windowWorld, seed uint64) {
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		t.Logf("seed %d", seed)
		w.cluster = kafkatest.Virtual(t)
		j := &windowJob{t: t, r: r, world: w, e: w.cluster, plan: newWindowPlan(r), base: base, directory: filepath.Join(base, "store")}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("seed %d: %+v", seed, *j.plan)
			}
		})
		for _, n := range j.plan.partitions {
			j.topics = append(j.topics, kafkatest.Topic(t, j.e, n))
		}
		j.feeder, j.out = newFeeder(t, r, j.e, j.plan, j.topics), newOutcome(t, j.plan)
		for range 1 + r.IntN(4) {
			j.live()
		}
		j.finish()
		j.finish() // Nothing is left for another run.
		if j.plan.tardy {
			j.out.everyRecord(j.feeder.facts, j.crashed)
		} else {
			j.out.complete(j.feeder.facts)
		}
		if !j.crashed {
			require.EqualValues(t, j.late, len(j.out.lates)+j.dropped(), "what is late is counted once")
		}
	})
}

// dropped are the records that are nowhere.
func (j *windowJob) dropped() (n int) {
	for _, f := range j.feeder.facts {
		if j.out.inside[f.V]+j.out.lates[f.V] == 0 {
			n++
		}
	}
	return n
}

// life is one run of the job.
type life struct {
	*stream
	m *gathered
	// topics are read, topic is written.
	topics []string
	topic  string
}

func (j *windowJob) start(topics []string, mood *mood, look, extra string) *life {
	j.t.Helper()
	j.lives++
	l := &life{topics: topics, topic: kafkatest.Topic(j.t, j.e, 1), m: &gathered{values: map[string]int64{}}}
	j.world.m, j.world.mood = l.m, mood
	var e kafkatest.Endpoint = j.e
	if j.plan.linger > 0 {
		p := kafkatest.NewProxy(j.t, e)
		p.Delay(j.plan.linger, kmsg.Produce)
		e = p
	}
	l.stream = j.run(e, j.plan.yaml(topics, j.directory, l.topic, look, extra))
	j.feeder.begin(topics)
	return l
}

// mood is that of a life's pipeline.
func (j *windowJob) mood() *mood {
	m := &mood{r: rand.New(rand.NewPCG(j.r.Uint64(), 0)), slow: j.plan.slow}
	if j.plan.moody {
		m.left = j.r.IntN(3)
	}
	return m
}

// run is startIn with a log that is not for debugging, and so costs little.
func (j *windowJob) run(e kafkatest.Endpoint, yaml string) *stream {
	j.t.Helper()
	s := &stream{t: j.t, done: make(chan error, 1), logs: &logs{}}
	b := j.world.env.NewStreamBuilder()
	b.DisableLinting() // That takes as long as all the rest.
	b.SetLogger(slog.New(slog.NewTextHandler(io.Writer(s.logs), &slog.HandlerOptions{Level: slog.LevelInfo})))
	require.NoError(j.t, b.SetYAML(strings.ReplaceAll(yaml, "$SEEDS", fmt.Sprintf("[%q]", strings.Join(e.Seeds(), ",")))+"\nhttp: { enabled: false }\n"))
	var err error
	s.s, err = b.Build()
	require.NoError(j.t, err)
	go func() { s.done <- s.s.Run(context.Background()) }()
	j.t.Cleanup(func() {
		_ = s.stop()
		if j.t.Failed() {
			j.t.Logf("the end of the log of a life:\n%s", tail(s.logs.String(), 15))
		}
	})
	return s
}

// live runs the job for a while, without an end of the input. It runs in the bubble.
func (j *windowJob) live() {
	j.t.Helper()
	l := j.start(j.plan.chosen(j.r, j.topics), j.mood(), "200ms", "")
	for range 1 + j.r.IntN(12) {
		j.feeder.step()
		if j.plan.grows && j.r.IntN(8) == 0 {
			j.feeder.grow()
		}
		if j.plan.moody && j.r.IntN(15) == 0 {
			j.outage(l, 30*time.Second)
		}
	}
	settled := j.r.IntN(3) == 0
	if settled {
		time.Sleep(30 * time.Second) // virtual: also a stream that goes back has caught up
		j.feeder.observe()
	}
	end := "stop"
	if j.plan.crashes {
		end = pick(j.r, "stop", "kill", "kill", "close", "outage")
	}
	if !settled && end != "stop" {
		// Something is under way, how far is open.
		for range j.r.IntN(3) {
			j.feeder.observe()
			for _, p := range j.feeder.parts {
				if j.feeder.awake(p) {
					j.feeder.feed(p)
				}
			}
			time.Sleep(time.Millisecond + upTo(j.r, 100*time.Millisecond))
		}
	}
	upTo, clean := j.end(l, end)
	time.Sleep(5 * time.Millisecond)
	j.feeder.observe()
	j.took(l, upTo, clean)
	if settled && !j.plan.tardy && end == "stop" {
		j.due()
	}
}

// end ends a life in some way, and returns how much of its output counts, -1 = all, and
// whether that was in order. It runs in the bubble.
func (j *windowJob) end(l *life, how string) (upTo int64, clean bool) {
	j.t.Helper()
	switch how {
	case "kill":
		// Nothing moves while this looks at what a kill -9 would leave behind.
		synctest.Wait()
		next := filepath.Join(j.base, fmt.Sprintf("after-%d", j.lives))
		require.NoError(j.t, os.CopyFS(next, os.DirFS(j.directory)))
		upTo = kafkatest.Ends(j.t, j.e, l.topic)[0]
		_ = l.stop()
		j.directory = next
		return upTo, false
	case "close":
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		l.once.Do(func() {
			l.err = l.s.Stop(ctx)
			<-l.done
		})
		// Inputs of a broker are waited for by nobody then, as if the process had gone on: they
		// give up when the time for their last checkpoint is over.
		time.Sleep(20 * time.Second) // virtual
		return -1, false
	case "outage":
		outage := j.e.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: l.topic, Err: kerr.NotLeaderForPartition, Count: -1})
		defer outage.Remove()
		time.Sleep(pick(j.r, 0, 100*time.Millisecond, 400*time.Millisecond))
		_ = l.stop()
		return -1, false
	}
	err := l.stop()
	text := l.logs.String()
	if !j.plan.moody {
		require.NoError(j.t, err)
		require.NotContains(j.t, text, "level=ERROR")
	}
	return -1, err == nil && !strings.Contains(text, "level=ERROR")
}

// outage lets the broker take nothing for a while, so that the stream goes back. It runs in the bubble.
func (j *windowJob) outage(l *life, d time.Duration) {
	outage := j.e.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: l.topic, Err: kerr.NotLeaderForPartition, Count: -1})
	time.Sleep(d)
	outage.Remove()
	time.Sleep(20 * time.Second) // virtual: it catches up
	j.feeder.observe()
}

// took takes what a life has emitted.
func (j *windowJob) took(l *life, upTo int64, clean bool) {
	j.t.Helper()
	require.NotContains(j.t, l.logs.String(), "Stream stopped for good")
	back := len(l.said("Going back to checkpoint")) > 0
	j.crashed = j.crashed || back || !clean
	j.out.take(emissions(j.t, j.e, l.topic, upTo), j.lives, back, j.feeder.boundAt)
	// What was emitted before it went back may come in a later life, and so may what a life
	// before this one has emitted of a topic that this one did not read.
	if clean && !back && len(l.topics) == len(j.topics) {
		j.out.group++
	}
	late, _ := l.m.get("tidemark_late_records", "path", "root.buffer")
	j.late += late
	if late, _ = l.m.get("tidemark_late_records"); !j.plan.tardy {
		require.Zero(j.t, late, "records were called late")
	}
}

// due: what the watermark has passed has left.
func (j *windowJob) due() {
	j.t.Helper()
	read, slowest := map[string]bool{}, int64(1<<62)
	for _, p := range j.feeder.read {
		read[p.name()] = true
		slowest = min(slowest, p.own(j.plan.bound))
	}
	j.out.due(j.feeder.facts, read, slowest)
}

// finish runs the job to the end of its input, where all windows fire.
func (j *windowJob) finish() {
	j.t.Helper()
	// Two that look around at the same time wait for each other with a mutex, which stops the
	// clock of a bubble if the gate is closed until some time: so nobody else looks around here,
	// or, where somebody has to, nothing takes time.
	m, look := j.mood(), "1h"
	if len(j.topics) > 1 || j.plan.drift > 0 {
		m, look = &mood{r: rand.New(rand.NewPCG(0, 0))}, "200ms"
	}
	l := j.start(j.topics, m, look, "stop_at: latest")
	select {
	case err := <-l.done:
		l.once.Do(func() {})
		require.NoError(j.t, err)
	case <-time.After(10 * time.Minute):
		j.t.Fatal("the bounded run did not end")
	}
	j.feeder.bounds = nil // All that is open fires.
	j.took(l, -1, !strings.Contains(l.logs.String(), "level=ERROR"))
}

// mood is a processor that takes its time, and now and then fails a batch.
type mood struct {
	mu   sync.Mutex
	r    *rand.Rand
	slow time.Duration
	left int
}

func (m *mood) decide() (fails bool, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left > 0 && m.r.IntN(10) == 0 {
		m.left--
		fails = true
	}
	return fails, upTo(m.r, m.slow)
}

func (m *mood) ProcessBatch(ctx context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	fails, d := m.decide()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	if fails {
		for _, msg := range b {
			msg.SetError(fmt.Errorf("failed at %v", time.Now()))
		}
	}
	return []service.MessageBatch{b}, nil
}
func (*mood) Close(context.Context) error { return nil }
