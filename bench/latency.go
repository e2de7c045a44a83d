package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// latencyResult is how long records take through a pipeline that passes them on.
type latencyResult struct {
	Environment environment `json:"environment"`
	PerSecond   int         `json:"records_per_second"`
	// Seconds is how long each run was measured, after it had warmed up.
	Seconds float64      `json:"seconds"`
	Rows    []latencyRow `json:"summary"`
	Goals   []goal       `json:"goals"`
	Runs    []latencyRun `json:"runs"`
}

// latencyRow sums up the runs of a system, in milliseconds.
type latencyRow struct {
	System string `json:"system"`
	P50    spread `json:"p50_ms"`
	P99    spread `json:"p99_ms"`
	Max    spread `json:"max_ms"`
	// Align is the median pause of the lanes, Checkpoint the median of all that a checkpoint
	// takes. Cuts that need no pause have no Align.
	Align      spread `json:"align_ms"`
	Checkpoint spread `json:"checkpoint_ms"`
}

// latencyRun is one run; times are in milliseconds.
type latencyRun struct {
	System     string  `json:"system"`
	Repetition int     `json:"repetition"`
	Records    int     `json:"records"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Align      float64 `json:"align_ms,omitempty"`
	Checkpoint float64 `json:"checkpoint_ms,omitempty"`
	Busy       float64 `json:"load_average_before"`
}

// latencySystems differ in what the output promises and how often there is a checkpoint.
func latencySystems() []system {
	const often = "    checkpoint: { interval: 100ms }\n"
	return []system{
		{name: "at least once, 1 s", program: tidemark, config: tidemarkCopy("")},
		{name: "exactly once, 100 ms", program: tidemark, config: tidemarkCopyTo(often, exactly)},
		{name: "exactly once, 1 s", program: tidemark, config: tidemarkCopyTo("", exactly)},
	}
}

// latencyPlan says how much is measured.
type latencyPlan struct {
	perSecond, repetitions int
	warm, measured         time.Duration
}

// latency runs the systems one after the other.
func (b *bench) latency(ctx context.Context, env environment, p latencyPlan) (latencyResult, error) {
	result := latencyResult{Environment: env, PerSecond: p.perSecond, Seconds: p.measured.Seconds()}
	systems := latencySystems()
	for i := range p.repetitions {
		for j := range systems {
			s := systems[(i+j)%len(systems)]
			r, err := b.latencyOnce(ctx, s, p)
			if err != nil {
				return result, fmt.Errorf("running %s: %w", s.name, err)
			}
			r.Repetition = i + 1
			progress("%d of %d, %s: p50 %.1f ms, p99 %.1f ms, pause of the lanes %.1f ms", i+1, p.repetitions, s.name, r.P50, r.P99, r.Align)
			result.Runs = append(result.Runs, r)
		}
	}
	for _, s := range systems {
		row := latencyRowOf(s.name, result.Runs)
		result.Rows = append(result.Rows, row)
		if row.Align != (spread{}) {
			result.Goals = append(result.Goals, atMost("ms that the lanes pause at the median, "+s.name, row.Align.Median, maxAlign))
		}
	}
	return result, nil
}

// maxAlign is how long lanes may pause for a checkpoint at the median where nothing has
// state, in milliseconds.
const maxAlign = 20

// latencyOnce runs a system under a steady load.
func (b *bench) latencyOnce(ctx context.Context, s system, p latencyPlan) (latencyRun, error) {
	result := latencyRun{System: s.name, Busy: loadAverage()}
	in := fmt.Sprintf("in-%d", b.runs+1)
	if err := b.createTopic(ctx, in); err != nil {
		return result, err
	}
	r, err := b.newRoute(ctx, in)
	if err != nil {
		return result, err
	}
	filler := strings.Repeat("x", 80)
	flow, err := b.startSteady(ctx, r.In, r.Out, p.perSecond, func(n int) []byte { return fmt.Appendf(nil, `{"n":%d,"text":%q}`, n, filler) })
	if err != nil {
		return result, err
	}
	defer flow.close()
	c, err := b.start(s, r)
	if err != nil {
		return result, err
	}
	defer c.kill()
	// All that comes before the first one is there counts for nothing.
	if err := flow.await(ctx, 0, 1, c); err != nil {
		return result, err
	}
	if err := pause(ctx, p.warm); err != nil {
		return result, err
	}
	from := flow.count()
	if err := pause(ctx, p.measured); err != nil {
		return result, err
	}
	to := flow.count()
	if err := flow.finish(ctx, c); err != nil {
		return result, err
	}
	result.measure(flow.times(from, to))
	// Cuts that need no pause, and runs without a cut, have no such metric.
	result.Align, _ = medianMillis(r.HTTP, "tidemark_checkpoint_align_ns")
	result.Checkpoint, _ = medianMillis(r.HTTP, "tidemark_checkpoint_duration_ns")
	if err := c.stop(); err != nil {
		return result, err
	}
	if _, err := b.admin.DeleteTopic(ctx, r.In); err != nil {
		return result, fmt.Errorf("deleting topic %s: %w", r.In, err)
	}
	return result, b.forget(ctx, r)
}

// measure sums up when records were sent and seen.
func (r *latencyRun) measure(sent, seen []time.Time) {
	took := make([]float64, len(sent))
	for i := range sent {
		took[i] = float64(seen[i].Sub(sent[i]).Microseconds()) / 1000
	}
	slices.Sort(took)
	r.Records = len(took)
	r.P50, r.P99, r.Max = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1)
}

// quantile returns the value of a sorted list that so much of it is not above.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func latencyRowOf(name string, runs []latencyRun) latencyRow {
	of := func(field func(latencyRun) float64) spread {
		var values []float64
		for _, r := range runs {
			if r.System == name {
				values = append(values, field(r))
			}
		}
		return spreadOf(values)
	}
	return latencyRow{
		System: name,
		P50:    of(func(r latencyRun) float64 { return r.P50 }), P99: of(func(r latencyRun) float64 { return r.P99 }),
		Max: of(func(r latencyRun) float64 { return r.Max }), Align: of(func(r latencyRun) float64 { return r.Align }),
		Checkpoint: of(func(r latencyRun) float64 { return r.Checkpoint }),
	}
}

func (r latencyResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# How long records take\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%s records of 100 B a second, in %d partitions, copied with all metadata: from the call that produces a record until a\n"+
		"reader has it that sees only what is committed. %g s each, after a warm-up. Milliseconds; each cell: minimum / **median** /\n"+
		"maximum of the runs. Every record was seen once.\n\n", grouped(fmt.Sprint(r.PerSecond)), partitions, r.Seconds)
	var rows [][]string
	var busy []float64
	for _, w := range r.Rows {
		rows = append(rows, []string{w.System, w.P50.format(1), w.P99.format(1), w.Max.format(1), w.Align.format(3), w.Checkpoint.format(1)})
	}
	for _, w := range r.Runs {
		busy = append(busy, w.Busy)
	}
	s.WriteString(table([]string{"delivery, checkpoint interval", "p50", "p99", "longest", "pause of the lanes, median", "a whole checkpoint, median"}, rows))
	fmt.Fprintf(&s, "\nLoad average of the machine before the runs: %s.\n", spreadOf(busy).format(1))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}
