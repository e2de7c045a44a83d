package input

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// A partition that has been removed by the time it is to wait, or need not any more, is
// left alone, with a line in the log; so is one that has finished.
func TestHoldLeavesAloneWhatIsNotThere(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	require.NoError(t, err)
	defer client.Close()
	var logs bytes.Buffer
	s := &source{
		conf: Config{MaxBatchRecords: 2}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		log: service.NewLoggerFromSlog(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}
	s.mu.client = client
	here, finished := flowingLane(0, checkpoint.Unbounded), flowingLane(1, 2)
	s.mu.lanes = map[topicPartition]*lane{{"t", 0}: here, {"t", 1}: finished}
	s.mu.order = []*lane{here, finished}
	finished.accept(records(0, 1))
	b := finished.take(2)
	finished.prefix.Done(b.span)
	require.True(t, finished.finished())
	here.accept(records(0, 1, 2))

	held := map[checkpoint.Partition]bool{{Topic: "t", ID: 0}: true, {Topic: "t", ID: 1}: true, {Topic: "t", ID: 7}: true, {Topic: "t-2", ID: 0}: true}
	s.Hold(held, time.Second)
	require.Contains(t, logs.String(), "2 partitions that were to wait for others are not read here any more")
	require.True(t, here.waits)
	require.True(t, finished.finished())
	require.Nil(t, picked(s), "the one waits, and the other has finished")

	logs.Reset()
	delete(s.mu.lanes, topicPartition{"t", 0})
	s.Hold(nil, time.Second)
	require.Empty(t, logs.String(), "nobody has to wait, so nobody is missed")
	require.True(t, here.waits, "whoever has it now decides")
	require.False(t, finished.waits)
	require.Empty(t, client.PauseFetchPartitions(nil))
}

func picked(s *source) *batch {
	b, _, _ := s.pick()
	return b
}
