package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// program is what a child process runs.
type program int

const (
	rawLoop program = iota
	connect
	tidemark
)

// system is one of the things compared: a program with a configuration.
type system struct {
	name    string
	program program
	// about is what a reader has to know of the configuration.
	about string
	// config is a template of a Benthos configuration; a rawLoop has none.
	config *template.Template
}

// route is what a configuration needs to know of one run.
type route struct {
	Seeds       []string
	In, Out     string
	Group       string
	Compression string
	// HTTP is the address of the child's own HTTP server.
	HTTP string
	// Store is a folder for checkpoints.
	Store string
	// Member is a client's name, Session the time-out of its group's sessions, where there are
	// several in a group.
	Member  string
	Session time.Duration
}

// service is the same for every Benthos program. Metrics are what each of them
// has by default: Prometheus's.
const service = `
http: { address: "{{.HTTP}}", debug_endpoints: true }
logger: { level: WARN }
`

func config(text string) *template.Template {
	return template.Must(template.New("config").Parse(service + text))
}

// tidemarkCopy is a pipeline of the two components with default settings, but for
// what lines are added to the input.
func tidemarkCopy(lines string) *template.Template { return tidemarkCopyTo(lines, "") }

// tidemarkCopyTo is tidemarkCopy with lines that are added to the output as well.
func tidemarkCopyTo(lines, output string) *template.Template {
	return config(tidemarkText(lines, output))
}

func tidemarkText(lines, output string) string {
	return `
input:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    topics: [ "{{.In}}" ]
    consumer_group: "{{.Group}}"
` + lines + `
output:
  kafka_checkpointed:
    seed_brokers: {{printf "%q" .Seeds}}
    topic: "{{.Out}}"
    compression: {{.Compression}}
` + output
}

// Lines for tidemarkCopy.
const (
	noCheckpoints = "    checkpoint: { interval: 0s }\n"
	rareOnes      = "    checkpoint: { interval: 10m }\n"
	noMetadata    = "    metadata: [ none ]\n"
	static        = "    assignment: static\n"
	serverGroups  = "    group_protocol: consumer\n"
)

// exactly is what tidemarkCopyTo adds to the output for exactly-once delivery.
const exactly = "    delivery: exactly_once\n"

// The peers keep the order of partitions, as ours does by default. Their settings
// are those that did best in trials: with the defaults they are 10 to 100 times
// slower.
const (
	franzInput = `
input:
  kafka_franz:
    seed_brokers: {{printf "%q" .Seeds}}
    topics: [ "{{.In}}" ]
    consumer_group: "{{.Group}}"
    checkpoint_limit: 100000
    batching: { count: 20000, period: 100ms }
`
	redpandaInput = `
input:
  redpanda:
    seed_brokers: {{printf "%q" .Seeds}}
    topics: [ "{{.In}}" ]
    consumer_group: "{{.Group}}"
    fetch_max_partition_bytes: 4MiB
    partition_buffer_bytes: 16MB
    max_yield_batch_bytes: 4MB
`
	franzOutput = `
output:
  kafka_franz:
    seed_brokers: {{printf "%q" .Seeds}}
    topic: "{{.Out}}"
    key: ${! @kafka_key }
    compression: {{.Compression}}
    max_buffered_records: 100000
`
	redpandaOutput = `
output:
  redpanda:
    seed_brokers: {{printf "%q" .Seeds}}
    topic: "{{.Out}}"
    key: ${! @kafka_key }
    compression: {{.Compression}}
    max_buffered_records: 100000
`
)

// Names that the tables refer to.
const (
	nameRaw     = "raw"
	nameDefault = "tidemark"
)

// throughputSystems are what the main comparison runs.
func throughputSystems() []system {
	return []system{
		{name: nameRaw, program: rawLoop, about: "a franz-go loop that polls and produces; no group, no commits"},
		{
			name: "connect kafka_franz", program: connect,
			about:  "kafka_franz to kafka_franz; ordered by max_in_flight 1, batches of 20,000",
			config: config(franzInput + franzOutput + "    max_in_flight: 1\n"),
		},
		{
			name: "connect redpanda", program: connect,
			about:  "redpanda to redpanda; ordered, batches of 4 MB, 16 MB buffered for each partition",
			config: config(redpandaInput + redpandaOutput),
		},
		{
			name: "connect redpanda to kafka_franz", program: connect,
			about:  "redpanda to kafka_franz; ordered, as above, max_in_flight 64",
			config: config(redpandaInput + franzOutput + "    max_in_flight: 64\n"),
		},
		{
			name: nameDefault, program: tidemark,
			about:  "default settings: a checkpoint each second, all metadata",
			config: tidemarkCopy(""),
		},
		{
			name: "tidemark, no metadata", program: tidemark,
			about: "metadata: [ none ]", config: tidemarkCopy(noMetadata),
		},
		{
			name: "tidemark, no checkpoints", program: tidemark,
			about: "checkpoint.interval: 0s, so each batch waits for the broker", config: tidemarkCopy(noCheckpoints),
		},
		{
			name: "tidemark, neither", program: tidemark,
			about: "both", config: tidemarkCopy(noCheckpoints + noMetadata),
		},
	}
}

// checkpointPair are the two settings whose difference is the cost of checkpoints.
func checkpointPair() [2]system {
	return [2]system{
		{name: "every second", program: tidemark, config: tidemarkCopy("")},
		{name: "every 10 minutes", program: tidemark, config: tidemarkCopy(rareOnes)},
	}
}

// startupSystems are the ways to get partitions.
func startupSystems() []system {
	return []system{
		{name: "static assignment", program: tidemark, config: tidemarkCopy(static)},
		{name: "group, classic protocol", program: tidemark, config: tidemarkCopy("")},
		{name: "group, consumer protocol", program: tidemark, config: tidemarkCopy(serverGroups)},
	}
}

// command returns what to run a system with, and writes its configuration.
func (b *bench) command(s system, r route) (args []string, err error) {
	if s.program == rawLoop {
		return append([]string{b.binaries[rawLoop], rawCommand, r.In, r.Out, r.Compression}, r.Seeds...), nil
	}
	var text bytes.Buffer
	if err := s.config.Execute(&text, r); err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", s.name, err)
	}
	path := filepath.Join(b.dir, "config.yaml")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration of %s: %w", s.name, err)
	}
	return []string{b.binaries[s.program], "run", path}, nil
}
