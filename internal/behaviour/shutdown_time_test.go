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
