package behaviour

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Whoever waits for an input that has ended waits no longer.
func TestNobodyWaitsForAnInputThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		far, near := topics(t, e, 1)
		out := kafkatest.Topic(t, e, 1)
		yaml := fmt.Sprintf(`
input:
  broker:
    inputs:
      - label: a
        kafka_checkpointed: { seed_brokers: $SEEDS, consumer_group: g, topics: [ %s ], start_from: earliest }
      - read_until:
          check: this.last == true
          input:
            label: b
            kafka_checkpointed: { seed_brokers: $SEEDS, consumer_group: h, topics: [ %s ], start_from: earliest }
  processors: [ %s ]
pipeline: { processors: [ { mapping: 'root = @kafka_topic + "/" + @kafka_partition.string() + "/" + content().string()' } ] }
output:
  kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s, key: '${! @kafka_topic }' }
`, far, near, drifting, out)
		kafkatest.Produce(t, e, stamped(near, 0, `{"t":0}`)...)
		s := start(t, e, yaml)
		for i := range 40 {
			kafkatest.Produce(t, e, stamped(far, 0, fmt.Sprintf(`{"t":%d}`, i*1000))...)
			time.Sleep(time.Second)
		}
		require.Less(t, emitted(t, e, out)[far+"/0"], 40, "it waits")
		kafkatest.Produce(t, e, stamped(near, 0, `{"t":1,"last":true}`)...)
		time.Sleep(time.Minute)
		require.Equal(t, 40, emitted(t, e, out)[far+"/0"])
		require.NoError(t, s.stop())
	})
}

// A topic that was made anew begins with event times that are behind, and then has
// nothing more: it becomes idle like any other.
func TestATopicMadeAnewBecomesIdle(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprint(anew), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, other := topics(t, e, 1)
				out := kafkatest.Topic(t, e, 1)
				yaml := windowed(t, in+", "+other, out, "discovery_interval: 1s", `{ type: tumbling, size: 10s, aggregate: { n: { count: {} } } }`)
				s := start(t, e, yaml)
				kafkatest.Produce(t, e, stamped(in, 0, `{"t":100000}`)...)
				kafkatest.Produce(t, e, stamped(other, 0, `{"t":100000}`)...)
				time.Sleep(5 * time.Second)
				if anew {
					kafkatest.DeleteTopic(t, e, in)
					kafkatest.CreateTopic(t, e, in, 1)
				}
				time.Sleep(10 * time.Second)
				kafkatest.Produce(t, e, stamped(in, 0, `{"t":50000}`)...)
				for i := range 200 {
					kafkatest.Produce(t, e, stamped(other, 0, fmt.Sprintf(`{"t":%d}`, 101000+i*1000))...)
					time.Sleep(time.Second)
				}
				require.Greater(t, len(lines(kafkatest.ReadCommitted(t, e, out)[0])), 5)
				require.NoError(t, s.stop())
			})
		})
	}
}

// The partitions of a topic that was deleted become idle, and so do others beside them.
func TestADeletedTopicHoldsNobodyBack(t *testing.T) {
	e := kafkatest.Shared(t)
	in, other := topics(t, e, 1)
	out := kafkatest.Topic(t, e, 1)
	yaml := windowed(t, in+", "+other, out, "discovery_interval: 1s\n    metadata_max_age: 1s", `{ type: tumbling, size: 10s, aggregate: { n: { count: {} } } }`)
	yaml = strings.Replace(yaml, "idle_timeout: 30s", "idle_timeout: 1s", 1)
	kafkatest.Produce(t, e, stamped(in, 0, `{"t":100000}`)...)
	kafkatest.Produce(t, e, stamped(other, 0, `{"t":100000}`)...)
	s := start(t, e, yaml)
	at := 101000
	kafkatest.Eventually(t, time.Minute, "both are read", func() bool {
		kafkatest.Produce(t, e, stamped(in, 0, fmt.Sprintf(`{"t":%d}`, at))...)
		kafkatest.Produce(t, e, stamped(other, 0, fmt.Sprintf(`{"t":%d}`, at))...)
		at += 1000
		return len(lines(kafkatest.ReadCommitted(t, e, out)[0])) > 0
	})
	kafkatest.DeleteTopic(t, e, in)
	kafkatest.Eventually(t, time.Minute, "windows fire", func() bool {
		kafkatest.Produce(t, e, stamped(other, 0, fmt.Sprintf(`{"t":%d}`, at))...)
		at += 1000
		return len(lines(kafkatest.ReadCommitted(t, e, out)[0])) > 5
	})
	require.NoError(t, s.stop())
}

// Two bounded inputs, windows by partition: the stream goes back after the first has ended.
// Its windows are there all the same.
func TestWindowsOfAnInputThatHasEndedSurviveARewind(t *testing.T) {
	for _, fail := range []bool{false, true} {
		t.Run(fmt.Sprint(fail), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				a, b := topics(t, e, 1)
				out := kafkatest.Topic(t, e, 1)
				kafkatest.Produce(t, e, stamped(a, 0, `{"t":101000}`, `{"t":102000}`)...)
				kafkatest.Produce(t, e, stamped(b, 0, `{"t":101000}`, `{"t":102000}`, `{"t":103000}`)...)
				env := environment(t, e)
				var failures atomic.Int32
				if !fail {
					failures.Store(1)
				}
				failing(func() bool { return failures.CompareAndSwap(0, 1) }).register(t, env, "once")
				dir := t.TempDir()
				in := func(topic string) string {
					return fmt.Sprintf("{ seed_brokers: $SEEDS, topics: [ %s ], stop_at: latest, start_from: earliest, "+
						"checkpoint: { interval: 1s, store: { directory: %q } , job: w } }", topic, dir)
				}
				s := startIn(t, env, e, fmt.Sprintf(`
input:
  broker:
    inputs:
      - label: first
        kafka_checkpointed: %s
      - label: second
        kafka_checkpointed: %s
        processors: [ { sleep: { duration: 1s } } ]
  processors:
    - watermark_periodic: { timestamp: this.t }
buffer:
  event_time_window: { type: tumbling, size: 10s, scope: partition, aggregate: { n: { count: {} } } }
pipeline: { processors: [ { once: {} } ] }
output:
  reject_errored:
    kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s }
`, in(a), in(b), out))
				s.ended()
				require.ElementsMatch(t, []string{`{"n":2}`, `{"n":3}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]))
			})
		})
	}
}
