package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// A process stands still for longer than its session, another one takes its partitions, and
// then it goes on as if nothing had been.
func TestAZombieDoesNoHarm(t *testing.T) {
	for _, pause := range []time.Duration{9 * time.Second, time.Minute} {
		for name, first := range map[string]kmsg.Key{"records": kmsg.Produce, "offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn} {
			t.Run(name+" "+pause.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testZombie(t, first, pause, true) })
			})
		}
	}
}

// As before, but whoever takes the partitions cannot end what the process has open, and says
// so: that it is of an older generation of the group is what keeps it from them.
func TestAZombieThatNobodyFencesDoesNoHarm(t *testing.T) {
	for _, pause := range []time.Duration{9 * time.Second, time.Minute} {
		for name, first := range map[string]kmsg.Key{"records": kmsg.Produce, "offsets": kmsg.TxnOffsetCommit} {
			t.Run(name+" "+pause.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testZombie(t, first, pause, false) })
			})
		}
	}
}

// testZombie runs in a bubble.
func testZombie(t *testing.T, first kmsg.Key, pause time.Duration, fenced bool) {
	e := kafkatest.Virtual(t)
	in, out := topics(t, e, 2)
	wentBack := sampled(t, e, in)
	yaml := copyYAML(in, out, "g", "session_timeout: 6s\n    heartbeat_interval: 1s") + patient
	env := environment(t, e)
	p := kafkatest.NewProxy(t, e)
	zombie := startIn(t, env, p, yaml)
	kafkatest.Fill(t, e, in, 20)
	kafkatest.Until(t, patience, func() error { return covered(e, in, 20) })
	begin := p.HoldRequests(first)
	kafkatest.Fill(t, e, in, 20)
	begin.Await(t, 1, patience)
	hold := p.HoldRequests(everyKey()...)
	stopped := time.Now()
	beside := kafkatest.NewProxy(t, e)
	other := startIn(t, env, beside, yaml)
	var fence *kafkatest.Hold
	if !fenced {
		kafkatest.Eventually(t, patience, "it has its own id", func() bool { return len(other.said("Input type kafka_checkpointed is now active")) > 0 })
		fence = beside.HoldRequests(kmsg.InitProducerID)
	}
	kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 40) })
	kafkatest.Fill(t, e, in, 20)
	time.Sleep(time.Until(stopped.Add(pause))) // virtual
	if !fenced {
		require.Positive(t, fence.Held(), "it was tried")
		require.NotEmpty(t, other.said("Ending what earlier owners of partitions have left open"), "and failed")
		fence.Drop()
	}
	begin.Release()
	hold.Release()
	kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 60) })
	joined(t, e, 2)
	kafkatest.Fill(t, e, in, 20)
	kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 80) })
	require.NoError(t, zombie.stop())
	kafkatest.Fill(t, e, in, 20)
	kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 100) })
	require.NoError(t, other.stop())
	require.Empty(t, wentBack(), "no offset goes back")
	require.Equal(t, both(100), numbers(t, e, out))
	require.Empty(t, openTransactions(t, e))
}
