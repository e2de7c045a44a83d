package behaviour

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// gathered is a metrics exporter that keeps what it gets, by name{label=value,…}.
type gathered struct {
	mu     sync.Mutex
	values map[string]int64
	// keys are the labels that each name came with first.
	keys map[string]string
}

// check makes sure that a name has the same labels everywhere: exporters such as Prometheus's
// leave out what comes with others.
func (g *gathered) check(name string, keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys == nil {
		g.keys = map[string]string{}
	}
	all := strings.Join(keys, " ")
	if was, ok := g.keys[name]; ok && was != all {
		panic(fmt.Sprintf("the metric %s has the labels %q and %q", name, was, all))
	}
	g.keys[name] = all
}

type gatheredSeries struct {
	g   *gathered
	key string
}

func (s gatheredSeries) Incr(n int64)   { s.g.set(s.key, func(v int64) int64 { return v + n }) }
func (s gatheredSeries) Set(n int64)    { s.g.set(s.key, func(int64) int64 { return n }) }
func (s gatheredSeries) Timing(n int64) { s.Incr(1) }

func (g *gathered) set(key string, f func(int64) int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.values[key] = f(g.values[key])
}

// get returns a series, whatever labels of Benthos it has beside ours.
func (g *gathered) get(name string, labels ...string) (int64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var sum int64
	found := false
	for key, v := range g.values {
		if !strings.HasPrefix(key, name+"{") {
			continue
		}
		ok := true
		for i := 0; i < len(labels); i += 2 {
			ok = ok && strings.Contains(key, fmt.Sprintf("%s=%q", labels[i], labels[i+1]))
		}
		if ok {
			sum, found = sum+v, true
		}
	}
	return sum, found
}

func (g *gathered) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for key := range g.values {
		names = append(names, key[:strings.IndexByte(key, '{')])
	}
	return names
}

func (g *gathered) series(name string, keys []string) func(...string) gatheredSeries {
	g.check(name, keys)
	return func(values ...string) gatheredSeries {
		var b strings.Builder
		b.WriteString(name + "{")
		for i, k := range keys {
			fmt.Fprintf(&b, "%s=%q,", k, values[i])
		}
		return gatheredSeries{g, b.String() + "}"}
	}
}

// NewCounterCtor and the others implement service.MetricsExporter.
func (g *gathered) NewCounterCtor(name string, keys ...string) service.MetricsExporterCounterCtor {
	f := g.series(name, keys)
	return func(v ...string) service.MetricsExporterCounter { return f(v...) }
}

func (g *gathered) NewTimerCtor(name string, keys ...string) service.MetricsExporterTimerCtor {
	f := g.series(name, keys)
	return func(v ...string) service.MetricsExporterTimer { return f(v...) }
}

func (g *gathered) NewGaugeCtor(name string, keys ...string) service.MetricsExporterGaugeCtor {
	f := g.series(name, keys)
	return func(v ...string) service.MetricsExporterGauge { return f(v...) }
}

// Close implements service.MetricsExporter.
func (g *gathered) Close(context.Context) error { return nil }

func TestMT01_OffsetsInMetricsAreThoseOfTopicAndGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 12)
		s, m := startMeasured(t, e, copyYAML(in, out, "g", "checkpoint: { interval: 20s }"))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 12), 1: span(0, 12)})
		for _, p := range []string{"0", "1"} {
			current, _ := m.get("tidemark_current_offset", "topic", in, "partition", p)
			require.Equal(t, int64(11), current)
			_, committed := m.get("tidemark_committed_offset", "topic", in, "partition", p)
			require.False(t, committed, "unset before the first commit")
		}
		time.Sleep(25 * time.Second) // virtual: one checkpoint
		for p, c := range kafkatest.Committed(t, e, "g", in) {
			got, _ := m.get("tidemark_committed_offset", "topic", in, "partition", fmt.Sprint(p))
			require.Equal(t, c.Offset, got)
			require.Equal(t, int64(12), got)
			lag, ok := m.get("tidemark_lag", "topic", in, "partition", fmt.Sprint(p))
			require.True(t, ok)
			require.Zero(t, lag)
		}
		commits, _ := m.get("tidemark_offset_commits")
		require.Positive(t, commits)
		completed, _ := m.get("tidemark_checkpoints_completed")
		require.Positive(t, completed)
		require.NoError(t, s.stop())
		owned, _ := m.get("tidemark_partition_owned")
		require.Zero(t, owned)
	})
}

func TestMT03_RecordsInAndOutAreCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 100)
		_, m := startMeasured(t, e, copyYAML(in, out, "g", "")+"\npipeline:\n  processors: [ { mapping: 'root = if content().string().has_suffix(\"7\") { deleted() }' } ]\n")
		kafkatest.Eventually(t, patience, "all are written", func() bool { return len(numbers(t, e, out)[2]) == 90 })
		time.Sleep(5 * time.Second) // virtual
		records, _ := m.get("tidemark_records_in")
		require.Equal(t, int64(300), records)
		bytes, _ := m.get("tidemark_bytes_in")
		require.Positive(t, bytes)
		written, _ := m.get("tidemark_records_out")
		require.Equal(t, int64(270), written, "deleted messages count nowhere")
	})
}

func TestMT06_ClientMetricsHaveASwitch(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 10)
				yaml := strings.ReplaceAll(copyYAML(in, out, "g", ""), "seed_brokers: $SEEDS", fmt.Sprintf("seed_brokers: $SEEDS\n    client_metrics: %v", on))
				_, m := startMeasured(t, e, yaml)
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
				time.Sleep(5 * time.Second) // virtual
				require.Equal(t, on, strings.Contains(strings.Join(m.names(), " "), "tidemark_client_"))
				require.Contains(t, m.names(), "tidemark_records_in")
			})
		})
	}
}
