package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
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
	withAdmin(t, e, "creating topic "+name, func(ctx context.Context, a *kadm.Client) error {
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
	return listed(t, e, topic, (*kadm.Client).ListStartOffsets)
}

// Ends returns the offset after the last record of each partition, transactions
// that are still open included.
func Ends(t testing.TB, e Endpoint, topic string) []int64 {
	t.Helper()
	return listed(t, e, topic, (*kadm.Client).ListEndOffsets)
}

// StableEnds returns the last stable offset of each partition: its end, or where
// its first open transaction begins.
func StableEnds(t testing.TB, e Endpoint, topic string) []int64 {
	t.Helper()
	return listed(t, e, topic, (*kadm.Client).ListCommittedOffsets)
}

func listed(
	t testing.TB, e Endpoint, topic string,
	list func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error),
) []int64 {
	t.Helper()
	var offsets []int64
	withAdmin(t, e, "listing offsets of "+topic, func(ctx context.Context, a *kadm.Client) error {
		ls, err := list(a, ctx, topic)
		if err != nil {
			return err
		}
		if err := ls.Error(); err != nil {
			return err
		}
		offsets = make([]int64, len(ls[topic]))
		for p, l := range ls[topic] {
			offsets[p] = l.Offset
		}
		return nil
	})
	return offsets
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
