package behaviour

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// twoInputs is a windowed job that reads two topics by an input each.
func twoInputs(t testing.TB, first, second, out, window string) string {
	return fmt.Sprintf(`
input:
  broker:
    inputs:
      - kafka_checkpointed:
          seed_brokers: $SEEDS
          topics: [ %s ]
          checkpoint: { store: { directory: %q }, job: w, interval: 200ms }
      - kafka_checkpointed:
          seed_brokers: $SEEDS
          topics: [ %s ]
        processors: [ sleep: { duration: 2s } ]
  processors:
    - watermark_periodic: { timestamp: this.t, idle_timeout: 0s, interval: 10ms }
buffer:
  event_time_window: %s
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
`, first, t.TempDir(), second, window, out)
}

// Inputs close side by side, here the second one later, because a record of it is under
// way. When the one that is behind has gone the other must not be taken for the slowest:
// what the first has not read yet would be late in the next run.
func TestWindowsDoNotFireWhileInputsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		slow, fast, out := kafkatest.Topic(t, e, 1), kafkatest.Topic(t, e, 1), kafkatest.Topic(t, e, 1)
		yaml := twoInputs(t, slow, fast, out, "{ type: tumbling, size: 10s, aggregate: { n: { count: {} } } }")
		s := start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(slow, 0, `{"t":1000}`)...)
		kafkatest.Produce(t, e, stamped(fast, 0, `{"t":2000}`, `{"t":100000}`)...)
		time.Sleep(10 * time.Second) // virtual
		kafkatest.Produce(t, e, stamped(fast, 0, `{"t":100001}`)...)
		time.Sleep(time.Second) // virtual
		require.NoError(t, s.stop())
		require.Empty(t, lines(kafkatest.ReadCommitted(t, e, out)[0]), "the slow one was read up to its first second only")

		s = start(t, e, yaml)
		kafkatest.Produce(t, e, stamped(slow, 0, `{"t":3000}`, `{"t":50000}`)...)
		time.Sleep(10 * time.Second) // virtual
		require.NoError(t, s.stop())
		require.Equal(t, []string{`{"n":3}`}, lines(kafkatest.ReadCommitted(t, e, out)[0]))
	})
}

// The brokers answer a join when all members have joined or are given up. Whoever stops
// meanwhile does not wait for that, and is not waited for by the others.
func TestAStopWhileTheGroupWaitsForADeadMember(t *testing.T) {
	for name, more := range map[string]string{"nameless": "", "named": "\n    instance_id: %s"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 4)
				env := environment(t, e)
				yaml := func(member string) string {
					also := more
					if more != "" {
						also = fmt.Sprintf(more, member)
					}
					return copyYAML(in, out, "g", "session_timeout: 40s\n    heartbeat_interval: 1s"+also) + exactly
				}
				s := startIn(t, env, e, yaml("one"))
				p := kafkatest.NewProxy(t, e)
				startIn(t, env, p, yaml("two"))
				joined(t, e, 2)
				p.Down()
				next := startIn(t, env, e, yaml("three"))
				kafkatest.Eventually(t, 20*time.Second, "the group waits", func() bool { return e.GroupInfo("g").State == "PreparingRebalance" })
				kafkatest.Fill(t, e, in, 10)
				time.Sleep(3 * time.Second) // virtual: by now it has joined
				asked := time.Now()
				require.NoError(t, s.stop())
				require.Less(t, time.Since(asked), 15*time.Second)
				kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 10) })
				require.Equal(t, allOf(4, 10), numbers(t, e, out))
				require.NoError(t, next.stop())
			})
		})
	}
}
