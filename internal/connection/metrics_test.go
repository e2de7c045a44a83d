package connection_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // has the tracer "none"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// exporter keeps the metrics of a stream: counters and gauges by name and labels,
// of timers how often they were told.
type exporter struct {
	mu     sync.Mutex
	values map[string]int64
}

type series struct {
	e    *exporter
	name string
}

func (e *exporter) series(name string) func(labels ...string) *series {
	return func(labels ...string) *series {
		return &series{e, strings.Join(append([]string{name}, labels...), " ")}
	}
}

func (s *series) add(n int64, set bool) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if set {
		s.e.values[s.name] = 0
	}
	s.e.values[s.name] += n
}

func (s *series) Incr(n int64)   { s.add(n, false) }
func (s *series) Decr(n int64)   { s.add(-n, false) }
func (s *series) Timing(n int64) { s.add(1, false) }
func (s *series) Set(n int64)    { s.add(n, true) }

func (e *exporter) NewCounterCtor(name string, _ ...string) service.MetricsExporterCounterCtor {
	of := e.series(name)
	return func(labels ...string) service.MetricsExporterCounter { return of(labels...) }
}

func (e *exporter) NewTimerCtor(name string, _ ...string) service.MetricsExporterTimerCtor {
	of := e.series(name)
	return func(labels ...string) service.MetricsExporterTimer { return of(labels...) }
}

func (e *exporter) NewGaugeCtor(name string, _ ...string) service.MetricsExporterGaugeCtor {
	of := e.series(name)
	return func(labels ...string) service.MetricsExporterGauge { return of(labels...) }
}

func (e *exporter) Close(context.Context) error { return nil }

func (e *exporter) value(name string) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.values[name]
}

// sum adds up the series of a name over their labels.
func (e *exporter) sum(name string) (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, v := range e.values {
		if k == name || strings.HasPrefix(k, name+" ") {
			n += v
		}
	}
	return n
}

// measured returns resources whose metrics end up in the exporter.
func measured(t *testing.T) (*service.Resources, *exporter) {
	t.Helper()
	e := &exporter{values: make(map[string]int64)}
	env := service.NewEnvironment()
	require.NoError(t, env.RegisterMetricsExporter("kept", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Logger) (service.MetricsExporter, error) {
		return e, nil
	}))
	b := env.NewResourceBuilder()
	require.NoError(t, b.SetMetricsYAML("kept: {}"))
	res, done, err := b.Build()
	require.NoError(t, err)
	t.Cleanup(func() { _ = done(context.Background()) })
	return res, e
}

// connect makes a client as a component with these resources does.
func connect(t *testing.T, res *service.Resources, e kafkatest.Endpoint, conf string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	parsed, err := service.NewConfigSpec().Fields(connection.Fields()...).ParseYAML("seed_brokers: [ '"+e.Seeds()[0]+"' ]\n"+conf, nil)
	require.NoError(t, err)
	c, err := connection.Parse(parsed, res, kafka.Overrides{})
	require.NoError(t, err)
	cl, err := c.NewClient(opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func TestClientMetricsCountWhatTheClientDoes(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	proxy := kafkatest.NewProxy(t, c)
	res, e := measured(t)
	cl := connect(t, res, proxy, "", kgo.DefaultProduceTopic(topic))
	require.NoError(t, cl.ProduceSync(context.Background(), kgo.StringRecord(strings.Repeat("x", 10_000))).FirstErr())
	assert.Equal(t, int64(1), e.value("tidemark_client_connects seed"))
	assert.Positive(t, e.value("tidemark_client_connects 0"))
	assert.Greater(t, e.value("tidemark_client_write_bytes 0"), int64(100))
	assert.Positive(t, e.sum("tidemark_client_read_bytes"))
	assert.Equal(t, int64(1), e.value("tidemark_client_request_latency_ns Produce"))
	assert.Zero(t, e.sum("tidemark_client_connect_errors"))
	assert.Equal(t, int64(1), e.value("tidemark_client_clients"))

	proxy.Down()
	kafkatest.Eventually(t, 30*time.Second, "disconnected and not able to connect", func() bool {
		assert.Error(t, kafka.Probe(context.Background(), cl)) // an idle connection is only missed when it is used
		return e.sum("tidemark_client_disconnects") > 0 && e.sum("tidemark_client_connect_errors") > 0
	})
	cl.Close()
	assert.Zero(t, e.value("tidemark_client_clients"))
}

func TestClientMetricsShowWhatIsBuffered(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	res, e := measured(t)
	cl := connect(t, res, c, "", kgo.DefaultProduceTopic(topic), kgo.ManualFlushing())
	for range 7 {
		cl.Produce(context.Background(), kgo.StringRecord("12345"), nil)
	}
	kafkatest.Eventually(t, 10*time.Second, "7 records buffered", func() bool {
		require.NoError(t, cl.Ping(context.Background()))
		return e.value("tidemark_client_buffered_produce_records") == 7 && e.value("tidemark_client_buffered_produce_bytes") == 35
	})
	cl.Close()
	assert.Zero(t, e.value("tidemark_client_buffered_produce_records"))
}

func TestClientMetricsCountThrottling(t *testing.T) {
	c := kafkatest.Fake(t)
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		resp.ThrottleMillis = 1
		return resp, nil, true
	})
	res, e := measured(t)
	require.NoError(t, connect(t, res, c, "").Ping(context.Background()))
	kafkatest.Eventually(t, 10*time.Second, "throttled", func() bool { return e.sum("tidemark_client_throttles") == 1 })
	assert.Equal(t, int64(1), e.sum("tidemark_client_throttle_ns"))
}

func TestMT06_ClientMetricsCanBeSwitchedOff(t *testing.T) {
	c := kafkatest.Fake(t)
	res, e := measured(t)
	require.NoError(t, connect(t, res, c, "client_metrics: false").Ping(context.Background()))
	assert.Zero(t, e.sum("tidemark_client_connects"))
	e.mu.Lock()
	defer e.mu.Unlock()
	assert.Empty(t, e.values)
}

// TestER04_EveryConnectionBearsTheClientID asks the brokers.
func TestER04_EveryConnectionBearsTheClientID(t *testing.T) {
	c := kafkatest.Fake(t, kfake.NumBrokers(2))
	proxy := kafkatest.NewProxy(t, c)
	topic := kafkatest.Topic(t, c, 4)
	cl := connect(t, service.MockResources(), proxy, "client_id: mine", kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic))
	require.NoError(t, cl.ProduceSync(context.Background(), kgo.StringRecord("x")).FirstErr())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := cl.PollFetches(ctx).Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	assert.Equal(t, []string{"mine"}, proxy.ClientIDs())
}
