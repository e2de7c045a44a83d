package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topic creates a topic with a name of its own and returns the name. Configs are
// Kafka's topic configs as "name=value".
func Topic(t testing.TB, e Endpoint, partitions int, configs ...string) string {
	t.Helper()
	name := Unique(t)
	CreateTopic(t, e, name, partitions, configs...)
	return name
}

// CreateTopic creates a topic and waits until all its partitions have a leader.
func CreateTopic(t testing.TB, e Endpoint, name string, partitions int, configs ...string) {
	t.Helper()
	values := make(map[string]*string, len(configs))
	for _, c := range configs {
		k, v, ok := strings.Cut(c, "=")
		if !ok {
			t.Fatalf("creating topic %q: config %q is not name=value", name, c)
		}
		values[k] = &v
	}
	b, own := e.(*Broker)
	byNodes := own && b.zk != nil && !b.dist.version.atLeast(0, 10, 1)
	if byNodes {
		createTopicNodes(t, b, name, partitions, values)
	}
	withAdmin(t, e, "creating topic "+name, func(ctx context.Context, a *kadm.Client) error {
		if byNodes {
			return led(ctx, a, name, partitions)
		}
		if _, err := a.CreateTopic(ctx, int32(partitions), 1, values, name); err != nil {
			return err
		}
		return led(ctx, a, name, partitions)
	})
}

// AddPartitions makes a topic total partitions wide and waits until all of them
// have a leader.
func AddPartitions(t testing.TB, e Endpoint, topic string, total int) {
	t.Helper()
	withAdmin(t, e, "adding partitions to "+topic, func(ctx context.Context, a *kadm.Client) error {
		rs, err := a.UpdatePartitions(ctx, total, topic)
		if err != nil {
			return err
		}
		if err := rs.Error(); err != nil {
			return err
		}
		return led(ctx, a, topic, total)
	})
}

// DeleteTopic deletes a topic and waits until the brokers do not list it.
func DeleteTopic(t testing.TB, e Endpoint, topic string) {
	t.Helper()
	withAdmin(t, e, "deleting topic "+topic, func(ctx context.Context, a *kadm.Client) error {
		if _, err := a.DeleteTopic(ctx, topic); err != nil {
			return err
		}
		return poll(patience, func() error {
			ts, err := a.ListTopics(ctx, topic)
			if err == nil && ts.Has(topic) {
				err = errors.New("it is still there")
			}
			return err
		})
	})
}

// Topics lists the topics that are not internal to Kafka.
func Topics(t testing.TB, e Endpoint) []string {
	t.Helper()
	var names []string
	withAdmin(t, e, "listing topics", func(ctx context.Context, a *kadm.Client) error {
		ts, err := a.ListTopics(ctx)
		names = ts.Names()
		return err
	})
	return names
}

// Trim deletes the records of a partition below an offset, which becomes its
// first.
func Trim(t testing.TB, e Endpoint, topic string, partition int32, before int64) {
	t.Helper()
	withAdmin(t, e, "trimming "+topic, func(ctx context.Context, a *kadm.Client) error {
		var os kadm.Offsets
		os.Add(kadm.Offset{Topic: topic, Partition: partition, At: before})
		rs, err := a.DeleteRecords(ctx, os)
		if err != nil {
			return err
		}
		return rs.Error()
	})
}

// Starts returns the first offset of each partition, by partition number.
func Starts(t testing.TB, e Endpoint, topic string) []int64 {
	t.Helper()
	return listed(t, e, topic, -2, 0)
}

// Ends returns the offset after the last record of each partition, transactions
// that are still open included.
func Ends(t testing.TB, e Endpoint, topic string) []int64 {
	t.Helper()
	return listed(t, e, topic, -1, 0)
}

// StableEnds returns the last stable offset of each partition: its end, or where
// its first open transaction begins.
func StableEnds(t testing.TB, e Endpoint, topic string) []int64 {
	t.Helper()
	return listed(t, e, topic, -1, 1)
}

func listed(t testing.TB, e Endpoint, topic string, at int64, isolation int8) []int64 {
	t.Helper()
	var offsets []int64
	withClient(t, e, "listing offsets of "+topic, func(ctx context.Context, cl *kgo.Client) error {
		// A broker beside ZooKeeper serves before it knows what it leads.
		return poll(patience, func() error {
			m, err := kadm.NewClient(cl).Metadata(ctx, topic)
			if err == nil {
				err = m.Topics[topic].Err
			}
			if err == nil {
				offsets, err = ListOffsets(ctx, cl, topic, len(m.Topics[topic].Partitions), at, isolation)
			}
			return err
		})
	})
	return offsets
}

// ListOffsets asks where the partitions 0 to n-1 of a topic begin (at -2) or end (at -1),
// for an isolation level of the protocol. The admin client answers -1, without an error,
// for brokers before 0.10.1.
func ListOffsets(ctx context.Context, cl *kgo.Client, topic string, n int, at int64, isolation int8) ([]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range n {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.MaxNumOffsets = int32(p), at, 1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	offsets := make([]int64, n)
	answered := 0
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("partition %d of topic %q: %w", p.Partition, topic, err)
				}
				if offsets[p.Partition] = p.Offset; len(p.OldStyleOffsets) > 0 {
					offsets[p.Partition] = p.OldStyleOffsets[0]
				}
				answered++
			}
		}
	}
	if answered != n {
		return nil, fmt.Errorf("the brokers answered for %d of %d partitions of topic %q", answered, n, topic)
	}
	return offsets, nil
}

// led waits until every partition of a topic has a leader.
func led(ctx context.Context, a *kadm.Client, topic string, partitions int) error {
	return poll(patience, func() error {
		m, err := a.Metadata(ctx, topic)
		if err != nil {
			return err
		}
		ps := m.Topics[topic].Partitions
		if len(ps) < partitions {
			return fmt.Errorf("topic %q has %d of %d partitions", topic, len(ps), partitions)
		}
		for _, p := range ps {
			if p.Err != nil {
				return fmt.Errorf("partition %d of topic %q: %w", p.Partition, topic, p.Err)
			}
			if p.Leader < 0 {
				return fmt.Errorf("partition %d of topic %q has no leader", p.Partition, topic)
			}
		}
		return nil
	})
}
