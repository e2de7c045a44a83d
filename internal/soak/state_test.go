package soak_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// stateful plays rounds of the state harness.
type stateful struct {
	t       *testing.T
	rig     *soak.Rig
	plan    *soak.Plan
	v       *soak.Verdict
	store   string
	traces  string
	fold    soak.Fold
	life    int
	rewinds int
}

// Every 20th flush fails, which is a rewind, and the process is killed at random:
// after each restart the state is that of exactly the records below the persisted
// position, and of an abandoned attempt nothing gets through.
func TestStateAndRewind(t *testing.T) {
	p, v := soak.Begin(t, "state", 0.5)
	rig := soak.NewRig(t, kafkatest.Shared(t), soak.Load{})
	order := &attempts{audit: rig.Audit, last: map[int32]attempt{}}
	rig.Watch = order.watch
	rig.Follow()
	soak.TallyProgram(t)
	s := &stateful{t: t, rig: rig, plan: p, v: v, store: filepath.Join(t.TempDir(), "store"), traces: t.TempDir()}
	p.Restart()
	rig.Feed(scaleOf(p, v).rate)
	v.Threshold = 0
	for p.More() && s.round() && !rig.Audit.Red() {
		t.Logf("round %d: %d counted, %d rewinds", v.Rounds, v.Counted, s.rewinds)
	}
	if s.rewinds == 0 && !rig.Audit.Red() {
		rig.Audit.Violate(soak.Unhealthy, "there was no rewind")
	}
	// No flush may fail at the end, where it would be the final checkpoint's.
	s.start(0)
	v.Noted(rig.Drain(time.Minute))
	s.judge()
	v.Extra = map[string]any{"rewinds": s.rewinds}
	v.Conclude(t, rig.Audit)
}

// start starts the next life.
func (s *stateful) start(failEvery int) *soak.Child {
	s.life++
	plugin := fmt.Sprintf("{ trace: %q, life: %d", s.trace(), s.life)
	kafka := s.rig.KafkaOutput("kafka", s.rig.Target, "metadata: { include_patterns: [ '^attempt$' ] }")
	return s.rig.Start(soak.Copy{
		Binary:   soak.TallyProgram(s.t),
		Interval: 100 * time.Millisecond,
		Input:    []string{"assignment: static"},
		Checkpoint: []string{
			fmt.Sprintf("store: { directory: %q }", s.store), "tolerable_failures: 0",
			"restart: { initial_backoff: 50ms, max_backoff: 200ms }",
		},
		Processors: "tally: " + plugin + " }",
		Output: "broker:\n  pattern: fan_out\n  outputs:\n" +
			soak.Indent(soak.Item(kafka), "    ") + fmt.Sprintf("    - tally_sink: %s, fail_every: %d }\n", plugin, failEvery),
	})
}

func (s *stateful) trace() string {
	return filepath.Join(s.traces, fmt.Sprintf("life-%d.jsonl", s.life))
}

// goingBack is what the log says when a rewind begins.
const goingBack = "Going back to checkpoint"

func (s *stateful) round() bool {
	c := s.start(20)
	if !s.rig.AwaitCommit(c, time.Minute) {
		return false
	}
	if s.v.Rounds%2 == 0 {
		// In or after a rewind: the 20th flush is some time away, and on a busy
		// machine further than that.
		s.rig.Await(time.Minute, "a rewind", func() bool { return c.Ended() || strings.Contains(c.Log(), goingBack) })
		time.Sleep(within(s.plan.Random, 0, time.Second))
	} else {
		time.Sleep(within(s.plan.Random, 100*time.Millisecond, 4*time.Second))
	}
	uncommitted := s.rig.Kill9(c)
	s.v.Rounds++
	s.v.Counted++
	s.v.Kills++
	if uncommitted > 0 {
		s.v.KillsInFlight++
	}
	s.judge()
	return true
}

// judge checks what a life has left behind.
func (s *stateful) judge() {
	s.t.Helper()
	events, err := soak.ReadTrace(s.trace())
	require.NoError(s.t, err)
	s.rewinds += soak.CheckTrace(s.rig.Audit, &s.fold, events)
	s.v.Noted(s.rig.Audit.Settle())
	s.readStore()
}

// readStore checks the state in the store, and takes its positions for what the
// next life has to start from.
func (s *stateful) readStore() {
	s.t.Helper()
	st, err := store.Open(s.t.Context(), store.Options{Directory: s.store})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, st.Close()) }()
	m, err := st.Load(s.t.Context())
	require.NoError(s.t, err)
	for p, pos := range m.Positions {
		value, err := st.Get(soak.TallyOperator, p, []byte(soak.TallyKey))
		require.NoError(s.t, err)
		var got soak.Tally
		require.NoError(s.t, got.Decode(value))
		if want := s.fold.Below(p.ID, int64(pos.Next)); got != want {
			s.rig.Audit.Violate(soak.WrongState, "after life %d: the state of partition %d is %+v, the records below its position %d make %+v",
				s.life, p.ID, got, pos.Next, want)
		}
		s.rig.Audit.Committed(p.ID, int64(pos.Next), time.Now(), kafkatest.Ends(s.t, s.rig.Broker, s.rig.Target)[p.ID])
	}
}

type attempt struct{ life, number int }

func (a attempt) before(b attempt) bool {
	return a.life < b.life || a.life == b.life && a.number < b.number
}

// attempts sees to it that in each partition of the output no record of an earlier
// attempt follows one of a later.
type attempts struct {
	audit *soak.Audit
	mu    sync.Mutex
	last  map[int32]attempt
}

func (a *attempts) watch(p int32, n int64, r *kgo.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := ""
	for _, h := range r.Headers {
		if h.Key == "attempt" {
			text = string(h.Value)
		}
	}
	life, number, err := soak.ParseAttempt(text)
	if err != nil {
		a.audit.Violate(soak.Altered, "record %d of partition %d: %v", n, p, err)
		return
	}
	now := attempt{life, number}
	if now.before(a.last[p]) {
		a.audit.Violate(soak.AbandonedAttempt, "partition %d: record %d of life %d attempt %d came after life %d attempt %d",
			p, n, life, number, a.last[p].life, a.last[p].number)
	}
	a.last[p] = now
}
