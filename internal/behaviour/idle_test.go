package behaviour

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// clocked is a record whose event time is now, in milliseconds since 1970.
func clocked() string { return fmt.Sprintf(`{"t":%d}`, time.Now().UnixMilli()) }

// gauge returns a gauge of ours, -1 if it was not set.
func gauge(m *gathered, name string, labels ...string) int64 {
	if n, ok := m.get(name, labels...); ok {
		return n
	}
	return -1
}

func TestWatermarksAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, max_out_of_orderness: 3s }"))
		at := time.Now()
		kafkatest.Produce(t, e, stamped(in, 1, clocked())...)
		time.Sleep(10 * time.Second) // virtual
		require.Equal(t, at.Add(-3*time.Second).UnixMilli(), gauge(m, "tidemark_watermark_ms", "topic", in, "partition", "1"))
		require.InDelta(t, 13_000, gauge(m, "tidemark_watermark_lag_ms", "topic", in, "partition", "1"), 500)
		require.EqualValues(t, -1, gauge(m, "tidemark_watermark_ms", "topic", in, "partition", "0"), "nothing is known of it")
		require.EqualValues(t, -1, gauge(m, "tidemark_watermark_lag_ms", "topic", in, "partition", "0"))
		time.Sleep(10 * time.Second) // virtual
		require.InDelta(t, 23_000, gauge(m, "tidemark_watermark_lag_ms", "topic", in, "partition", "1"), 500)
		kafkatest.Produce(t, e, stamped(in, 1, clocked())...)
		time.Sleep(time.Second) // virtual
		require.InDelta(t, 4_000, gauge(m, "tidemark_watermark_lag_ms", "topic", in, "partition", "1"), 500)
		require.NoError(t, s.stop())
	})
}

func TestFieldIdleTimeout(t *testing.T) {
	for timeout, idle := range map[string]int64{"5s": 1, "5m": 0, "0s": 0} {
		t.Run(timeout, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, idle_timeout: "+timeout+" }"))
				kafkatest.Produce(t, e, stamped(in, 1, clocked())...)
				for range 60 {
					kafkatest.Produce(t, e, stamped(in, 0, clocked())...)
					time.Sleep(time.Second) // virtual
				}
				require.Equal(t, idle, gauge(m, "tidemark_partitions_idle"))
				kafkatest.Produce(t, e, stamped(in, 1, clocked())...)
				time.Sleep(time.Second) // virtual
				require.Zero(t, gauge(m, "tidemark_partitions_idle"), "it has something again")
				require.NoError(t, s.stop())
			})
		})
	}
}

// How often is looked.
func TestFieldInterval(t *testing.T) {
	for interval, want := range map[string]int64{"1s": 1, "1m": 0} {
		t.Run(interval, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, idle_timeout: 3s, interval: "+interval+" }"))
				kafkatest.Produce(t, e, stamped(in, 0, clocked())...)
				time.Sleep(30 * time.Second) // virtual
				require.Equal(t, want, max(gauge(m, "tidemark_partitions_idle"), 0))
				time.Sleep(2 * time.Minute) // virtual
				require.EqualValues(t, 1, gauge(m, "tidemark_partitions_idle"))
				require.NoError(t, s.stop())
			})
		})
	}
}

// A partition whose records are under way, however long, has something to read.
func TestAPartitionIsNotIdleWhileItsRecordsAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, idle_timeout: 5s }\n    - sleep: { duration: 1m }"))
		kafkatest.Produce(t, e, stamped(in, 0, clocked())...)
		for range 58 {
			time.Sleep(time.Second) // virtual
			require.LessOrEqual(t, gauge(m, "tidemark_partitions_idle"), int64(0))
		}
		time.Sleep(12 * time.Second) // virtual
		require.EqualValues(t, 1, gauge(m, "tidemark_partitions_idle"))
		require.NoError(t, s.stop())
	})
}

// Of a partition whose broker does not say where it ends nobody knows whether there is more.
func TestAPartitionWhoseBrokerDoesNotAnswerIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		env, m := measured(t, e)
		s := startIn(t, env, p, timed(in, out, "watermark_periodic: { timestamp: this.t, idle_timeout: 20s }")+"\nmetrics: { gathered: {} }\n")
		kafkatest.Produce(t, e, stamped(in, 0, clocked())...)
		time.Sleep(10 * time.Second) // virtual
		hold := p.HoldRequests(kmsg.ListOffsets)
		time.Sleep(5 * time.Minute) // virtual
		require.Positive(t, hold.Held())
		require.Zero(t, gauge(m, "tidemark_partitions_idle"))
		hold.Release()
		kafkatest.Eventually(t, 5*time.Minute, "it is idle once it is known to be", func() bool { return gauge(m, "tidemark_partitions_idle") == 1 })
		require.NoError(t, s.stop())
	})
}

// One that waits for others is not idle, though it has been quiet.
func TestAPartitionThatWaitsIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		s, m := startMeasured(t, e, timed(in, out, "watermark_periodic: { timestamp: this.t, idle_timeout: 20s, max_drift: 10s }"))
		kafkatest.Produce(t, e, stamped(in, 0, `{"t":0}`)...)
		kafkatest.Produce(t, e, stamped(in, 1, `{"t":3600000}`)...)
		for i := range 60 {
			kafkatest.Produce(t, e, stamped(in, 0, fmt.Sprintf(`{"t":%d}`, i))...)
			time.Sleep(time.Second) // virtual
			require.LessOrEqual(t, gauge(m, "tidemark_partitions_idle"), int64(0))
		}
		require.NoError(t, s.stop())
	})
}
