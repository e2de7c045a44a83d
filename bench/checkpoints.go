package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// checkpointResult is what checkpoints cost.
type checkpointResult struct {
	Environment environment `json:"environment"`
	Load        load        `json:"load"`
	Often       spread      `json:"cpu_us_per_record_every_second"`
	Rarely      spread      `json:"cpu_us_per_record_every_10_minutes"`
	// Ratios holds, for each pair, the CPU with many checkpoints over that with few.
	Ratios []float64 `json:"ratios"`
	Ratio  spread    `json:"ratio"`
	Goals  []goal    `json:"goals"`
	Runs   []run     `json:"runs"`
}

// checkpoints runs pairs of copies that differ in the interval alone.
func (b *bench) checkpoints(ctx context.Context, env environment, l load, pairs int) (checkpointResult, error) {
	pair := checkpointPair()
	runs, err := b.sideBySide(ctx, pair[:], l, pairs)
	if err != nil {
		return checkpointResult{}, err
	}
	result := checkpointResult{Environment: env, Load: l, Runs: runs}
	var often, rarely []float64
	for i := range pairs {
		a, z := runOf(runs, i+1, pair[0]).CPUMicros, runOf(runs, i+1, pair[1]).CPUMicros
		often, rarely = append(often, a), append(rarely, z)
		result.Ratios = append(result.Ratios, a/z)
	}
	result.Often, result.Rarely, result.Ratio = spreadOf(often), spreadOf(rarely), spreadOf(result.Ratios)
	result.Goals = []goal{atMost("CPU with checkpoints each second, to one each 10 minutes", result.Ratio.Median, 1.02)}
	return result, nil
}

// runOf returns the run of a system in one repetition.
func runOf(runs []run, repetition int, s system) run {
	return runs[slices.IndexFunc(runs, func(r run) bool { return r.Repetition == repetition && r.System == s.name })]
}

func (r checkpointResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# What checkpoints cost\n\n%s\n", r.Environment.markdown())
	fmt.Fprintf(&s, "%d interleaved pairs of copies of %v, at least once, all metadata. Each cell: minimum / **median** / maximum.\n\n", len(r.Ratios), r.Load)
	s.WriteString(table([]string{"checkpoints", "CPU µs/record"}, [][]string{
		{"every second", r.Often.format(3)},
		{"every 10 minutes", r.Rarely.format(3)},
		{"ratio within a pair", r.Ratio.format(3)},
	}))
	fmt.Fprintf(&s, "\nLoad average of the machine before the runs: %s.\n", busyBefore(r.Runs).format(1))
	var pairs [][]string
	for i, ratio := range r.Ratios {
		pairs = append(pairs, []string{fmt.Sprint(i + 1), fmt.Sprintf("%.3f", ratio), r.completed(i + 1)})
	}
	s.WriteString("\n" + table([]string{"pair", "ratio", "checkpoints completed during the copies"}, pairs))
	s.WriteString("\n" + goalTable(r.Goals))
	return s.String()
}

// completed lists the checkpoints of the runs of one pair.
func (r checkpointResult) completed(pair int) string {
	var counts []string
	for _, one := range r.Runs {
		if one.Repetition == pair {
			counts = append(counts, fmt.Sprintf("%s: %g", one.System, one.Checkpoints))
		}
	}
	slices.Sort(counts)
	return strings.Join(counts, ", ")
}
