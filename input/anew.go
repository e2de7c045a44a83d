package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// A topic that is deleted and created anew while it is read is another log: offsets
// of the first say nothing about it. The client goes on asking for the first one,
// by its id, or does not even ask. So here the ids are watched, and the new topic is
// read from its first record, as one that is discovered.

// unknownFor is how long the brokers may not know the id of a topic that exists: one
// that was just created is not known to all of them at once.
const unknownFor = 30 * time.Second

// watching is what failed to look for what is new.
const watching = "Looking for new topics"

// watchTopic looks for topics that took the place of others, because the brokers do
// not know the id of one.
func (s *source) watchTopic(ctx context.Context, topic string) error {
	s.anewMu.Lock()
	defer s.anewMu.Unlock()
	listing, err := s.list(ctx)
	if err == nil {
		err = s.readAnew(ctx, listing)
	}
	if _, exists := listing.IDs[topic]; err != nil || !exists {
		return err
	}
	return s.stillUnknown(topic)
}

func (s *source) list(ctx context.Context) (kafka.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	return s.conf.Subscription.List(ctx, s.admin)
}

// topicUnknown is for a topic whose id the brokers do not know any more.
func (s *source) topicUnknown(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.watching[topic] || s.mu.closing {
		return
	}
	s.mu.watching[topic] = true
	s.background(func(ctx context.Context) {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.mu.watching, topic)
		}()
		for {
			err := s.watchTopic(ctx, topic)
			if err == nil || ctx.Err() != nil || errors.Is(s.failed(watching, err), checkpoint.ErrFatal) {
				return
			}
			select {
			case <-time.After(holdAfter):
			case <-ctx.Done():
				return
			}
		}
	})
}

// stillUnknown gives up on a topic that exists, with the id that it had when it was
// looked at, while the brokers go on refusing the id that the client has: its
// metadata came from a broker that was behind.
func (s *source) stillUnknown(topic string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	u := s.mu.unknown[topic]
	if now.Sub(u.last) > 10*holdAfter || u.id != s.mu.ids[topic] {
		u = unknownTopic{id: s.mu.ids[topic], first: now}
	}
	u.last = now
	s.mu.unknown[topic] = u
	if now.Sub(u.first) < unknownFor {
		return nil
	}
	return checkpoint.Fatal(fmt.Errorf("the brokers have not known the id of topic %q for %v, although it exists: "+
		"it was created anew, and one of them was behind; start again to read it", topic, unknownFor))
}

// unknownTopic is since when the brokers do not know an id.
type unknownTopic struct {
	id          kafka.TopicID
	first, last time.Time
}

// readAnew begins to read the topics of a listing that took the place of others. It
// is called with anewMu held.
func (s *source) readAnew(ctx context.Context, listing kafka.Listing) error {
	s.meetTopics(listing)
	for topic, id := range listing.IDs {
		if !s.tookPlace(topic, id) {
			continue
		}
		if err := s.exchange(ctx, topic, listing); err != nil {
			return err
		}
		s.mu.Lock()
		s.mu.replaced[s.mu.ids[topic]] = true
		s.mu.ids[topic] = id
		s.mu.Unlock()
	}
	return nil
}

// meetTopics notes the ids of topics that are new here.
func (s *source) meetTopics(listing kafka.Listing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, id := range listing.IDs {
		if _, known := s.mu.ids[topic]; !known {
			s.mu.ids[topic] = id
		}
	}
}

// tookPlace tells whether an id is of a topic that took the place of the one that is
// read. A broker that is behind may still name one that was replaced.
func (s *source) tookPlace(topic string, id kafka.TopicID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, known := s.mu.ids[topic]
	return known && id != is && !s.mu.replaced[id]
}

// exchange gives up the partitions of a topic that is gone and begins with those of
// the one that took its place.
func (s *source) exchange(ctx context.Context, topic string, listing kafka.Listing) error {
	switch {
	case s.conf.Stop.Bounded():
		return checkpoint.Fatal(fmt.Errorf("topic %q was deleted and created anew while it was read, "+
			"so that the end of the bounded run will never come: start again", topic))
	case s.conf.Start.Reset == kafka.ResetNone:
		return checkpoint.Fatal(fmt.Errorf("topic %q was deleted and created anew while it was read, and offset_reset is none: "+
			"set it to earliest or latest, and start again to read the new topic", topic))
	}
	s.log.Warnf("Topic %q was deleted and created anew; reading the new one from its first record", topic)
	lanes := s.lanesOf(topic)
	s.setResetting(lanes, true)
	for _, l := range lanes {
		// Of what is under way nobody would know later what to do if it were rejected.
		if err := s.awaitEmptied(ctx, l); err != nil {
			s.setResetting(lanes, false)
			return err
		}
	}
	client, err := s.giveUpTopic(ctx, topic)
	if err != nil {
		s.setResetting(lanes, false)
		return err
	}
	if !s.conf.Static {
		// The group hands the partitions out again.
		client.AddConsumeTopics(topic)
		return nil
	}
	var parts []kafka.Partition
	for _, p := range listing.Partitions {
		if p.Topic == topic && s.ours(p) {
			parts = append(parts, p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	return s.addPartitions(ctx, listing, parts)
}

// giveUpTopic drops the lanes of a topic, so that no position of it is published any
// more, and what the client has of it.
func (s *source) giveUpTopic(ctx context.Context, topic string) (*kgo.Client, error) {
	s.mu.Lock()
	client, poller := s.mu.client, s.poller
	s.mu.Unlock()
	// A poll that came back before must not be dispatched to the lanes that follow.
	if err := poller.park(ctx); err != nil {
		return nil, err
	}
	defer poller.unpark()
	s.assignMu.Lock()
	s.removeLanes(s.lanesOf(topic))
	s.mu.Lock()
	s.mu.anew[topic] = true
	s.mu.Unlock()
	s.assignMu.Unlock()
	client.PurgeTopicsFromConsuming(topic)
	return client, nil
}

func (s *source) setResetting(lanes []*lane, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lanes {
		s.setResettingLocked(l, is)
	}
}

func (s *source) lanesOf(topic string) []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lanes []*lane
	for _, l := range s.mu.order {
		if l.topic == topic {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// isAnew tells that a topic took the place of one of its name during this run.
func (s *source) isAnew(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.anew[topic]
}
