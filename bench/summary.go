package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// spread is what is left of a number that was measured several times.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// spreadOf summarises at least one value.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return spread{Min: s[0], Median: median, Max: s[len(s)-1]}
}

// format prints minimum, median and maximum with a number of decimals.
func (s spread) format(decimals int) string {
	if s == (spread{}) {
		return "–"
	}
	one := func(v float64) string { return grouped(fmt.Sprintf("%.*f", decimals, v)) }
	return one(s.Min) + " / **" + one(s.Median) + "** / " + one(s.Max)
}

// grouped puts commas between the thousands of a positive number.
func grouped(number string) string {
	whole, fraction, _ := strings.Cut(number, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

// peerPrefix begins the names of the systems that ours is compared with.
const peerPrefix = "connect "

// row is what a system did with a load.
type row struct {
	System     string `json:"system"`
	Rate       spread `json:"records_per_second"`
	CPUSeconds spread `json:"cpu_seconds"`
	CPUMicros  spread `json:"cpu_us_per_record"`
	PeakMiB    spread `json:"peak_rss_mib"`
	// Ratios are formed within each repetition. The peer is the one that was
	// fastest in that repetition, also for its CPU and memory.
	RateToRaw    spread `json:"rate_to_raw"`
	CPUToRaw     spread `json:"cpu_to_raw"`
	RateToPeer   spread `json:"rate_to_peer"`
	CPUToPeer    spread `json:"cpu_to_peer"`
	MemoryToPeer spread `json:"memory_to_peer"`
}

// summarise makes a row of each system from its runs on one load, in the order in
// which systems first appear in names.
func summarise(runs []run, names []string) []row {
	repetitions := map[int][]run{}
	for _, r := range runs {
		repetitions[r.Repetition] = append(repetitions[r.Repetition], r)
	}
	var rows []row
	for _, name := range names {
		var m measures
		for _, side := range repetitions {
			m.take(side, name)
		}
		if len(m.rate) > 0 {
			rows = append(rows, m.row(name))
		}
	}
	return rows
}

// measures collects what a row is made of.
type measures struct {
	rate, seconds, micros, peak                            []float64
	rateToRaw, cpuToRaw, rateToPeer, cpuToPeer, peakToPeer []float64
}

// take takes a system's run from the runs of one repetition.
func (m *measures) take(side []run, name string) {
	i := slices.IndexFunc(side, func(r run) bool { return r.System == name })
	if i < 0 {
		return
	}
	own := side[i]
	m.rate = append(m.rate, own.Rate)
	m.seconds = append(m.seconds, own.CPUSeconds)
	m.micros = append(m.micros, own.CPUMicros)
	m.peak = append(m.peak, own.PeakMiB)
	if i := slices.IndexFunc(side, func(r run) bool { return r.System == nameRaw }); i >= 0 {
		m.rateToRaw = append(m.rateToRaw, own.Rate/side[i].Rate)
		m.cpuToRaw = append(m.cpuToRaw, own.CPUMicros/side[i].CPUMicros)
	}
	if peer, ok := fastestPeer(side); ok {
		m.rateToPeer = append(m.rateToPeer, own.Rate/peer.Rate)
		m.cpuToPeer = append(m.cpuToPeer, own.CPUMicros/peer.CPUMicros)
		if peer.PeakMiB > 0 {
			m.peakToPeer = append(m.peakToPeer, own.PeakMiB/peer.PeakMiB)
		}
	}
}

func fastestPeer(side []run) (run, bool) {
	peers := slices.DeleteFunc(slices.Clone(side), func(r run) bool { return !strings.HasPrefix(r.System, peerPrefix) })
	if len(peers) == 0 {
		return run{}, false
	}
	return slices.MaxFunc(peers, func(a, b run) int { return cmp.Compare(a.Rate, b.Rate) }), true
}

func (m *measures) row(name string) row {
	return row{
		System: name, Rate: spreadOf(m.rate), CPUSeconds: spreadOf(m.seconds), CPUMicros: spreadOf(m.micros), PeakMiB: spreadOf(m.peak),
		RateToRaw: spreadOf(m.rateToRaw), CPUToRaw: spreadOf(m.cpuToRaw),
		RateToPeer: spreadOf(m.rateToPeer), CPUToPeer: spreadOf(m.cpuToPeer), MemoryToPeer: spreadOf(m.peakToPeer),
	}
}

// goal is a number that a result is held against.
type goal struct {
	What     string  `json:"what"`
	Wanted   string  `json:"wanted"`
	Measured float64 `json:"measured"`
	Met      bool    `json:"met"`
}

func atLeast(what string, measured, wanted float64) goal {
	return goal{What: what, Wanted: fmt.Sprintf("at least %g", wanted), Measured: measured, Met: measured >= wanted}
}

func atMost(what string, measured, wanted float64) goal {
	return goal{What: what, Wanted: fmt.Sprintf("at most %g", wanted), Measured: measured, Met: measured <= wanted}
}

// throughputGoals holds the medians of the default settings against what is
// promised for small records.
func throughputGoals(rows []row) []goal {
	i := slices.IndexFunc(rows, func(r row) bool { return r.System == nameDefault })
	if i < 0 {
		return nil
	}
	r := rows[i]
	goals := []goal{atMost("CPU, µs per record", r.CPUMicros.Median, 2)}
	if r.RateToRaw.Median > 0 {
		goals = append(goals, atLeast("rate, to the raw loop", r.RateToRaw.Median, 0.55))
	}
	if r.RateToPeer.Median > 0 {
		goals = append(goals, atLeast("rate, to the faster peer", r.RateToPeer.Median, 3))
	}
	if r.MemoryToPeer.Median > 0 {
		goals = append(goals, atMost("peak memory, to that peer", r.MemoryToPeer.Median, 0.5))
	}
	return goals
}

// busyBefore summarises how busy the machine was before each run.
func busyBefore(runs []run) spread {
	busy := make([]float64, len(runs))
	for i, r := range runs {
		busy[i] = r.Busy
	}
	return spreadOf(busy)
}
