package behaviour

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/output"
)

// connected adds fields to both components of a pipeline.
func connected(yaml, fields string) string {
	return strings.ReplaceAll(yaml, "seed_brokers: $SEEDS", "seed_brokers: $SEEDS\n    "+fields)
}

// halves are pipelines with one of our components and the fields under test in
// it, by the component.
func halves(in, out, fields string) map[string]string {
	return map[string]string{
		"input": fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    consumer_group: g
    assignment: static
    discovery_interval: 0s
    topic_lag_refresh_period: 1h
    %s
output: { drop: {} }
`, in, fields),
		"output": fmt.Sprintf(`
input: { generate: { interval: 1m, mapping: 'root = "0/0"' } }
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    %s
`, out, fields),
	}
}

// eachHalf runs a test in virtual time for both components.
func eachHalf(t *testing.T, fields string, f func(t *testing.T, e *kafkatest.Cluster, yaml string)) {
	t.Helper()
	for component := range halves("", "", "") {
		t.Run(component, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				f(t, e, halves(in, out, fields)[component])
			})
		})
	}
}

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// dialling is an environment with our components and a dialer.
func dialling(t testing.TB, d dial) *service.Environment {
	t.Helper()
	env := service.NewEnvironment()
	require.NoError(t, input.Register(env, d))
	require.NoError(t, output.Register(env, d))
	return env
}

func TestFieldSeedBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		yaml := strings.ReplaceAll(copyYAML(in, out, "g", ""), "$SEEDS", fmt.Sprintf(`[ "localhost:1", "localhost:2, %s" ]`, e.Seeds()[0]))
		start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5)})
	})
}

func TestFieldProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		p := kafkatest.NewProxy(t, e)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		startIn(t, environment(t, e), p, connected(copyYAML(in, out, "g", ""), "client_id: field\n    properties: { client.id: property }"))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5)})
		require.Equal(t, []string{"property"}, p.ClientIDs(), "the property wins")
	})
}

// Its cases run in a bubble, so the time that it sleeps is exact.
func TestFieldMetadataMaxAge(t *testing.T) {
	for age, within := range map[string][2]int{"5s": {10, 40}, "1h": {0, 6}} {
		t.Run(age, func(t *testing.T) {
			eachHalf(t, "metadata_max_age: "+age, func(t *testing.T, e *kafkatest.Cluster, yaml string) {
				start(t, e, yaml)
				time.Sleep(30 * time.Second) // virtual: it has connected and learned its topics
				before := e.Count(kmsg.Metadata)
				time.Sleep(59 * time.Second)
				n := e.Count(kmsg.Metadata) - before
				require.GreaterOrEqual(t, n, within[0])
				require.LessOrEqual(t, n, within[1])
			})
		})
	}
}

// deaf is a dialer to a broker that takes every connection and never says a word.
func deaf(t testing.TB) dial {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		return ours, nil
	}
}

// The client asks twice which versions the broker knows.
func TestFieldRequestTimeoutOverhead(t *testing.T) {
	for overhead, want := range map[string]time.Duration{"500ms": time.Second, "2s": 4 * time.Second} {
		t.Run(overhead, func(t *testing.T) {
			eachHalf(t, "kafka_version: 4.0\n    request_timeout_overhead: "+overhead, func(t *testing.T, e *kafkatest.Cluster, yaml string) {
				began := time.Now()
				s := startIn(t, dialling(t, deaf(t)), e, yaml)
				kafkatest.Eventually(t, patience, "a connection is given up", func() bool {
					return strings.Contains(s.logs.String(), "connecting to "+e.Seeds()[0])
				})
				require.InDelta(t, want.Seconds(), time.Since(began).Seconds(), 0.3)
			})
		})
	}
}

// countedConn tells when it is closed.
type countedConn struct {
	net.Conn
	closed *atomic.Int32
}

func (c countedConn) Close() error {
	c.closed.Add(1)
	return c.Conn.Close()
}

// Its cases run in a bubble, so the time that it sleeps is exact.
func TestFieldConnIdleTimeout(t *testing.T) {
	for idle, closes := range map[string]bool{"5s": true, "15m": false} {
		t.Run(idle, func(t *testing.T) {
			eachHalf(t, "metadata_max_age: 1h\n    conn_idle_timeout: "+idle, func(t *testing.T, e *kafkatest.Cluster, yaml string) {
				var closed atomic.Int32
				env := dialling(t, func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := e.Dial(ctx, network, address)
					return countedConn{c, &closed}, err
				})
				startIn(t, env, e, strings.ReplaceAll(yaml, "interval: 1m", "interval: 1h"))
				time.Sleep(4 * time.Second) // virtual: it has connected
				before := closed.Load()
				time.Sleep(26 * time.Second)
				require.Equal(t, closes, closed.Load() > before)
			})
		})
	}
}

func TestFieldTCPConnectTimeout(t *testing.T) {
	for timeout, want := range map[string]time.Duration{"1s": time.Second, "3s": 3 * time.Second} {
		t.Run(timeout, func(t *testing.T) {
			eachHalf(t, "kafka_version: 4.0\n    tcp: { connect_timeout: "+timeout+" }", func(t *testing.T, e *kafkatest.Cluster, yaml string) {
				waited := make(chan time.Duration, 100) // more than attempts in the time
				env := dialling(t, func(ctx context.Context, _, _ string) (net.Conn, error) {
					began := time.Now()
					<-ctx.Done()
					select {
					case waited <- time.Since(began):
					default:
					}
					return nil, ctx.Err()
				})
				startIn(t, env, e, yaml)
				require.Equal(t, want, <-waited)
			})
		})
	}
}
