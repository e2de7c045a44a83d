package main

import (
	"context"
	"fmt"
	"strings"
)

// exactlyResult is what exactly-once delivery costs.
type exactlyResult struct {
	Environment environment `json:"environment"`
	Load        load        `json:"load"`
	// Least and Exact are the records per second at least once and exactly once, with a
	// checkpoint each second; Ratios those of the latter to the former, by repetition.
	Least  spread    `json:"at_least_once_per_second"`
	Exact  spread    `json:"exactly_once_per_second"`
	Ratios []float64 `json:"ratios"`
	Ratio  spread    `json:"ratio"`
	// Align is the median pause of the lanes for a checkpoint at full load, in milliseconds.
	Align spread `json:"align_ms"`
	Goals []goal `json:"goals"`
	Runs  []run  `json:"runs"`
}

// exactlyPair are the two promises.
func exactlyPair() [2]system {
	return [2]system{
		{name: "at least once", program: tidemark, config: tidemarkCopy("")},
		{name: "exactly once", program: tidemark, config: tidemarkCopyTo("", exactly)},
	}
}

// exactlyOnce runs pairs of copies that differ in what the output promises.
func (b *bench) exactlyOnce(ctx context.Context, env environment, l load, pairs int) (exactlyResult, error) {
	pair := exactlyPair()
	runs, err := b.sideBySide(ctx, pair[:], l, pairs)
	if err != nil {
		return exactlyResult{}, err
	}
	result := exactlyResult{Environment: env, Load: l, Runs: runs}
	var least, exact, align []float64
	for i := range pairs {
		a, z := runOf(runs, i+1, pair[0]), runOf(runs, i+1, pair[1])
		least, exact, align = append(least, a.Rate), append(exact, z.Rate), append(align, z.Align)
		result.Ratios = append(result.Ratios, z.Rate/a.Rate)
	}
	result.Least, result.Exact, result.Ratio, result.Align = spreadOf(least), spreadOf(exact), spreadOf(result.Ratios), spreadOf(align)
	result.Goals = []goal{atLeast("rate exactly once, to at least once", result.Ratio.Median, 0.9)}
	if result.Align != (spread{}) {
		result.Goals = append(result.Goals, atMost("ms that the lanes pause for a checkpoint, at the median", result.Align.Median, maxAlign))
	}
	return result, nil
}

func (r exactlyResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# What exactly-once delivery costs\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%d interleaved pairs of copies of %v, a checkpoint each second, all metadata. Each cell: minimum / **median** / maximum.\n\n", len(r.Ratios), r.Load)
	s.WriteString(table([]string{"delivery", "records/s"}, [][]string{
		{"at least once", r.Least.format(0)},
		{"exactly once", r.Exact.format(0)},
		{"ratio within a pair", r.Ratio.format(3)},
	}))
	fmt.Fprintf(&s, "\nThe lanes pause for a checkpoint for %s ms at the median.\n", r.Align.format(2))
	fmt.Fprintf(&s, "\nLoad average of the machine before the runs: %s.\n", busyBefore(r.Runs).format(1))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}
