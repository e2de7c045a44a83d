package demo

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// gaugesName is the metrics exporter that the demo's pipeline reports to.
const gaugesName = "demo_gauges"

// gauges is a metrics exporter that keeps the pipeline's metrics for the lines
// of progress. The zero value is ready.
type gauges struct {
	// series maps a name to a *sync.Map from label values to *series.
	names sync.Map
}

// series is one counter or gauge.
type series struct{ value atomic.Int64 }

func (s *series) Incr(n int64)   { s.value.Add(n) }
func (s *series) Set(v int64)    { s.value.Store(v) }
func (s *series) Timing(_ int64) {}

func (g *gauges) register(env *service.Environment) error {
	return env.RegisterMetricsExporter(gaugesName, service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) { return g, nil })
}

func (g *gauges) of(name string, labels []string) *series {
	all, _ := g.names.LoadOrStore(name, &sync.Map{})
	one, _ := all.(*sync.Map).LoadOrStore(strings.Join(labels, "\x00"), &series{})
	return one.(*series)
}

// sum adds the series of a name up.
func (g *gauges) sum(name string) (total int64) {
	all, ok := g.names.Load(name)
	if !ok {
		return 0
	}
	all.(*sync.Map).Range(func(_, one any) bool {
		total += one.(*series).value.Load()
		return true
	})
	return total
}

// NewCounterCtor implements service.MetricsExporter.
func (g *gauges) NewCounterCtor(name string, _ ...string) service.MetricsExporterCounterCtor {
	return func(labels ...string) service.MetricsExporterCounter { return g.of(name, labels) }
}

// NewGaugeCtor implements service.MetricsExporter.
func (g *gauges) NewGaugeCtor(name string, _ ...string) service.MetricsExporterGaugeCtor {
	return func(labels ...string) service.MetricsExporterGauge { return g.of(name, labels) }
}

// NewTimerCtor implements service.MetricsExporter.
func (g *gauges) NewTimerCtor(string, ...string) service.MetricsExporterTimerCtor {
	return func(...string) service.MetricsExporterTimer { return &series{} }
}

// Close implements service.MetricsExporter.
func (g *gauges) Close(context.Context) error { return nil }
