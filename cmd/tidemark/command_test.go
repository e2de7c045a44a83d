package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLintKnowsRulesAcrossComponents(t *testing.T) {
	tests := []struct {
		name, conf string
		code       int
		want, not  string
	}{
		{name: "good", conf: "input: { generate: { mapping: root = 1 } }\noutput: { drop: {} }", not: "warning"},
		{
			name: "Benthos's own", code: 1,
			conf: "input: { generate: { mapping: root = 1, nonsense: 1 } }\noutput: { drop: {} }",
			want: "field nonsense not recognised",
		},
		{
			name: "ours", code: 1,
			conf: "input_resources:\n  - label: orders\n    kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g }\n",
			want: `conf.yaml(3,1) input_resources.0.kafka_checkpointed: the input "orders" is a resource`,
		},
		{
			name: "a variable", code: 1,
			conf: "shutdown_timeout: ${TIMEOUT:8s}\ninput: { kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g } }",
			want: "more than three quarters of the service's shutdown_timeout of 8s",
		},
		{
			name: "a warning alone",
			conf: "input: { kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g } }\n" +
				"output: { broker: { outputs: [ { drop: {} } ], batching: { count: 5 } } }",
			want: "warning: output.broker.batching",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, "conf.yaml", tc.conf)
			c := start(t, "", nil, "lint", path)
			assert.Equal(t, tc.code, c.code(), c.text())
			assert.Contains(t, c.text(), tc.want)
			if tc.not != "" {
				assert.NotContains(t, c.text(), tc.not)
			}
		})
	}
}

// Files are named to the linter in many ways.
func TestLintFindsFiles(t *testing.T) {
	path := write(t, "conf.yaml", "input_resources: [ { label: orders, kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g } } ]")
	for _, args := range [][]string{
		{"-c", path, "lint"},
		{"lint", filepath.Dir(path) + "/..."},
		{"lint", filepath.Dir(filepath.Dir(path)) + "/**/*.yaml"},
		{"lint", filepath.Dir(path) + "/*.yaml"},
		{"lint", "-r", path},
		{"-r", path, "lint"},
	} {
		c := start(t, "", nil, args...)
		assert.Equal(t, 1, c.code(), "%v: %s", args, c.text())
		assert.Contains(t, c.text(), `the input "orders" is a resource`, args)
	}
}

func TestLintTakesAnEnvFile(t *testing.T) {
	path := write(t, "conf.yaml", "shutdown_timeout: ${TIMEOUT}\ninput: { kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g } }")
	env := write(t, "vars", "TIMEOUT=4s\n")
	c := start(t, "", nil, "lint", "-e", env, path)
	assert.Equal(t, 1, c.code(), c.text())
	assert.Contains(t, c.text(), "shutdown_timeout of 4s")
}

func TestBenthosCommandLine(t *testing.T) {
	c := start(t, "", nil, "list", "inputs")
	assert.Zero(t, c.code(), c.text())
	assert.Contains(t, c.text(), "kafka_checkpointed")

	c = start(t, "", nil, "list", "metrics")
	assert.Zero(t, c.code(), c.text())
	assert.Contains(t, c.text(), "prometheus")

	c = start(t, "", nil, "create", "kafka_checkpointed//kafka_checkpointed")
	assert.Zero(t, c.code(), c.text())
	assert.Contains(t, c.text(), "consumer_group")

	c = start(t, "", nil, "--help")
	assert.Zero(t, c.code(), c.text())
	for _, command := range []string{"demo", "broker", "lint", "run", "streams", "test"} {
		assert.Regexp(t, `(?m)^\s+`+command+`\b`, c.text())
	}
}

func TestExitCodes(t *testing.T) {
	good := write(t, "good.yaml", "http: { enabled: false }\ninput: { generate: { count: 3, interval: '', mapping: root = 1 } }\noutput: { drop: {} }")
	bad := write(t, "bad.yaml", "input: { generate: { nonsense: 1 } }")
	resource := write(t, "resource.yaml", "http: { enabled: false }\ninput: { generate: { count: 1, mapping: root = 1 } }\noutput: { drop: {} }\n"+
		"input_resources: [ { label: orders, kafka_checkpointed: { seed_brokers: [ a:1 ], topics: [ b ], consumer_group: g } } ]")
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{args: []string{"run", good}, want: "Pipeline has terminated"},
		{args: []string{"run", bad}, code: 1, want: "nonsense"},
		{args: []string{"run", filepath.Join(t.TempDir(), "missing.yaml")}, code: 1, want: "no such file"},
		{args: []string{"run", resource}, code: 1, want: `the input "orders" is a resource`},
		{args: []string{"run", "--chilled", resource}, code: 1, want: `the input "orders" is a resource`},
		{args: []string{"frobnicate"}, code: 1, want: "Unrecognised command"},
		{args: []string{"demo", "--rate", "-1"}, code: 1, want: "--rate is -1"},
		{args: []string{"broker", "--listen", "9092"}, code: 1, want: "give host:port"},
	} {
		c := start(t, t.TempDir(), nil, tc.args...)
		assert.Equal(t, tc.code, c.code(), "%v: %s", tc.args, c.text())
		assert.Contains(t, c.text(), tc.want, tc.args)
	}
}

func TestBrokerKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir, nil, "broker", "--listen", "127.0.0.1:0", "--partitions", "3")
	k := dialKafka(t, c.waitFor(`listening on (\S+),`)[1])
	k.produce("made", "one", "two")
	c.signal(os.Interrupt)
	assert.Zero(t, c.code(), c.text())
	assert.DirExists(t, filepath.Join(dir, "data", "broker"))

	c = start(t, dir, nil, "broker", "--listen", "127.0.0.1:0")
	k = dialKafka(t, c.waitFor(`listening on (\S+),`)[1])
	assert.EqualValues(t, 2, k.end("made"))
	c.signal(syscall.SIGTERM)
	assert.Zero(t, c.code(), c.text())
	assert.Contains(t, c.text(), "Broker stopping.")
}
