package store

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestEnsureTopicMakesACompactedTopic(t *testing.T) {
	c := kafkatest.Fake(t)
	name := kafkatest.Unique(t)
	for range 2 {
		n, err := EnsureTopic(patient(t), kafkatest.Client(t, c), name, TopicSpec{})
		require.NoError(t, err)
		require.Equal(t, DefaultTopicPartitions, n)
	}
	require.Equal(t, "compact", *c.TopicInfo(name).Configs["cleanup.policy"])
	n, err := EnsureTopic(patient(t), kafkatest.Client(t, c), kafkatest.Unique(t), TopicSpec{Partitions: 3, Replication: 1})
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = EnsureTopic(patient(t), kafkatest.Client(t, c), name, TopicSpec{Partitions: 3})
	require.NoError(t, err)
	require.Equal(t, DefaultTopicPartitions, n, "what is there stays")
}

func TestEnsureTopicRefuses(t *testing.T) {
	c := kafkatest.Fake(t)
	for name, test := range map[string]struct{ configs, says []string }{
		"delete":                {[]string{"cleanup.policy=delete"}, []string{`cleanup.policy is "delete"`, "--add-config cleanup.policy=compact"}},
		"the default":           {nil, []string{`cleanup.policy is "delete"`}},
		"both":                  {[]string{"cleanup.policy=compact,delete"}, []string{`cleanup.policy is "compact,delete"`}},
		"tombstones gone early": {[]string{"cleanup.policy=compact", "delete.retention.ms=60000"}, []string{`delete.retention.ms is "60000"`, "86400000"}},
	} {
		t.Run(name, func(t *testing.T) {
			topic := kafkatest.Topic(t, c, 2, test.configs...)
			_, err := EnsureTopic(patient(t), kafkatest.Client(t, c), topic, TopicSpec{})
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			for _, text := range append(test.says, topic) {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestEnsureTopicSaysWhichRightIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		key   kmsg.Key
		err   *kerr.Error
		says  string
		there bool
	}{
		"create":   {kmsg.CreateTopics, kerr.TopicAuthorizationFailed, "needs the right Create", false},
		"describe": {kmsg.Metadata, kerr.TopicAuthorizationFailed, "needs the right Describe", true},
		"configs":  {kmsg.DescribeConfigs, kerr.TopicAuthorizationFailed, "needs the right DescribeConfigs", true},
		"replicas": {kmsg.CreateTopics, kerr.InvalidReplicationFactor, "creating it with 16 partitions", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Fake(t)
			topic := kafkatest.Unique(t)
			if test.there {
				kafkatest.CreateTopic(t, c, topic, 2, "cleanup.policy=compact")
			}
			cl := kafkatest.Client(t, c)
			require.NoError(t, cl.Ping(patient(t)))
			h := c.Fail(test.key, -1, test.err)
			_, err := EnsureTopic(patient(t), cl, topic, TopicSpec{})
			h.Remove()
			require.ErrorIs(t, err, test.err)
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, topic)
		})
	}
}

// Of two processes that make the topic at the same time one comes too late.
func TestEnsureTopicAfterAnother(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 2, "cleanup.policy=compact")
	cl := kafkatest.Client(t, c)
	h := c.Fail(kmsg.Metadata, 1, kerr.UnknownTopicOrPartition)
	defer h.Remove()
	n, err := EnsureTopic(patient(t), cl, topic, TopicSpec{})
	require.NoError(t, err)
	require.Equal(t, 2, n)
}
