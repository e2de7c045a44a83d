package input

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestPausedLaneIsResumedByThePipeline: while the poller waits inside a poll for
// partitions that have no more records, nobody else resumes a lane that was far
// ahead and is used up by now.
func TestPausedLaneIsResumedByThePipeline(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	require.NoError(t, err)
	defer client.Close()
	s := &source{conf: Config{MaxBatchRecords: 2}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.mu.client = client
	s.mu.lanes = map[topicPartition]*lane{}
	ahead, hungry := flowingLane(0, checkpoint.Unbounded), newLane("t", 1)
	hungry.begin(0, checkpoint.Unbounded)
	for _, l := range []*lane{ahead, hungry} {
		s.mu.lanes[topicPartition{l.topic, l.partition}] = l
		s.mu.order = append(s.mu.order, l)
	}
	var all []int64
	for o := range int64(20) {
		all = append(all, o)
	}
	ahead.accept(records(all...))
	require.True(t, s.wantsRecords())
	require.True(t, ahead.paused)
	require.Equal(t, map[string][]int32{"t": {0}}, client.PauseFetchPartitions(nil))
	for ahead.queued > 0 {
		b, _, _ := s.pick()
		require.NotNil(t, b)
	}
	require.False(t, ahead.paused)
	require.Empty(t, client.PauseFetchPartitions(nil))
}
