package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	require.Equal(t, spread{1, 2, 9}, spreadOf([]float64{9, 1, 2}))
	require.Equal(t, spread{1, 2.5, 9}, spreadOf([]float64{9, 1, 2, 3}))
	require.Equal(t, spread{}, spreadOf(nil))
	require.Equal(t, "999 / **1,000** / 1,234,567", spread{999, 1000, 1234567}.format(0))
	require.Equal(t, "0.50 / **1.25** / 1,000.00", spread{0.5, 1.25, 1000}.format(2))
	require.Equal(t, "–", spread{}.format(2))
}

func TestRatiosAreFormedWithinARepetition(t *testing.T) {
	runs := []run{
		{Repetition: 1, System: nameRaw, Rate: 100, CPUMicros: 1, PeakMiB: 50},
		{Repetition: 1, System: "connect a", Rate: 10, CPUMicros: 8, PeakMiB: 200},
		{Repetition: 1, System: "connect b", Rate: 20, CPUMicros: 4, PeakMiB: 400},
		{Repetition: 1, System: nameDefault, Rate: 80, CPUMicros: 2, PeakMiB: 100},
		// The machine is half as fast, and the other peer is the faster one.
		{Repetition: 2, System: nameRaw, Rate: 50, CPUMicros: 2, PeakMiB: 50},
		{Repetition: 2, System: "connect a", Rate: 10, CPUMicros: 16, PeakMiB: 200},
		{Repetition: 2, System: "connect b", Rate: 5, CPUMicros: 8, PeakMiB: 400},
		{Repetition: 2, System: nameDefault, Rate: 40, CPUMicros: 4, PeakMiB: 100},
	}
	rows := summarise(runs, []string{nameDefault, "connect b", "absent"})
	require.Len(t, rows, 2)
	ours := rows[0]
	require.Equal(t, nameDefault, ours.System)
	require.Equal(t, spread{40, 60, 80}, ours.Rate)
	require.Equal(t, spread{0.8, 0.8, 0.8}, ours.RateToRaw)
	require.Equal(t, spread{2, 2, 2}, ours.CPUToRaw)
	require.Equal(t, spread{4, 4, 4}, ours.RateToPeer)
	require.Equal(t, spread{0.25, 0.375, 0.5}, ours.CPUToPeer)
	require.Equal(t, spread{0.25, 0.375, 0.5}, ours.MemoryToPeer)
	require.Equal(t, spread{0.5, 0.75, 1}, rows[1].RateToPeer)
}

func TestRatiosNeedSomebodyToCompareWith(t *testing.T) {
	rows := summarise([]run{{Repetition: 1, System: nameDefault, Rate: 80, CPUMicros: 2}}, []string{nameDefault})
	require.Equal(t, spread{}, rows[0].RateToRaw)
	require.Equal(t, spread{}, rows[0].RateToPeer)
	require.Len(t, throughputGoals(rows), 1, "only what can be told")
}

func TestThroughputGoals(t *testing.T) {
	flat := func(v float64) spread { return spread{v, v, v} }
	goals := throughputGoals([]row{{
		System: nameDefault, CPUMicros: flat(2), RateToRaw: flat(0.54), RateToPeer: flat(3), MemoryToPeer: flat(0.51),
	}})
	var met []bool
	for _, g := range goals {
		met = append(met, g.Met)
	}
	require.Equal(t, []bool{true, false, true, false}, met)
}

func TestMetricsAreSummed(t *testing.T) {
	const text = "# HELP x_total help\nx_total{a=\"1\"} 2\nx_total{a=\"2 3\"} 3\nx_total_more 7\n"
	v, err := parseMetric(text, "x_total", "")
	require.NoError(t, err)
	require.InDelta(t, 5, v, 0)
	_, err = parseMetric(text, "y", "")
	require.ErrorContains(t, err, "there is none")
	_, err = parseMetric("x one\n", "x", "")
	require.Error(t, err)
	v, err = parseMetric("x{a=\"1\",quantile=\"0.5\"} 2\nx{a=\"1\",quantile=\"0.9\"} 3\n", "x", `quantile="0.5"`)
	require.NoError(t, err)
	require.InDelta(t, 2, v, 0)
}

func TestLatencyIsFromSentToSeen(t *testing.T) {
	var sent, seen []time.Time
	for i := range 100 {
		sent = append(sent, time.UnixMilli(int64(i)))
		seen = append(seen, time.UnixMilli(int64(i+100-i)))
	}
	var r latencyRun
	r.measure(sent, seen)
	require.Equal(t, latencyRun{Records: 100, P50: 51, P99: 100, Max: 100}, r)
	require.Zero(t, quantile(nil, 0.5))
}

func TestRecordsThatComeTwiceAreAnError(t *testing.T) {
	s := &steady{stop: func() {}, fed: make(chan struct{})}
	close(s.fed)
	s.mu.sent, s.mu.seen = make([]time.Time, 2), make([]time.Time, 2)
	now := time.Now()
	for _, value := range []string{`{"n":0}`, `{"n":1}`, `{"n":2}`, `{"x":1}`, "no JSON"} {
		s.sawLocked([]byte(value), now)
	}
	require.NoError(t, s.finish(t.Context()))
	s.sawLocked([]byte(`{"n":1}`), now)
	require.ErrorContains(t, s.finish(t.Context()), "1 of 2 records came more than once")
}

func TestResultsOfWindowsAreChecked(t *testing.T) {
	r := resultsOf(checkedKeys + 1)
	require.Equal(t, 2, r.left)
	require.NoError(t, r.add("user-000000000", []byte(`{"records":1}`)))
	require.NoError(t, r.add("probe", []byte(`{"n":7}`)), "what is of no window")
	require.Equal(t, 1, r.left)
	require.ErrorContains(t, r.add("user-000000000", []byte(`{"records":1}`)), "twice")
	require.ErrorContains(t, r.add("user-000000101", []byte(`{"records":2}`)), "wrong")
	require.ErrorContains(t, r.add("user-000000001", []byte(`{"records":1}`)), "wrong", "its window is open")
	require.ErrorContains(t, r.add("user-000000202", []byte(`{"records":1}`)), "wrong", "there is no such key")
	require.Error(t, r.add("user-x", []byte(`{"records":1}`)))
	require.NoError(t, r.add("user-000000101", []byte(`{"records":1}`)))
	require.Zero(t, r.left)
}

func TestHandoversAreHeldAgainstTheirGoals(t *testing.T) {
	r := handoverResult{Session: 10, Moves: []move{
		{Kind: joins, FromAssigned: 1, FromEvent: 30}, {Kind: joins, FromAssigned: 11}, {Kind: stops, FromAssigned: 2}, {Kind: killed, FromEvent: 19},
	}}
	r.judge()
	var met []bool
	for _, g := range r.Goals {
		met = append(met, g.Met)
	}
	require.Equal(t, []bool{false, true, true}, met)
}
