package kafka_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func stopsByID(stops map[kafka.Partition]int64) map[int32]int64 {
	n := make(map[int32]int64, len(stops))
	for p, stop := range stops {
		n[p.ID] = stop
	}
	return n
}

func TestStopResolves(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		cl, parts := kafkatest.Client(t, e), at(topic, 0, 1, 2)
		committed := map[kafka.Partition]kafka.Committed{}
		for i, p := range parts {
			committed[p] = kafka.Committed{Position: kafka.Position{Offset: int64(i)}}
		}
		for _, test := range []struct {
			name string
			stop kafka.Stop
			want map[int32]int64
		}{
			{"unbounded", kafka.Stop{}, map[int32]int64{}},
			{"BD01 latest", kafka.Stop{At: kafka.Latest}, map[int32]int64{0: 10, 1: 5, 2: 0}},
			{"BD06 offsets", kafka.Stop{At: kafka.AtOffsets, Offsets: map[kafka.Partition]int64{parts[0]: 3, parts[1]: 99, parts[2]: 0}}, map[int32]int64{0: 3, 1: 99, 2: 0}},
			{"BD07 timestamp", kafka.Stop{At: kafka.AtTimestamp, Timestamp: time.UnixMilli(4000)}, map[int32]int64{0: 3, 1: 3, 2: 0}},
			{"BD07 timestamp before every record", kafka.Stop{At: kafka.AtTimestamp, Timestamp: time.UnixMilli(1)}, map[int32]int64{0: 0, 1: 0, 2: 0}},
			{"BD07 timestamp after every record", kafka.Stop{At: kafka.AtTimestamp, Timestamp: time.UnixMilli(99_000)}, map[int32]int64{0: 10, 1: 5, 2: 0}},
			{"BD08 group offsets", kafka.Stop{At: kafka.GroupOffsets}, map[int32]int64{0: 0, 1: 1, 2: 2}},
		} {
			t.Run(test.name, func(t *testing.T) {
				stops, err := test.stop.Resolve(bounded(t), cl, parts, committed, kafka.ReadCommitted)
				require.NoError(t, err)
				assert.Equal(t, test.want, stopsByID(stops))
				assert.Equal(t, len(test.want) > 0, test.stop.Bounded())
			})
		}
	})
}

func TestStopNamesPartitionsThatItDoesNotCover(t *testing.T) {
	for at, want := range map[kafka.Where]string{
		kafka.GroupOffsets: `stop_at "group_offsets": no offset is known for a/0, a/2: commit one`,
		kafka.AtOffsets:    `stop_at "offsets": no offset is known for a/0, a/2: add them to stop_offsets`,
	} {
		p := kafka.Partition{Topic: "a", ID: 1}
		stop := kafka.Stop{At: at, Offsets: map[kafka.Partition]int64{p: 1}}
		_, err := stop.Resolve(bounded(t), nil, []kafka.Partition{{Topic: "a", ID: 2}, p, {Topic: "a"}}, map[kafka.Partition]kafka.Committed{p: {}}, kafka.ReadCommitted)
		assert.ErrorContains(t, err, want)
	}
}
