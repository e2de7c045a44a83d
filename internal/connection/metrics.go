package connection

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sampleInterval is how often the gauges of buffered records are set at most.
const sampleInterval = 100 * time.Millisecond

// clientMetrics exports what a Kafka client tells its hooks. It hooks into
// connections and requests only: a hook per record would cost more than the rest
// of a record's way.
type clientMetrics struct {
	connects, connectErrors, disconnects   *service.MetricCounter
	readBytes, readErrors                  *service.MetricCounter
	writeBytes, writeErrors                *service.MetricCounter
	throttles                              *service.MetricCounter
	throttled, latency                     *service.MetricTimer
	produceRecords, produceBytes           *service.MetricGauge
	fetchRecords, fetchBytes, clientsAlive *service.MetricGauge

	// mu guards clients: a component has several, and they share their hooks.
	mu struct {
		sync.Mutex
		clients map[*kgo.Client]struct{}
	}
	// sampled is when the gauges were last set, in nanoseconds.
	sampled atomic.Int64
}

var (
	_ kgo.HookNewClient        = (*clientMetrics)(nil)
	_ kgo.HookClientClosed     = (*clientMetrics)(nil)
	_ kgo.HookBrokerConnect    = (*clientMetrics)(nil)
	_ kgo.HookBrokerDisconnect = (*clientMetrics)(nil)
	_ kgo.HookBrokerE2E        = (*clientMetrics)(nil)
	_ kgo.HookBrokerThrottle   = (*clientMetrics)(nil)
)

func newClientMetrics(m *service.Metrics) *clientMetrics {
	c := &clientMetrics{
		connects:       m.NewCounter("tidemark_client_connects", "broker"),
		connectErrors:  m.NewCounter("tidemark_client_connect_errors", "broker"),
		disconnects:    m.NewCounter("tidemark_client_disconnects", "broker"),
		readBytes:      m.NewCounter("tidemark_client_read_bytes", "broker"),
		readErrors:     m.NewCounter("tidemark_client_read_errors", "broker"),
		writeBytes:     m.NewCounter("tidemark_client_write_bytes", "broker"),
		writeErrors:    m.NewCounter("tidemark_client_write_errors", "broker"),
		throttles:      m.NewCounter("tidemark_client_throttles", "broker"),
		throttled:      m.NewTimer("tidemark_client_throttle_ns", "broker"),
		latency:        m.NewTimer("tidemark_client_request_latency_ns", "request"),
		produceRecords: m.NewGauge("tidemark_client_buffered_produce_records"),
		produceBytes:   m.NewGauge("tidemark_client_buffered_produce_bytes"),
		fetchRecords:   m.NewGauge("tidemark_client_buffered_fetch_records"),
		fetchBytes:     m.NewGauge("tidemark_client_buffered_fetch_bytes"),
		clientsAlive:   m.NewGauge("tidemark_client_clients"),
	}
	c.mu.clients = make(map[*kgo.Client]struct{})
	return c
}

// OnNewClient implements kgo.HookNewClient.
func (m *clientMetrics) OnNewClient(cl *kgo.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.clients[cl] = struct{}{}
	m.gaugeLocked()
}

// OnClientClosed implements kgo.HookClientClosed.
func (m *clientMetrics) OnClientClosed(cl *kgo.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.clients, cl)
	m.gaugeLocked()
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (m *clientMetrics) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		m.connectErrors.Incr(1, broker(meta))
		return
	}
	m.connects.Incr(1, broker(meta))
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (m *clientMetrics) OnBrokerDisconnect(meta kgo.BrokerMetadata, _ net.Conn) {
	m.disconnects.Incr(1, broker(meta))
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (m *clientMetrics) OnBrokerE2E(meta kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	id := broker(meta)
	m.writeBytes.Incr(int64(e2e.BytesWritten), id)
	m.readBytes.Incr(int64(e2e.BytesRead), id)
	switch {
	case e2e.WriteErr != nil:
		m.writeErrors.Incr(1, id)
	case e2e.ReadErr != nil:
		m.readErrors.Incr(1, id)
	default:
		m.latency.Timing(int64(e2e.DurationE2E()), kmsg.NameForKey(key))
	}
	m.sample(time.Now())
}

// OnBrokerThrottle implements kgo.HookBrokerThrottle.
func (m *clientMetrics) OnBrokerThrottle(meta kgo.BrokerMetadata, interval time.Duration, _ bool) {
	m.throttles.Incr(1, broker(meta))
	m.throttled.Timing(int64(interval), broker(meta))
}

func (m *clientMetrics) sample(now time.Time) {
	last := m.sampled.Load()
	if now.UnixNano()-last < int64(sampleInterval) || !m.sampled.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaugeLocked()
}

// gaugeLocked sets the gauges, to 0 where no client is left. They are set and
// never added to: an exporter's gauge need not remember.
func (m *clientMetrics) gaugeLocked() {
	var producedRecords, producedBytes, fetchedRecords, fetchedBytes int64
	for cl := range m.mu.clients {
		producedRecords += cl.BufferedProduceRecords()
		producedBytes += cl.BufferedProduceBytes()
		fetchedRecords += cl.BufferedFetchRecords()
		fetchedBytes += cl.BufferedFetchBytes()
	}
	m.produceRecords.Set(producedRecords)
	m.produceBytes.Set(producedBytes)
	m.fetchRecords.Set(fetchedRecords)
	m.fetchBytes.Set(fetchedBytes)
	m.clientsAlive.Set(int64(len(m.mu.clients)))
}

// broker labels a broker by its number, all seeds by the same word: their numbers
// are made up by the client.
func broker(meta kgo.BrokerMetadata) string {
	if meta.NodeID < 0 {
		return "seed"
	}
	return strconv.Itoa(int(meta.NodeID))
}
