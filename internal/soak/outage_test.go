package soak_test

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// goingAgain is how long records may take to come again after an outage.
const goingAgain = 5 * time.Second

// arrivals finds the first record that the broker took after a moment.
type arrivals struct {
	mu           sync.Mutex
	since, first time.Time
}

func (a *arrivals) watch(_ int32, _ int64, r *kgo.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first.IsZero() && r.Timestamp.After(a.since) {
		a.first = r.Timestamp
	}
}

func (a *arrivals) expect(since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since, a.first = since, time.Time{}
}

func (a *arrivals) came() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first
}

// The broker is away under load: nothing is lost, the stream does not go back, and
// it goes on by itself soon after the broker is back.
func TestOutage(t *testing.T) {
	t.Run("refused", func(t *testing.T) { outage(t, "outage/refused", true) })
	// As behind a load balancer: connections are taken and closed at once.
	t.Run("closed", func(t *testing.T) { outage(t, "outage/closed", false) })
}

func outage(t *testing.T, name string, direct bool) {
	p, v := soak.Begin(t, name, 0.01)
	away := 10 * time.Second
	if p.Full {
		away = 3 * time.Minute
	}
	broker := kafkatest.Real(t, kafkatest.Newest)
	rig := soak.NewRig(t, broker, soak.Load{})
	var output arrivals
	rig.Watch = output.watch
	rig.Audit.Tolerate(away + time.Minute)
	rig.Follow()
	s := scaleOf(p, v)
	v.Threshold = 0
	c := rig.Start(soak.Copy{Interval: 500 * time.Millisecond, Metrics: true, Direct: direct})
	rig.Feed(s.rate)
	rig.AwaitCommit(c, time.Minute)

	var resumed []float64
	for v.Rounds == 0 || p.Full && v.Rounds < p.Rounds {
		if p.Random.IntN(2) == 0 {
			broker.Stop()
		} else {
			broker.Kill9()
		}
		output.expect(time.Now())
		time.Sleep(away)
		broker.Start()
		back := time.Now()
		rig.Await(time.Minute, "records after the outage", func() bool { return !output.came().IsZero() })
		took := output.came().Sub(back)
		resumed = append(resumed, took.Seconds())
		if took > goingAgain {
			rig.Audit.Violate(soak.Unhealthy, "the first record came %v after the broker was back, want %v", took, goingAgain)
		}
		rig.AwaitCommit(c, time.Minute)
		v.Rounds++
		v.Counted++
	}
	rewinds, err := c.Metric("tidemark_restarts")
	if err != nil || rewinds != 0 {
		rig.Audit.Violate(soak.Unhealthy, "the stream went back %v times (%v)", rewinds, err)
	}
	v.Noted(rig.Drain(2 * time.Minute))
	v.Extra = map[string]any{"away_seconds": away.Seconds(), "resumed_after_seconds": resumed, "rewinds": rewinds}
	v.Conclude(t, rig.Audit)
}
