package lintrule_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/lintrule"
)

func TestRules(t *testing.T) {
	check(t, []rule{
		{name: "nothing of ours", conf: "input: {generate: {mapping: root = 1}}\noutput: {drop: {}, batching: {count: 5}}"},
		{name: "one input", conf: "input: {kafka_checkpointed: {checkpoint: {interval: 1s}}}"},
		{
			name: "conflict names both paths and values",
			conf: `
input:
  broker:
    inputs:
      - kafka_checkpointed: {checkpoint: {interval: 1s, store: {directory: a}}}
      - kafka_checkpointed: {checkpoint: {interval: 5s}}
      - kafka_checkpointed: {}
`,
			errors: []string{"input.broker.inputs.1.kafka_checkpointed.checkpoint.interval: is 5s, " +
				"but input.broker.inputs.0.kafka_checkpointed.checkpoint.interval is 1s"},
		},
		{
			name: "the same length of time is no conflict",
			conf: "input: {broker: {inputs: [{kafka_checkpointed: {checkpoint: {interval: 1s}}}, {kafka_checkpointed: {checkpoint: {interval: 1000ms}}}]}}",
		},
		{
			name: "conflict through an anchor",
			conf: `
input:
  sequence:
    inputs:
      - kafka_checkpointed: {checkpoint: &cp {retain: 3}}
      - kafka_checkpointed: {checkpoint: {<<: *cp, restart: {max_restarts: 1}}}
      - kafka_checkpointed: {checkpoint: {retain: 4}}
`,
			errors: []string{"input.sequence.inputs.2.kafka_checkpointed.checkpoint.retain: is 4"},
		},
		{
			name:   "input among the resources",
			conf:   "input_resources: [{label: orders, kafka_checkpointed: {}}]",
			errors: []string{`input_resources.0.kafka_checkpointed: the input "orders" is a resource`},
		},
		{
			name:   "checkpoint takes longer than three quarters of the service",
			conf:   "shutdown_timeout: 12s\ninput: {kafka_checkpointed: {}}",
			errors: []string{"checkpoint.shutdown_timeout: is 10s, more than three quarters of the service's shutdown_timeout of 12s"},
		},
		{
			name:   "against the service's default",
			conf:   "input: {kafka_checkpointed: {checkpoint: {shutdown_timeout: 16s}}}",
			errors: []string{"set it to at most 15s"},
		},
		{name: "exactly three quarters", conf: "input: {kafka_checkpointed: {checkpoint: {shutdown_timeout: 15s}}}"},
		{
			name:   "count without a period on our output",
			conf:   "input: {kafka_checkpointed: {}}\noutput: {kafka_checkpointed: {batching: {count: 10}}}",
			errors: []string{"output.kafka_checkpointed.batching: batches by count or size without a period"},
		},
		{
			name: "count with a period",
			conf: "input: {kafka_checkpointed: {}}\noutput: {kafka_checkpointed: {batching: {count: 10, period: 1s}}}",
		},
		{
			name:     "count without a period elsewhere",
			conf:     "input: {kafka_checkpointed: {}}\noutput: {broker: {outputs: [{drop: {}}], batching: {byte_size: 10}}}",
			warnings: []string{"output.broker.batching: batches by count"},
		},
		{
			name:     "split overtakes",
			conf:     "input: {kafka_checkpointed: {}}\npipeline: {processors: [{split: {}}]}\noutput: {kafka_checkpointed: {max_in_flight: 2}}",
			warnings: []string{"output.kafka_checkpointed.max_in_flight: is 2, so the batches that pipeline.processors.0.split makes"},
		},
		{
			name: "split with the default in flight",
			conf: "input: {kafka_checkpointed: {}}\npipeline: {processors: [{split: {}}]}\noutput: {kafka_checkpointed: {}}",
		},
		{
			name:     "split without checkpoints",
			conf:     "input: {kafka_checkpointed: {checkpoint: {interval: 0s}}}\npipeline: {processors: [{split: {}}]}\noutput: {kafka_checkpointed: {}}",
			warnings: []string{"output.kafka_checkpointed.max_in_flight: is unset, which is 10 where the output waits for the brokers"},
		},
		{
			name: "split without checkpoints, one in flight",
			conf: "input: {kafka_checkpointed: {checkpoint: {interval: 0s}}}\npipeline: {processors: [{split: {}}]}\noutput: {kafka_checkpointed: {max_in_flight: 1}}",
		},
		{
			name:     "split with a flush on ack",
			conf:     "input: {kafka_checkpointed: {}}\npipeline: {processors: [{split: {}}]}\noutput: {kafka_checkpointed: {flush: on_ack}}",
			warnings: []string{"output.kafka_checkpointed.max_in_flight: is unset"},
		},
		{
			name: "split where nothing is ordered",
			conf: "input: {kafka_checkpointed: {ordering: none}}\npipeline: {processors: [{group_by: []}]}\noutput: {kafka_checkpointed: {max_in_flight: 2}}",
		},
		{
			name: "a value that is not known yet is not judged",
			conf: "input: {broker: {inputs: [{kafka_checkpointed: {checkpoint: {interval: '${A}'}}}, {kafka_checkpointed: {checkpoint: {interval: 5s}}}]}}",
		},
		{
			name: "tests of processors are not part of the stream",
			conf: "input: {kafka_checkpointed: {}}\ntests: [{name: a, mocks: {input_resources: [{kafka_checkpointed: {}}]}}]",
		},
	})
}

func TestRulesOfEventTime(t *testing.T) {
	check(t, []rule{
		{
			name: "windows as they should be",
			conf: `
input:
  broker:
    inputs:
      - kafka_checkpointed: {checkpoint: {store: {directory: d}}}
        processors: [{watermark_periodic: {}}]
      - broker:
          inputs: [{kafka_checkpointed: {}}]
        processors: [{switch: [{processors: [{watermark_punctuated: {watermark: this.w}}]}]}]
buffer: {event_time_window: {type: tumbling, size: 1s}}
`,
		},
		{
			name: "windows without event times and store",
			conf: "input: {kafka_checkpointed: {checkpoint: {interval: 0s}}}\npipeline: {processors: [{watermark_periodic: {}}]}\nbuffer: {event_time_window: {type: tumbling, size: 1s}}",
			errors: []string{
				"input.kafka_checkpointed.checkpoint.interval: is 0s, but buffer.event_time_window keeps state",
				"buffer.event_time_window: keeps state, and there is no store for it: set checkpoint.store.directory or checkpoint.store.topic of input.kafka_checkpointed",
				"input.kafka_checkpointed: its records get no event time, which buffer.event_time_window needs",
			},
		},
		{
			name:   "windows of another input",
			conf:   "input: {generate: {mapping: root = 1}}\nbuffer: {event_time_window: {type: tumbling, size: 1s}}",
			errors: []string{"buffer.event_time_window: the stream has no input kafka_checkpointed: its windows would be in no checkpoint"},
		},
		{
			name: "windows of a process that reads a shard",
			conf: `
input:
  kafka_checkpointed: {shard: {index: 0, count: 2}, checkpoint: {store: {directory: d}}}
  processors: [{watermark_periodic: {}}]
buffer: {event_time_window: {type: tumbling, size: 1s, scope: process}}
`,
			errors: []string{"buffer.event_time_window.scope: is process, but input.kafka_checkpointed reads a shard"},
		},
		{
			name: "windows of inputs in sequence",
			conf: `
input:
  sequence:
    inputs: [{kafka_checkpointed: {stop_at: latest, checkpoint: {store: {directory: d}}}}, {generate: {mapping: root = 1}}]
  processors: [{watermark_periodic: {}}]
buffer: {event_time_window: {type: tumbling, size: 1s}}
`,
			errors: []string{"input.sequence.inputs.0.kafka_checkpointed: is in a sequence, and inputs in sequence cannot share the windows of buffer.event_time_window"},
		},
		{
			name: "windows and a cache of an input that is cut off",
			conf: `
input:
  read_until: {check: "false", input: {kafka_checkpointed: {checkpoint: {store: {directory: d}}}}}
  processors: [{watermark_periodic: {}}]
buffer: {event_time_window: {type: tumbling, size: 1s}}
cache_resources: [{label: seen, checkpointed: {}}]
`,
			errors: []string{
				"input.read_until.input.kafka_checkpointed: is in read_until, which cuts off what is under way, and the state of buffer.event_time_window may know",
				"input.read_until.input.kafka_checkpointed: is in read_until, which cuts off what is under way, and the state of cache_resources.0.checkpointed may know",
			},
		},
		{
			name: "a cache as it should be",
			conf: "input: {kafka_checkpointed: {checkpoint: {store: {directory: d}}}}\ncache_resources: [{label: seen, checkpointed: {}}]",
		},
		{name: "a cache in a file of resources", conf: "cache_resources: [{label: seen, checkpointed: {}}]"},
		{
			name: "a cache without a store, of a shard",
			conf: "input: {kafka_checkpointed: {shard: {index: 0, count: 2}}}\ncache_resources: [{label: seen, checkpointed: {}}]",
			errors: []string{
				"cache_resources.0.checkpointed: keeps state, and there is no store for it",
				"cache_resources.0.checkpointed: needs all partitions to be read in one process, but input.kafka_checkpointed reads a shard",
			},
		},
		{
			name:   "a cache of another input",
			conf:   "input: {generate: {mapping: root = 1}}\ncache_resources: [{label: seen, checkpointed: {}}]",
			errors: []string{"cache_resources.0.checkpointed: the stream has no input kafka_checkpointed: its contents would be in no checkpoint"},
		},
	})
}

// rule is a configuration with what is to be found in it.
type rule struct {
	name, conf string
	errors     []string
	warnings   []string
}

func check(t *testing.T, tests []rule) {
	t.Helper()
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			findings, err := lintrule.CheckYAML([]byte(tc.conf))
			require.NoError(t, err)
			var errs, warnings []string
			for _, f := range findings {
				if f.Warning {
					warnings = append(warnings, f.Path+": "+f.What)
				} else {
					errs = append(errs, f.Path+": "+f.What)
				}
				assert.Positive(t, f.Line, f.String())
			}
			contains(t, tc.errors, errs)
			contains(t, tc.warnings, warnings)
			assert.Equal(t, len(tc.errors) > 0, lintrule.Err(findings) != nil)
		})
	}
}

func contains(t *testing.T, want, got []string) {
	t.Helper()
	require.Len(t, got, len(want), "%v", got)
	for i := range want {
		assert.Contains(t, got[i], want[i])
	}
}

func TestCheckParsed(t *testing.T) {
	findings, err := lintrule.Check(map[string]any{
		"input_resources": []any{map[string]any{"label": "x", "kafka_checkpointed": map[string]any{"topics": []any{"a"}}}},
	})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	assert.Equal(t, "input_resources.0.kafka_checkpointed", findings[0].Path)
	assert.Zero(t, findings[0].Line)
}

func TestBadYAML(t *testing.T) {
	_, err := lintrule.CheckYAML([]byte("a: [\n"))
	assert.ErrorContains(t, err, "parsing configuration")
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "one", "NL": "x\ny"}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"${A}":              "one",
		"${A:two}":          "one",
		"${B:two}":          "two",
		"${B:host:9092}":    "host:9092",
		"${B}":              "",
		"${B:${! json() }}": "${! json() }",
		"${! json() }":      "${! json() }",
		"${NL}":             `x\ny`,
	} {
		assert.Equal(t, want, string(lintrule.Expand([]byte(in), lookup)), in)
	}
}
