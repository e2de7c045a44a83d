package kafka_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func subscribe(t *testing.T, topics kafka.Topics) kafka.Subscription {
	t.Helper()
	s, err := topics.Parse()
	require.NoError(t, err)
	return s
}

func TestDI05_AllPartitionsOfListedTopicsAreFound(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		a, b := kafkatest.Topic(t, e, 3), kafkatest.Topic(t, e, 1)
		kafkatest.Topic(t, e, 2)
		l, err := subscribe(t, kafka.Topics{List: []string{b, a}}).List(bounded(t), kafkatest.Client(t, e))
		require.NoError(t, err)
		assert.Nil(t, l.Missing)
		want := append(at(a, 0, 1, 2), at(b, 0)...)
		slices.SortFunc(want, kafka.Partition.Compare)
		assert.Equal(t, want, l.Partitions)
	})
}

func TestDI06_PatternsFindWholeNamesAndNothingInternal(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		cl, prefix := kafkatest.Client(t, e), kafkatest.Unique(t)
		for _, name := range []string{"-a", "-b", "-ab", "-debug"} {
			kafkatest.CreateTopic(t, e, prefix+name, 1)
		}
		kafkatest.CommitOffsets(t, e, kafkatest.Unique(t), prefix+"-a", map[int32]int64{0: 0}) // brings __consumer_offsets
		l, err := subscribe(t, kafka.Topics{Include: []string{prefix + "-.*", "__.*", "nothing"}, Exclude: []string{".*-debug", prefix + "-"}}).List(bounded(t), cl)
		require.NoError(t, err)
		assert.Nil(t, l.Missing)
		assert.Equal(t, append(at(prefix+"-a", 0), append(at(prefix+"-ab", 0), at(prefix+"-b", 0)...)...), l.Partitions)

		l, err = subscribe(t, kafka.Topics{Include: []string{prefix}}).List(bounded(t), cl)
		require.NoError(t, err)
		assert.Nil(t, l.Missing, "a pattern that matches nothing is no error")
		assert.Empty(t, l.Partitions)
	})
}

// TestDI06_AGroupReadsWholeNames has the client, and with KIP-848 the broker, match
// the patterns.
func TestDI06_AGroupReadsWholeNames(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		prefix := kafkatest.Unique(t)
		for _, name := range []string{"-a", "-ab", "-c", "x-a"} {
			kafkatest.CreateTopic(t, e, prefix+name, 1)
		}
		s := subscribe(t, kafka.Topics{Include: []string{prefix + "-[ac]", prefix + "-ab"}, Exclude: []string{prefix + "-c"}})
		for _, opts := range [][]kgo.Opt{nil, {kgo.ServerSideBalancer()}} {
			assigned := make(chan map[string][]int32, 10)
			kafkatest.Client(t, e, append(append(opts, s.Consume()...), kgo.ConsumerGroup(kafkatest.Unique(t)),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { assigned <- parts }))...)
			got := make(map[string][]int32)
			kafkatest.Eventually(t, 30*time.Second, "both topics are assigned", func() bool {
				select {
				case more := <-assigned:
					maps.Copy(got, more)
				default:
				}
				return len(got) >= 2
			})
			assert.Equal(t, map[string][]int32{prefix + "-a": {0}, prefix + "-ab": {0}}, got)
		}
	})
}

func TestDI07_OnlyListedPartitionsAreFound(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := kafkatest.Topic(t, e, 4)
		l, err := subscribe(t, kafka.Topics{List: []string{topic + ":2," + topic + ":0"}}).List(bounded(t), kafkatest.Client(t, e))
		require.NoError(t, err)
		assert.Equal(t, at(topic, 0, 2), l.Partitions)
	})
}

func TestDI08_WhatDoesNotExistIsNamedAndNotCreated(t *testing.T) {
	test := func(t *testing.T, e kafkatest.Endpoint) {
		topic, gone := kafkatest.Topic(t, e, 2), kafkatest.Unique(t)
		before := kafkatest.Topics(t, e)
		l, err := subscribe(t, kafka.Topics{List: []string{gone, topic + ":1-2", gone + "x:0"}}).Await(bounded(t), kafkatest.Client(t, e), time.Second)
		require.NoError(t, err)
		assert.Equal(t, at(topic, 1), l.Partitions)
		require.NotNil(t, l.Missing)
		for _, want := range []string{`topic "` + gone + `" does not exist`, `topic "` + gone + `x" does not exist`, `topic "` + topic + `" has no partition 2, only 2 in all`} {
			assert.ErrorContains(t, l.Missing, want)
		}
		assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Connect, l.Missing).Meaning)
		assert.Equal(t, before, kafkatest.Topics(t, e))
	}
	onBoth(t, test) // Apache Kafka's auto.create.topics.enable is true unless set
	t.Run("fake that creates", func(t *testing.T) { test(t, kafkatest.Fake(t, kfake.AllowAutoTopicCreation())) })
}

func TestDI09_ATopicThatDisappearsIsMissing(t *testing.T) {
	c := kafkatest.Fake(t)
	a, b := kafkatest.Topic(t, c, 1), kafkatest.Topic(t, c, 1)
	s, cl := subscribe(t, kafka.Topics{List: []string{a, b}}), kafkatest.Client(t, c)
	l, err := s.List(bounded(t), cl)
	require.NoError(t, err)
	assert.Len(t, l.Partitions, 2)
	kafkatest.DeleteTopic(t, c, a)
	l, err = s.List(bounded(t), cl)
	require.NoError(t, err, "a deletion is no error")
	assert.Equal(t, at(b, 0), l.Partitions)
	assert.Equal(t, []string{a}, l.Missing.Topics)
}

func TestAwaitHasPatienceWithATopicJustCreated(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 2)
	c.Fail(kmsg.Metadata, 2, kerr.UnknownTopicOrPartition)
	cl := kafkatest.Client(t, c)
	require.NoError(t, cl.Ping(context.Background()))
	l, err := subscribe(t, kafka.Topics{List: []string{topic}}).Await(bounded(t), cl, 20*time.Second)
	require.NoError(t, err)
	assert.Nil(t, l.Missing)
	assert.Len(t, l.Partitions, 2)
}

func TestAForbiddenTopicIsFatalAndNamed(t *testing.T) {
	c := kafkatest.Fake(t)
	topic, cl := kafkatest.Topic(t, c, 1), kafkatest.Client(t, c)
	c.Fail(kmsg.Metadata, -1, kerr.TopicAuthorizationFailed)
	_, err := subscribe(t, kafka.Topics{List: []string{topic}}).List(bounded(t), cl)
	assert.ErrorContains(t, err, `listing topic "`+topic+`": TOPIC_AUTHORIZATION_FAILED`)
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Connect, err).Meaning)
	_, err = subscribe(t, kafka.Topics{Include: []string{topic}}).List(bounded(t), cl)
	assert.NoError(t, err, "a pattern is about what can be seen")
}
