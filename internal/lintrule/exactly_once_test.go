package lintrule_test

import "testing"

func TestRulesOfExactlyOnce(t *testing.T) {
	const out = "\noutput: {kafka_checkpointed: {delivery: exactly_once}}"
	check(t, []rule{
		{name: "a group", conf: "input: {kafka_checkpointed: {consumer_group: g}}" + out},
		{name: "a topic", conf: "input: {kafka_checkpointed: {assignment: static, checkpoint: {store: {topic: t}}}}" + out},
		{
			name: "windows in a topic",
			conf: "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {store: {topic: t}}}, processors: [{watermark_periodic: {}}]}\n" +
				"buffer: {event_time_window: {type: tumbling, size: 1s}}" + out,
		},
		{name: "at least once", conf: "input: {generate: {}}\noutput: {kafka_checkpointed: {delivery: at_least_once}}"},
		{
			name:   "another input",
			conf:   "input: {generate: {}}" + out,
			errors: []string{"output.kafka_checkpointed.delivery: is exactly_once, but the stream has no input kafka_checkpointed"},
		},
		{
			name:   "no group",
			conf:   "input: {kafka_checkpointed: {topics: [a]}}" + out,
			errors: []string{"input.kafka_checkpointed: has no consumer_group, so that no group keeps its positions, and delivery of output.kafka_checkpointed is exactly_once"},
		},
		{
			name:   "static",
			conf:   "input: {kafka_checkpointed: {consumer_group: g, assignment: static}}" + out,
			errors: []string{"assignment is static"},
		},
		{
			name:   "a shard",
			conf:   "input: {kafka_checkpointed: {consumer_group: g, shard: {index: 0, count: 2}}}" + out,
			errors: []string{"reads a shard"},
		},
		{
			name:   "a folder",
			conf:   "input: {kafka_checkpointed: {consumer_group: g, assignment: static, checkpoint: {store: {directory: d}}}}" + out,
			errors: []string{"checkpoint.store.directory: is set, and no transaction covers a folder", "assignment is static"},
		},
		{
			name: "all else",
			conf: "input: {kafka_checkpointed: {consumer_group: g, group_protocol: consumer, auto_replay_nacks: false, checkpoint: {interval: 0s}}}" + out,
			errors: []string{
				"checkpoint.interval: is 0s, so that there are no checkpoints",
				"group_protocol: is consumer, whose members brokers cannot fence",
				"auto_replay_nacks: is false, which drops messages",
			},
		},
		{
			name:   "transactions shorter than checkpoints",
			conf:   "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {interval: 45s}}}" + out,
			errors: []string{"output.kafka_checkpointed.transaction_timeout: is 1m0s, but a checkpoint may begin 45s after the one before and take 30s; set it above 1m15s"},
		},
		{
			name: "transactions as long as checkpoints",
			conf: "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {timeout: 5s}}}\n" +
				"output: {kafka_checkpointed: {delivery: exactly_once, transaction_timeout: 6s}}",
			errors: []string{"transaction_timeout: is 6s"},
		},
		{
			name: "transactions longer than checkpoints",
			conf: "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {interval: 45s, timeout: 20s}}}\n" +
				"output: {kafka_checkpointed: {delivery: exactly_once, transaction_timeout: 66s}}",
		},
		{
			name: "unknown here",
			conf: "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {interval: \"${INTERVAL}\"}}}" + out,
		},
		{
			name:   "what is written among what is kept",
			conf:   "input: {kafka_checkpointed: {consumer_group: g, checkpoint: {store: {topic: t}}}}\noutput: {kafka_checkpointed: {topic: t}}",
			errors: []string{"output.kafka_checkpointed.topic: is t, which is checkpoint.store.topic of input.kafka_checkpointed; use a topic of its own"},
		},
		{
			name:   "a resource",
			conf:   "output_resources: [{label: o, kafka_checkpointed: {delivery: exactly_once}}]",
			errors: []string{"output_resources.0.kafka_checkpointed.delivery: is exactly_once, but a resource does not belong to one stream"},
		},
	})
}
