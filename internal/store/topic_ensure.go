package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// DefaultTopicPartitions is how many partitions a store's topic is made with.
const DefaultTopicPartitions = 16

// minDeleteRetention is the least delete.retention.ms of a store's topic. A tombstone that
// is gone before a reader that saw the value comes to it would bring the value back to life.
const minDeleteRetention = time.Hour

// TopicSpec says what a store's topic is made like. A topic that is there keeps the number
// of partitions and replicas that it has.
type TopicSpec struct {
	// Partitions is their number; 0 = DefaultTopicPartitions. It must never be changed
	// afterwards. The first one holds only what jobs there are, unless it is the only one.
	Partitions int
	// Replication is the number of replicas; 0 = the brokers' default.
	Replication int
}

// EnsureTopic makes sure that there is a topic that a store can be kept in, and returns how
// many partitions it has. One that is missing is made: compacted, everything else as the
// brokers have it. One that would lose state (another cleanup.policy, tombstones that go
// too early) is an error that wraps checkpoint.ErrFatal and names topic, setting, value and
// remedy; so is a missing right. Others may pass.
func EnsureTopic(ctx context.Context, cl *kgo.Client, name string, spec TopicSpec) (int, error) {
	a := kadm.NewClient(cl)
	n, err := countPartitions(ctx, cl, name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if err = createTopic(ctx, a, name, spec); err == nil {
			if spec.Partitions == 0 {
				return DefaultTopicPartitions, nil
			}
			return spec.Partitions, nil
		}
		// Another process of the job may have been faster.
		if errors.Is(err, kerr.TopicAlreadyExists) {
			n, err = countPartitions(ctx, cl, name)
		}
	}
	if err == nil {
		err = checkTopic(ctx, a, name)
	}
	if err != nil {
		return 0, topicError(name, err)
	}
	return n, nil
}

// topicError says which topic it is about, and that nothing but a change of rights helps
// where they are missing.
func topicError(name string, err error) error {
	final := errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) ||
		errors.Is(err, kerr.InvalidTopicException) || errors.Is(err, kerr.PolicyViolation) ||
		errors.Is(err, kerr.InvalidReplicationFactor) || errors.Is(err, kerr.InvalidPartitions)
	err = fmt.Errorf("preparing the checkpoint store's topic %q: %w", name, err)
	if final {
		return checkpoint.Fatal(err)
	}
	return err
}

// countPartitions asks the brokers: the client's own knowledge may be of a moment ago.
func countPartitions(ctx context.Context, cl *kgo.Client, name string) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil && len(resp.Topics) != 1 {
		err = errors.New("the brokers left it out of their answer")
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("looking for it (needs the right Describe): %w", err)
	}
	return len(resp.Topics[0].Partitions), nil
}

func createTopic(ctx context.Context, a *kadm.Client, name string, spec TopicSpec) error {
	partitions, replication := spec.Partitions, spec.Replication
	if partitions == 0 {
		partitions = DefaultTopicPartitions
	}
	if replication == 0 {
		replication = -1
	}
	compact := cleanupCompact
	_, err := a.CreateTopic(ctx, int32(partitions), int16(replication), map[string]*string{cleanupPolicy: &compact}, name)
	if err != nil {
		return fmt.Errorf("creating it with %d partitions (needs the right Create): %w", partitions, err)
	}
	return nil
}

// The topic settings that state depends on.
const (
	cleanupPolicy   = "cleanup.policy"
	cleanupCompact  = "compact"
	deleteRetention = "delete.retention.ms"
)

// checkTopic refuses settings by which state would be lost.
func checkTopic(ctx context.Context, a *kadm.Client, name string) error {
	configs, err := a.DescribeTopicConfigs(ctx, name)
	if err == nil {
		var of kadm.ResourceConfig
		if of, err = configs.On(name, nil); err == nil {
			err = of.Err
		}
		if err == nil {
			return checkSettings(name, of.Configs)
		}
	}
	return fmt.Errorf("reading its settings (needs the right DescribeConfigs): %w", err)
}

func checkSettings(name string, settings []kadm.Config) error {
	var faults []error
	refuse := func(setting, value, why, remedy string) {
		faults = append(faults, fmt.Errorf("%s is %q: %s; set it to %s "+
			"(kafka-configs.sh --alter --topic %s --add-config %s=%s), or name another topic",
			setting, value, why, remedy, name, setting, remedy))
	}
	seen := false
	for _, c := range settings {
		switch value := c.MaybeValue(); c.Key {
		case cleanupPolicy:
			seen = true
			if value != cleanupCompact {
				refuse(c.Key, value, "Kafka would delete state that is still needed", cleanupCompact)
			}
		case deleteRetention:
			if ms, err := strconv.ParseInt(value, 10, 64); err == nil && ms < minDeleteRetention.Milliseconds() {
				refuse(c.Key, value, "a process that reads the state would miss deletions",
					strconv.FormatInt(24*time.Hour.Milliseconds(), 10))
			}
		}
	}
	if !seen {
		faults = append(faults, fmt.Errorf("the brokers do not tell its %s, which has to be %s", cleanupPolicy, cleanupCompact))
	}
	return checkpoint.Fatal(errors.Join(faults...))
}
