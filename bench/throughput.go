package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// throughputResult is what the main comparison writes.
type throughputResult struct {
	Environment environment   `json:"environment"`
	Loads       []loadResult  `json:"loads"`
	Systems     []systemAbout `json:"systems"`
}

type systemAbout struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

type loadResult struct {
	Load  load   `json:"load"`
	Rows  []row  `json:"summary"`
	Goals []goal `json:"goals,omitempty"`
	Runs  []run  `json:"runs"`
}

// throughput runs all systems on all loads, side by side.
func (b *bench) throughput(ctx context.Context, env environment, systems []system, loads []load, repetitions int) (throughputResult, error) {
	result := throughputResult{Environment: env}
	var names []string
	for _, s := range systems {
		names = append(names, s.name)
		result.Systems = append(result.Systems, systemAbout{s.name, s.about})
	}
	for _, l := range loads {
		runs, err := b.sideBySide(ctx, systems, l, repetitions)
		if err != nil {
			return result, err
		}
		r := loadResult{Load: l, Runs: runs, Rows: summarise(runs, names)}
		if l.ValueBytes <= 100 {
			r.Goals = throughputGoals(r.Rows)
		}
		result.Loads = append(result.Loads, r)
	}
	return result, nil
}

// sideBySide runs every system once in each repetition. Who comes first moves on
// from one to the next, so that a machine that slows down or warms up is nobody's
// advantage.
func (b *bench) sideBySide(ctx context.Context, systems []system, l load, repetitions int) ([]run, error) {
	progress("filling %v", l)
	want, err := b.fill(ctx, l)
	if err != nil {
		return nil, err
	}
	var runs []run
	for i := range repetitions {
		for j := range systems {
			s := systems[(i+j)%len(systems)]
			r, err := b.copyOnce(ctx, s, l, want)
			if err != nil {
				return nil, err
			}
			r.Repetition = i + 1
			progress("%v, %d of %d, %s: %s records/s, %.2f µs, %.0f MiB", l, i+1, repetitions, s.name,
				grouped(fmt.Sprintf("%.0f", r.Rate)), r.CPUMicros, r.PeakMiB)
			runs = append(runs, r)
		}
	}
	if _, err := b.admin.DeleteTopic(ctx, l.topic()); err != nil {
		return nil, fmt.Errorf("deleting topic %s: %w", l.topic(), err)
	}
	return runs, nil
}

func (r throughputResult) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Copying a topic\n\n%s\n", r.Environment.markdown())
	s.WriteString("Each cell: minimum / **median** / maximum. Ratios are formed within each repetition; the peer is the\n" +
		"faster ordered Redpanda Connect pipeline of that repetition. Every output was read back and compared.\n\n")
	for _, a := range r.Systems {
		fmt.Fprintf(&s, "- %s: %s\n", a.Name, a.About)
	}
	for _, l := range r.Loads {
		fmt.Fprintf(&s, "\n## %s records of %d bytes\n\n", grouped(fmt.Sprint(l.Load.Records)), l.Load.ValueBytes)
		var cost, ratios [][]string
		for _, w := range l.Rows {
			cost = append(cost, []string{w.System, w.Rate.format(0), w.CPUSeconds.format(2), w.CPUMicros.format(2), w.PeakMiB.format(0)})
			ratios = append(ratios, []string{
				w.System, w.RateToRaw.format(2), w.CPUToRaw.format(2),
				w.RateToPeer.format(2), w.CPUToPeer.format(2), w.MemoryToPeer.format(2),
			})
		}
		fmt.Fprintf(&s, "Load average of the machine before the runs: %s.\n\n", busyBefore(l.Runs).format(1))
		s.WriteString(table([]string{"", "records/s", "CPU s", "CPU µs/record", "peak MiB"}, cost) + "\n")
		s.WriteString(table([]string{"", "rate : raw", "CPU : raw", "rate : peer", "CPU : peer", "memory : peer"}, ratios))
		if len(l.Goals) > 0 {
			s.WriteString("\n" + goalTable(l.Goals))
		}
	}
	return s.String()
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
