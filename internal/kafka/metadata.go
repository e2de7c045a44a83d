package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listRetry is the pause between two looks at the metadata for something that is
// listed and not there yet.
const listRetry = 250 * time.Millisecond

// NotFoundError says which listed topics and partitions the cluster does not
// have. At the start of a stream it is fatal; later it is a deletion.
type NotFoundError struct {
	Topics     []string
	Partitions []Partition
	// Counts holds how many partitions the topics of Partitions have.
	Counts map[string]int
}

// Error implements error.
func (e *NotFoundError) Error() string {
	var texts []string
	for _, t := range e.Topics {
		texts = append(texts, fmt.Sprintf("topic %q does not exist", t))
	}
	for _, p := range e.Partitions {
		texts = append(texts, fmt.Sprintf("topic %q has no partition %d, only %d in all", p.Topic, p.ID, e.Counts[p.Topic]))
	}
	return strings.Join(texts, "; ") + ": create what is missing or correct `topics`"
}

// TopicID tells topics apart that had the same name one after the other. Brokers
// before 2.8 do not have them.
type TopicID [16]byte

// Listing is what a cluster has of a subscription.
type Listing struct {
	// Partitions in order.
	Partitions []Partition
	// Leaderless are those of Partitions that cannot be read at the moment.
	Leaderless map[Partition]bool
	// IDs of their topics, as far as the brokers say them.
	IDs map[string]TopicID
	// Missing names what is listed and not there; nil if all is there. Patterns
	// that match nothing miss nothing.
	Missing *NotFoundError
}

// List asks the cluster which partitions of the subscription exist. It never
// creates a topic. A listed topic that may not be read is an error.
func (s Subscription) List(ctx context.Context, cl *kgo.Client) (Listing, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	// Without topics all of them are listed. So they are where a name would create the topic.
	all := s.Patterns() || brokersOf(cl).Lack(NoTopicCreation)
	if !all {
		for _, name := range s.listed() {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, t)
		}
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return Listing{}, fmt.Errorf("listing topics: %w", err)
	}
	found := make(map[string][]int32)
	ids, leaderless := make(map[string]TopicID), make(map[Partition]bool)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if err := s.collect(found, t); err != nil {
			return Listing{}, err
		}
		if t.Topic == nil || len(found[*t.Topic]) == 0 {
			continue
		}
		if t.TopicID != (TopicID{}) {
			ids[*t.Topic] = t.TopicID
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 || p.ErrorCode == kerr.LeaderNotAvailable.Code {
				leaderless[Partition{*t.Topic, p.Partition}] = true
			}
		}
	}
	l := s.compare(found)
	l.IDs, l.Leaderless = ids, leaderless
	return l, nil
}

// Await is List that has patience, at least one look, with what is listed and not
// there: a topic just created is not known to every broker at once.
func (s Subscription) Await(ctx context.Context, cl *kgo.Client, patience time.Duration) (Listing, error) {
	until := time.Now().Add(patience)
	for {
		l, err := s.List(ctx, cl)
		if err != nil || l.Missing == nil || time.Until(until) < listRetry {
			return l, err
		}
		select {
		case <-ctx.Done():
			return l, context.Cause(ctx)
		case <-time.After(listRetry):
		}
	}
}

// listed returns the topics that are named, each once.
func (s Subscription) listed() []string {
	topics := slices.Clone(s.Topics)
	for _, p := range s.Partitions {
		topics = append(topics, p.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// collect adds a topic's partitions to found, if the subscription is about it.
func (s Subscription) collect(found map[string][]int32, t *kmsg.MetadataResponseTopic) error {
	if t.Topic == nil {
		return nil
	}
	name := *t.Topic
	switch {
	case s.Patterns():
		if t.IsInternal || !s.Matches(name) {
			return nil
		}
	case !slices.Contains(s.Topics, name) && !slices.ContainsFunc(s.Partitions, func(p Partition) bool { return p.Topic == name }):
		return nil // of brokers that were asked for all
	}
	switch err := kerr.ErrorForCode(t.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), s.Patterns() && err != nil:
		// Not there; or a pattern's topic that is going or coming: the next look tells.
		return nil
	case errors.Is(err, kerr.LeaderNotAvailable):
		if len(t.Partitions) == 0 {
			return nil // being created
		}
	case err != nil:
		return fmt.Errorf("listing topic %q: %w", name, err)
	}
	for _, p := range t.Partitions { // an error here is about its leader: the partition is there
		found[name] = append(found[name], p.Partition)
	}
	return nil
}

func (s Subscription) compare(found map[string][]int32) Listing {
	var l Listing
	missing := NotFoundError{Counts: make(map[string]int)}
	for topic, ids := range found {
		if !s.Patterns() && !slices.Contains(s.Topics, topic) {
			continue // only explicit partitions of it
		}
		for _, id := range ids {
			l.Partitions = append(l.Partitions, Partition{Topic: topic, ID: id})
		}
	}
	for _, p := range s.Partitions {
		switch ids, ok := found[p.Topic]; {
		case ok && slices.Contains(ids, p.ID):
			l.Partitions = append(l.Partitions, p)
		case ok:
			missing.Partitions = append(missing.Partitions, p)
			missing.Counts[p.Topic] = len(ids)
		}
	}
	for _, topic := range s.listed() {
		if _, ok := found[topic]; !ok {
			missing.Topics = append(missing.Topics, topic)
		}
	}
	if len(missing.Topics)+len(missing.Partitions) > 0 {
		l.Missing = &missing
	}
	slices.SortFunc(l.Partitions, Partition.Compare)
	return l
}
