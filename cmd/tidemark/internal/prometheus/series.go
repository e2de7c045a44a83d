package prometheus

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counter, gauge and timer are single series, ignored is one that cannot be.
type (
	counter struct{ series prometheus.Counter }
	gauge   struct{ series prometheus.Gauge }
	timer   struct {
		series prometheus.Observer
		unit   time.Duration
	}
	ignored struct{}
)

func (c counter) Incr(n int64)          { c.series.Add(float64(n)) }
func (c counter) IncrFloat64(n float64) { c.series.Add(n) }

func (g gauge) Set(v int64)          { g.series.Set(float64(v)) }
func (g gauge) SetFloat64(v float64) { g.series.Set(v) }

// Timing takes nanoseconds.
func (t timer) Timing(ns int64) { t.series.Observe(float64(ns) / float64(t.unit)) }

func (ignored) Incr(int64)   {}
func (ignored) Set(int64)    {}
func (ignored) Timing(int64) {}
