package prometheus

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, yaml string) *exporter {
	t.Helper()
	parsed, err := spec().ParseYAML(yaml, service.NewEnvironment())
	require.NoError(t, err)
	conf, err := parse(parsed)
	require.NoError(t, err)
	e, err := newExporter(conf, nil)
	require.NoError(t, err)
	return e
}

func scrape(t *testing.T, e *exporter) string {
	t.Helper()
	w := httptest.NewRecorder()
	e.HandlerFunc()(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

func TestSeries(t *testing.T) {
	e := open(t, "{}")
	c := e.NewCounterCtor("done", "topic")
	c("a").Incr(2)
	c("a").(counter).IncrFloat64(0.5)
	g := e.NewGaugeCtor("lag", "topic", "partition")("a", "0")
	g.Set(5)
	g.(gauge).SetFloat64(1.5)
	e.NewTimerCtor("took")().Timing(2_000)

	text := scrape(t, e)
	assert.Contains(t, text, `done{topic="a"} 2.5`)
	assert.Contains(t, text, `lag{partition="0",topic="a"} 1.5`)
	assert.Contains(t, text, `took{quantile="0.99"} 2000`)
	assert.Contains(t, text, `took_sum 2000`)
}

func TestHistogramIsInSeconds(t *testing.T) {
	e := open(t, "use_histogram_timing: true\nhistogram_buckets: [ 0.1, 2 ]")
	e.NewTimerCtor("took")().Timing(1_500_000_000)
	text := scrape(t, e)
	assert.Contains(t, text, `took_bucket{le="0.1"} 0`)
	assert.Contains(t, text, `took_bucket{le="2"} 1`)
	assert.Contains(t, text, `took_sum 1.5`)
}

func TestDeletesSeries(t *testing.T) {
	e := open(t, "{}")
	e.NewGaugeCtor("lag", "topic", "partition")("a", "0").Set(1)
	e.NewGaugeCtor("lag", "topic", "partition")("a", "1").Set(1)
	e.NewCounterCtor("read", "topic", "partition")("a", "0").Incr(1)
	e.DeleteSeriesPartialMatch(map[string]string{"topic": "a", "partition": "0"})
	text := scrape(t, e)
	assert.NotContains(t, text, `partition="0"`)
	assert.Contains(t, text, `lag{partition="1",topic="a"} 1`)
}

func TestSameNameTwice(t *testing.T) {
	e := open(t, "{}")
	e.NewCounterCtor("n", "a")("x").Incr(1)
	e.NewCounterCtor("n", "a")("x").Incr(1)
	// Other labels or another kind are ignored rather than mixed up.
	e.NewCounterCtor("n", "b")("x").Incr(5)
	e.NewGaugeCtor("n", "a")("x").Set(5)
	e.NewTimerCtor("n", "a")("x").Timing(5)
	e.NewCounterCtor("not a name")().Incr(1)
	assert.Contains(t, scrape(t, e), `n{a="x"} 2`)
}

func TestCloseWritesAndPushes(t *testing.T) {
	var user, path string
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, _, _ = r.BasicAuth()
		path = r.URL.Path
	}))
	t.Cleanup(gateway.Close)
	file := filepath.Join(t.TempDir(), "metrics.prom")
	e := open(t, `
push_url: `+gateway.URL+`
push_interval: 1h
push_job_name: orders
push_basic_auth: { username: someone, password: secret }
file_output_path: `+file)
	e.NewCounterCtor("n")().Incr(1)
	require.NoError(t, e.Close(context.Background()))
	require.NoError(t, e.Close(context.Background()))
	assert.Equal(t, "someone", user)
	assert.Equal(t, "/metrics/job/orders", path)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(text), "n 1")
}

func TestCollectors(t *testing.T) {
	text := scrape(t, open(t, "{ add_process_metrics: true, add_go_metrics: true }"))
	assert.Contains(t, text, "process_cpu_seconds_total")
	assert.Contains(t, text, "go_goroutines")
}

func TestBadConfig(t *testing.T) {
	for yaml, want := range map[string]string{
		"push_interval: 1s": "push_interval: is 1s and push_url is \"\"",
		"summary_quantiles_objectives: [ { quantile: 2 } ]": "quantile: is 2",
	} {
		parsed, err := spec().ParseYAML(yaml, nil)
		require.NoError(t, err)
		_, err = parse(parsed)
		assert.ErrorContains(t, err, want)
	}
}

func TestServedByBenthos(t *testing.T) {
	env := service.NewEnvironment()
	require.NoError(t, Register(env))
	mux := http.NewServeMux()
	b := env.NewStreamBuilder()
	b.SetHTTPMux(handlers{mux})
	require.NoError(t, b.SetYAML("input: { generate: { count: 1, interval: '', mapping: 'root = 1' } }\noutput: { drop: {} }\nmetrics: { prometheus: {} }\nlogger: { level: none }"))
	s, err := b.Build()
	require.NoError(t, err)
	require.NoError(t, s.Run(context.Background()))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	assert.Contains(t, w.Body.String(), `input_received{label="",path="root.input"} 1`)
}

type handlers struct{ mux *http.ServeMux }

func (h handlers) HandleFunc(path string, f func(http.ResponseWriter, *http.Request)) {
	h.mux.HandleFunc(path, f)
}
