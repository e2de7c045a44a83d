package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// A member of a group stands still for longer than its session, while its results and
// its checkpoints are on another cluster, where no generation keeps it from anything. Others
// take its partitions; then it goes on, with a request under way that came first.
func TestExactlyOnceAFrozenMemberCommitsNothingOnAnotherCluster(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"records": kmsg.Produce, "end": kmsg.EndTxn, "fetch": kmsg.Fetch} {
		for _, pause := range []time.Duration{15 * time.Second, 2 * time.Minute} {
			t.Run(name+" "+pause.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testFrozen(t, key, pause) })
			})
		}
	}
}

// testFrozen runs in a bubble.
func testFrozen(t *testing.T, key kmsg.Key, pause time.Duration) {
	from, to := two(t)
	in, out, store := kafkatest.Topic(t, from, 3), kafkatest.Topic(t, to, 3), kafkatest.Unique(t)
	yaml := copyYAML(in, out, "g", inTopic(store)+"\n    session_timeout: 6s\n    heartbeat_interval: 1s") + patient
	frozen, other := cross(t, from, to, yaml), cross(t, from, to, yaml)
	joined(t, from, 2)
	kafkatest.Fill(t, from, in, 20)
	awaitNumbers(t, to, out, allOf(3, 20))
	where := frozen.to
	if key == kmsg.Fetch {
		where = frozen.from
	}
	begin := where.HoldRequests(key)
	kafkatest.Fill(t, from, in, 20)
	begin.Await(t, 1, patience)
	holds := []*kafkatest.Hold{frozen.from.HoldRequests(everyKey()...), frozen.to.HoldRequests(everyKey()...)}
	stopped := time.Now()
	kafkatest.Until(t, time.Minute, func() error { return covered(from, in, 40) })
	kafkatest.Fill(t, from, in, 20)
	awaitNumbers(t, to, out, allOf(3, 60))
	time.Sleep(time.Until(stopped.Add(pause))) // virtual
	begin.Release()
	for _, h := range holds {
		h.Release()
	}
	time.Sleep(time.Second) // virtual: whatever was on its way has arrived
	kafkatest.Fill(t, from, in, 20)
	awaitNumbers(t, to, out, allOf(3, 80))
	joined(t, from, 2)
	kafkatest.Fill(t, from, in, 20)
	awaitNumbers(t, to, out, allOf(3, 100))
	require.NoError(t, frozen.stop())
	kafkatest.Fill(t, from, in, 20)
	awaitNumbers(t, to, out, allOf(3, 120))
	require.NoError(t, other.stop())
	require.Equal(t, allOf(3, 120), numbers(t, to, out))
	settled(t, to, out, store)
}
