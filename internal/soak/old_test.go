package soak_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// oldBudget is how long each version is killed at without TIDEMARK_SOAK_ROUNDS.
const oldBudget = 5 * time.Second

// The same promises as those of TestKill9, with old brokers: of 0.8, without a group, whose
// offsets are in ZooKeeper, and of those that differ most from each other after it.
func TestKill9OldBrokers(t *testing.T) {
	for _, version := range []string{
		kafkatest.Kafka08, kafkatest.Kafka09, kafkatest.Kafka0102, kafkatest.Kafka011, kafkatest.Kafka28, kafkatest.Kafka39,
	} {
		t.Run(version, func(t *testing.T) {
			p, v := soak.Begin(t, "kill/"+version, 0.25)
			broker := kafkatest.Old(t, version)
			// Of compressed records of 0.10 the client shows the producer's time.
			load := soak.Load{NoTimestamps: slices.Contains([]string{kafkatest.Kafka08, kafkatest.Kafka09, kafkatest.Kafka0102}, version)}
			k := &killer{random: p.Random, v: v, scale: scale{rate: 10_000, threshold: 100}, places: map[placement]int{}}
			if version == kafkatest.Kafka08 {
				load.ZooKeeper, k.zooKeeper = broker, broker
			}
			k.rig = soak.NewRig(t, broker, load)
			k.rig.Follow()
			soak.Tidemark(t)
			v.Threshold = k.scale.threshold
			v.Extra = map[string]any{"placements": k.places}
			p.Restart()
			p.Shorten(oldBudget)
			k.rig.Feed(k.scale.rate)
			for p.More() && k.round() && !k.rig.Audit.Red() {
				t.Logf("round %d: %d counted, behind by %v", v.Rounds, v.Counted, k.rig.Behind())
			}
			last := k.rig.Start(soak.Copy{Interval: 200 * time.Millisecond, Metrics: true, Input: []string{"topic_lag_refresh_period: 100ms"}})
			k.rig.AwaitDelivery(time.Minute)
			k.rig.Await(20*time.Second, "lag 0", func() bool {
				records, err := last.Metric("tidemark_current_offset")
				if err != nil || records == 0 {
					return false
				}
				lag, err := last.Metric("tidemark_lag")
				return err == nil && lag == 0
			})
			k.settle(k.rig.Drain(time.Minute))
			if v.Counted == 0 || p.Full && v.Counted < p.Rounds {
				k.rig.Audit.Violate(soak.Unhealthy, "only %d of %d rounds count", v.Counted, v.Rounds)
			}
			v.Conclude(t, k.rig.Audit)
		})
	}
}
