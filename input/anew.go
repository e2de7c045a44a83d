package input

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// A topic that is deleted and created anew while it is read is another log: offsets
// of the first say nothing about it. The client goes on asking for the first one,
// by its id, or does not even ask. So here the ids are watched, and the new topic is
// read from its first record, as one that is discovered.

// watchTopics looks for topics that took the place of others.
func (s *source) watchTopics(ctx context.Context) {
	listCtx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	listing, err := s.conf.Subscription.List(listCtx, s.admin)
	if err == nil {
		err = s.readAnew(ctx, listing)
	}
	s.readAnewFailed(ctx, err)
}

func (s *source) readAnewFailed(ctx context.Context, err error) {
	switch {
	case errors.Is(err, checkpoint.ErrFatal):
		s.handle.Fatal(err)
	case err != nil && ctx.Err() == nil:
		s.log.Warnf("Looking for new topics failed and is tried again: %v", err)
	}
}

// topicUnknown is for topics whose ids the brokers do not know any more.
func (s *source) topicUnknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.watching || s.mu.closing {
		return
	}
	s.mu.watching = true
	s.background(func(ctx context.Context) {
		s.watchTopics(ctx)
		s.mu.Lock()
		s.mu.watching = false
		s.mu.Unlock()
	})
}

// readAnew begins to read the topics of a listing that took the place of others.
func (s *source) readAnew(ctx context.Context, listing kafka.Listing) error {
	s.anewMu.Lock()
	defer s.anewMu.Unlock()
	for topic, id := range listing.IDs {
		s.mu.Lock()
		gone, known := s.mu.ids[topic]
		if !known {
			s.mu.ids[topic] = id
		}
		s.mu.Unlock()
		if !known || id == gone {
			continue
		}
		if err := s.exchange(ctx, topic, listing); err != nil {
			return err
		}
		s.mu.Lock()
		s.mu.ids[topic] = id
		s.mu.Unlock()
	}
	return nil
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
	for _, l := range lanes {
		// Of what is under way nobody would know later what to do if it were rejected.
		if err := s.awaitEmptied(ctx, l); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.mu.anew[topic] = true
	client := s.mu.client
	s.mu.Unlock()
	if !s.conf.Static {
		// The group hands the partitions out again.
		client.PurgeTopicsFromConsuming(topic)
		client.AddConsumeTopics(topic)
		return nil
	}
	s.assignMu.Lock()
	s.removeLanes(lanes)
	client.PurgeTopicsFromConsuming(topic)
	s.assignMu.Unlock()
	var parts []kafka.Partition
	for _, p := range listing.Partitions {
		if p.Topic == topic && s.ours(p) {
			parts = append(parts, p)
		}
	}
	return s.addPartitions(ctx, parts)
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
