package engine

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// Assigner is a component that assigns event times to the records of some sources, or all
// of its instances in the threads of a pipeline.
type Assigner struct {
	et    *eventTime
	name  string
	path  []string
	rules watermark.Rules
	every time.Duration
	gauges
	// Shared is what the instances share.
	Shared any
}

// gauges are what is measured of partitions.
type gauges struct{ watermark, lag, idle *service.MetricGauge }

// JoinAssigner joins a component that assigns event times. Its path says whose: of the
// inputs below the one that it is a processor of, or, elsewhere, of all. How far
// partitions have come is looked at with a period. The first instance makes what all
// share.
func JoinAssigner(res *service.Resources, rules watermark.Rules, every time.Duration, shared func() any) (*Assigner, error) {
	if p := res.Path(); len(p) > 0 && p[0] == "processor_resources" {
		return nil, fmt.Errorf("a processor that assigns event times cannot be a resource (%q): "+
			"a resource is built without its stream, whose partitions it would have to follow; put it under the processors of the input", res.Label())
	}
	et, name := For(res).eventTime, Name(res)
	et.mu.Lock()
	defer et.mu.Unlock()
	for _, a := range et.mu.assigners {
		if a.name != name {
			continue
		}
		if a.rules != rules || a.every != every {
			return nil, fmt.Errorf("two processors of the stream assign event times as %q: give each a label of its own", name)
		}
		return a, nil
	}
	m := res.Metrics()
	a := &Assigner{
		et: et, name: name, path: inputPath(res.Path()), rules: rules, every: every, Shared: shared(),
		gauges: gauges{
			watermark: m.NewGauge("tidemark_watermark_ms", "topic", "partition"),
			lag:       m.NewGauge("tidemark_watermark_lag_ms", "topic", "partition"),
			idle:      m.NewGauge("tidemark_partitions_idle"),
		},
	}
	et.mu.assigners = append(et.mu.assigners, a)
	if et.mu.every == 0 || every < et.mu.every {
		et.mu.every = every
		select {
		case et.changed <- struct{}{}:
		default:
		}
	}
	return a, nil
}

// inputPath cuts the path of a processor down to that of the input it belongs to; nil if
// it belongs to none.
func inputPath(path []string) []string {
	if len(path) == 0 || path[0] != "input" {
		return nil
	}
	if i := slices.Index(path, "processors"); i >= 0 {
		return path[:i]
	}
	return nil
}

// serves tells whether records of a source at a path pass.
func (a *Assigner) serves(path []string) bool {
	return len(path) == 0 || len(path) >= len(a.path) && slices.Equal(path[:len(a.path)], a.path)
}

// Advance says what records of a partition, in one assignment of it, have led to.
func (a *Assigner) Advance(p checkpoint.Partition, lane int, w watermark.Time) {
	et := a.et
	et.mu.Lock()
	defer et.mu.Unlock()
	r, ok := et.mu.reached[p]
	if !ok || r.lane != lane || w > r.watermark {
		r.watermark = w
	}
	r.by, r.lane = a, lane
	et.mu.reached[p] = r
	et.mu.fastest = max(et.mu.fastest, w)
}

// measure reports what was found out.
func (et *eventTime) measure(all []report) {
	now := watermark.Of(time.Now())
	idle := map[*Assigner]int64{}
	et.mu.Lock()
	defer et.mu.Unlock()
	for _, a := range et.mu.assigners {
		idle[a] = 0
	}
	merged := et.mu.tracker.Merged()
	for _, r := range all {
		for p := range r.progress {
			by := r.assigner
			if reached, ok := et.mu.reached[p]; ok {
				by = reached.by
			}
			if merged.IsIdle(p) {
				idle[by]++
			}
			if pr, _ := merged.Of(p); pr.Own.Known() {
				id := strconv.Itoa(int(p.ID))
				by.watermark.Set(int64(pr.Own), p.Topic, id)
				by.lag.Set(int64(now-pr.Own), p.Topic, id)
			}
		}
	}
	for a, n := range idle {
		a.idle.Set(n)
	}
}
