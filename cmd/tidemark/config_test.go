package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files of config/ and what makes each of them do its work. A file without
// an entry fails the test.
var scenarios = map[string]func(t *testing.T, k *kafka, p *pipeline){
	"copy.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", "a", "b")
		p.start()
		k.waitEnd("orders-copy", 2)
	},
	// With credentials it runs in internal/behaviour, which has a cluster that wants some.
	"secure.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", "a", "b")
		p.set("KAFKA_TLS", "false")
		p.set("KAFKA_SASL_MECHANISM", "none")
		p.start()
		k.waitEnd("orders-copy", 2)
	},
	"demo.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", `{"order":1,"quantity":2,"price_cents":7}`)
		p.start()
		k.waitEnd("enriched-orders", 1)
		assert.Contains(t, string(k.read("enriched-orders", 1)[0].Value), `"total_cents":14`)
	},
	"fan-in.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders-eu", "a")
		k.produce("orders-us", "b")
		k.produce("orders-1", "not this one")
		p.start()
		k.waitEnd("all-orders", 2)
		// A topic that is made later is found.
		k.produce("orders-asia", "c")
		k.waitEnd("all-orders", 3)
		from := map[string]string{}
		for _, r := range k.read("all-orders", 3) {
			for _, h := range r.Headers {
				if h.Key == "source_topic" {
					from[string(r.Value)] = string(h.Value)
				}
			}
		}
		assert.Equal(t, map[string]string{"a": "orders-eu", "b": "orders-us", "c": "orders-asia"}, from)
	},
	"shard.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", "a", "b", "c", "d")
		p.set("CHECKPOINTS", t.TempDir())
		p.set("SHARDS", "2")
		p.start()
		other := newPipeline(t, k, p.path)
		other.vars = map[string]string{"KAFKA_BROKERS": k.addr, "SHARD": "1", "SHARDS": "2", "CHECKPOINTS": p.vars["CHECKPOINTS"]}
		other.start()
		k.waitEnd("orders-archive", 4)
		other.stop()
	},
	"dead-letters.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", `{"quantity":2,"price_cents":5}`, "not json", `{"quantity":3,"price_cents":5}`)
		p.start()
		k.waitEnd("checked-orders", 2)
		k.waitEnd("dead-orders", 1)
		dead := k.read("dead-orders", 1)[0]
		assert.Equal(t, "not json", string(dead.Value))
		var reasons []string
		for _, h := range dead.Headers {
			if h.Key == "reason" {
				reasons = append(reasons, string(h.Value))
			}
		}
		require.Len(t, reasons, 1)
		assert.NotEmpty(t, reasons[0])
	},
	"backfill.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", "a", "b", "c")
		p.set("SINCE", time.Now().Add(-time.Hour).Format(time.RFC3339))
		p.start()
		p.waitEnd()
		assert.EqualValues(t, 3, k.end("orders-backfill"))
	},
	"route.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", `{"region":"EU"}`, `{"region":"US"}`, `{}`)
		p.start()
		k.waitEnd("orders-in-eu", 1)
		k.waitEnd("orders-in-us", 1)
		k.waitEnd("orders-in-elsewhere", 1)
	},
	"exactly-once.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("payments", `{"amount_cents":1250}`, `{"amount_cents":100}`)
		p.start()
		k.waitVisible("payments-with-fees", 2)
		assert.ElementsMatch(t, []string{`{"amount_cents":1250,"fee_cents":13}`, `{"amount_cents":100,"fee_cents":1}`}, k.visible("payments-with-fees"))
	},
	"exactly-once-windows.yaml": runExactlyOnceWindows,
	"kafka-0.8.yaml":            runKafka08,
	"formats.yaml":              runFormats,
	"schema-registry.yaml":      runSchemaRegistry,
	"windows.yaml":              runWindows,
	"sessions.yaml":             runSessions,
	"dedupe.yaml":               runDedupe,
	"join.yaml":                 runJoin,
	"repartition.yaml":          runRepartition,
	"two-inputs.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		k.produce("orders", "a")
		k.produce("returns", "b", "c")
		p.start()
		k.waitEnd("events", 3)
	},
	// It serves HTTP, so it runs as a process of its own.
	"http-to-kafka.yaml": func(t *testing.T, k *kafka, p *pipeline) {
		p.stopped = true
		address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		c := start(t, "", []string{"KAFKA_BROKERS=" + k.addr}, "run", "--set", "http.address="+address, p.path)
		require.Eventually(t, func() bool {
			res, err := http.Post("http://"+address+"/post/customer-7", "application/json", strings.NewReader(`{"order":1}`))
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		}, patience, tick)
		k.waitEnd("orders", 1)
		r := k.read("orders", 1)[0]
		assert.Equal(t, `{"order":1}`, string(r.Value))
		assert.Equal(t, "customer-7", string(r.Key))
		c.signal(os.Interrupt)
		require.Zero(t, c.code(), c.text())
	},
}

func TestConfigs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, len(scenarios))
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			c := start(t, "", nil, "lint", "--deprecated", path)
			require.Zero(t, c.code(), c.text())
			assert.Empty(t, c.text(), "no warnings either")

			text, err := os.ReadFile(path)
			require.NoError(t, err)
			if strings.Contains(string(text), "\npipeline:") {
				c = start(t, "", nil, "test", path)
				require.Zero(t, c.code(), c.text())
			}

			scenario, ok := scenarios[name]
			require.True(t, ok, "no scenario runs this file")
			k := startKafka(t)
			p := newPipeline(t, k, path)
			scenario(t, k, p)
			p.stop()
		})
	}
}

// pipeline runs a configuration file in this process.
type pipeline struct {
	t       *testing.T
	path    string
	vars    map[string]string
	stream  *service.Stream
	ended   chan error
	stopped bool
}

func newPipeline(t *testing.T, k *kafka, path string) *pipeline {
	return &pipeline{t: t, path: path, vars: map[string]string{"KAFKA_BROKERS": k.addr}, ended: make(chan error, 1)}
}

// set sets an environment variable of the pipeline.
func (p *pipeline) set(name, value string) { p.vars[name] = value }

func (p *pipeline) start() {
	p.t.Helper()
	text, err := os.ReadFile(p.path)
	require.NoError(p.t, err)
	b := service.NewStreamBuilder()
	b.SetEnvVarLookupFunc(func(name string) (string, bool) {
		v, ok := p.vars[name]
		return v, ok
	})
	require.NoError(p.t, b.SetYAML(string(text)))
	require.NoError(p.t, b.SetLoggerYAML("level: warn"))
	s, err := b.Build()
	require.NoError(p.t, err)
	p.stream = s
	go func() { p.ended <- s.Run(context.WithoutCancel(p.t.Context())) }()
	p.t.Cleanup(p.stop)
}

// waitEnd waits until the pipeline has ended by itself.
func (p *pipeline) waitEnd() {
	p.t.Helper()
	select {
	case err := <-p.ended:
		require.NoError(p.t, err)
		p.stopped = true
	case <-time.After(patience):
		require.FailNow(p.t, "the pipeline does not end")
	}
}

func (p *pipeline) stop() {
	p.t.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	assert.NoError(p.t, p.stream.StopWithin(patience))
}

func TestReadmeLints(t *testing.T) {
	c := start(t, "", nil, "lint", "--deprecated", filepath.Join("..", "..", "README.md"))
	assert.Zero(t, c.code(), c.text())
}
