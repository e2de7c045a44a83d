package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// vector is a family of series that differ in their labels.
type vector interface {
	prometheus.Collector
	DeletePartialMatch(prometheus.Labels) int
}

// family is a vector and the label keys that it was made with.
type family struct {
	vector vector
	keys   []string
}

// exporter implements service.MetricsExporter.
type exporter struct {
	conf     config
	log      *service.Logger
	registry *prometheus.Registry
	// pusher is nil where nothing is pushed.
	pusher *push.Pusher
	// stop ends the goroutine that pushes, pushing waits for it.
	stop    chan struct{}
	pushing sync.WaitGroup
	closing sync.Once

	mu struct {
		sync.Mutex
		families map[string]family
	}
}

var _ service.MetricsExporterSeriesDeleter = (*exporter)(nil)

func newExporter(conf config, log *service.Logger) (*exporter, error) {
	e := &exporter{conf: conf, log: log, registry: prometheus.NewRegistry(), stop: make(chan struct{})}
	e.mu.families = map[string]family{}
	if conf.process {
		if err := e.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})); err != nil {
			return nil, fmt.Errorf("adding metrics of the process: %w", err)
		}
	}
	if conf.goRuntime {
		if err := e.registry.Register(collectors.NewGoCollector()); err != nil {
			return nil, fmt.Errorf("adding metrics of the runtime: %w", err)
		}
	}
	if conf.pushURL != "" {
		e.pusher = push.New(conf.pushURL, conf.pushJob).Gatherer(e.registry)
		if conf.user != "" && conf.secret != "" {
			e.pusher = e.pusher.BasicAuth(conf.user, conf.secret)
		}
	}
	if conf.pushEvery > 0 {
		e.pushing.Go(e.pushLoop)
	}
	return e, nil
}

func (e *exporter) pushLoop() {
	ticker := time.NewTicker(e.conf.pushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-ticker.C:
			if err := e.pusher.Push(); err != nil {
				e.log.Errorf("Pushing metrics to %s failed: %v", e.conf.pushURL, err)
			}
		}
	}
}

// HandlerFunc serves the metrics; Benthos mounts it at /metrics and /stats.
func (e *exporter) HandlerFunc() http.HandlerFunc {
	return promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{}).ServeHTTP
}

// DeleteSeriesPartialMatch deletes every series that has all these labels.
func (e *exporter) DeleteSeriesPartialMatch(labels map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.mu.families {
		f.vector.DeletePartialMatch(labels)
	}
}

// Close pushes and writes the file, where configured.
func (e *exporter) Close(ctx context.Context) error {
	e.closing.Do(func() { close(e.stop) })
	e.pushing.Wait()
	var errs []error
	if e.pusher != nil {
		if err := e.pusher.PushContext(ctx); err != nil {
			errs = append(errs, fmt.Errorf("pushing metrics to %s: %w", e.conf.pushURL, err))
		}
	}
	if e.conf.file != "" {
		if err := prometheus.WriteToTextfile(e.conf.file, e.registry); err != nil {
			errs = append(errs, fmt.Errorf("writing metrics to %s: %w", e.conf.file, err))
		}
	}
	return errors.Join(errs...)
}

// registered returns the vector of a name, made and registered at its first use.
// It returns an error where the name is not valid or was taken by a vector of
// another kind or with other labels.
func registered[V vector](e *exporter, name string, keys []string, construct func() V) (V, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none V
	if f, ok := e.mu.families[name]; ok {
		v, ok := f.vector.(V)
		if !ok {
			return none, fmt.Errorf("metric %s is a %T already, not a %T", name, f.vector, none)
		}
		if !slices.Equal(f.keys, keys) {
			return none, fmt.Errorf("metric %s has the labels %v already, not %v", name, f.keys, keys)
		}
		return v, nil
	}
	v := construct()
	if err := e.registry.Register(v); err != nil {
		return none, fmt.Errorf("registering metric %s: %w", name, err)
	}
	e.mu.families[name] = family{v, slices.Clone(keys)}
	return v, nil
}

// NewCounterCtor implements service.MetricsExporter.
func (e *exporter) NewCounterCtor(name string, keys ...string) service.MetricsExporterCounterCtor {
	v, err := registered(e, name, keys, func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "Benthos counter metric"}, keys)
	})
	if err != nil {
		e.log.Errorf("Ignoring a counter: %v", err)
		return func(...string) service.MetricsExporterCounter { return ignored{} }
	}
	return func(values ...string) service.MetricsExporterCounter { return counter{v.WithLabelValues(values...)} }
}

// NewGaugeCtor implements service.MetricsExporter.
func (e *exporter) NewGaugeCtor(name string, keys ...string) service.MetricsExporterGaugeCtor {
	v, err := registered(e, name, keys, func() *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "Benthos gauge metric"}, keys)
	})
	if err != nil {
		e.log.Errorf("Ignoring a gauge: %v", err)
		return func(...string) service.MetricsExporterGauge { return ignored{} }
	}
	return func(values ...string) service.MetricsExporterGauge { return gauge{v.WithLabelValues(values...)} }
}

// NewTimerCtor implements service.MetricsExporter.
func (e *exporter) NewTimerCtor(name string, keys ...string) service.MetricsExporterTimerCtor {
	observer, unit, err := e.timer(name, keys)
	if err != nil {
		e.log.Errorf("Ignoring a timer: %v", err)
		return func(...string) service.MetricsExporterTimer { return ignored{} }
	}
	return func(values ...string) service.MetricsExporterTimer { return timer{observer(values...), unit} }
}

// timer returns what observes a timing, and the unit that it observes it in.
func (e *exporter) timer(name string, keys []string) (func(...string) prometheus.Observer, time.Duration, error) {
	const help = "Benthos timing metric"
	if e.conf.histogram {
		v, err := registered(e, name, keys, func() *prometheus.HistogramVec {
			return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: e.conf.buckets}, keys)
		})
		return v.WithLabelValues, time.Second, err
	}
	v, err := registered(e, name, keys, func() *prometheus.SummaryVec {
		return prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: name, Help: help, Objectives: e.conf.objectives}, keys)
	})
	return v.WithLabelValues, time.Nanosecond, err
}
