package output

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

const (
	// forgetAfter is how long a topic that does not exist is believed not to.
	forgetAfter = 5 * time.Second
	// growthAfter is the least time between two looks for new partitions.
	growthAfter = time.Second
	// creationPatience is how long a broker may take to create a topic.
	creationPatience = 5 * time.Second
	// minRetry and maxRetry bound the pause between two tries to look a topic up.
	minRetry, maxRetry = 100 * time.Millisecond, 2 * time.Second
)

// maxUnknown bounds what is remembered of topics that do not exist: an expression
// may make up a new name for each record.
const maxUnknown = 1000

// allowed says which topics an expression may choose.
type allowed struct {
	names    map[string]struct{}
	patterns []*regexp.Regexp
}

// newAllowed returns nil for an empty list, which allows every topic.
func newAllowed(items []string) (*allowed, error) {
	if len(items) == 0 {
		return nil, nil
	}
	a := &allowed{names: make(map[string]struct{})}
	var errs []error
	for _, item := range items {
		if topicName.MatchString(item) {
			a.names[item] = struct{}{}
			continue
		}
		re, err := regexp.Compile(`^(?:` + item + `)$`)
		if err != nil || item == "" {
			errs = append(errs, fmt.Errorf("topics_allowed: %q is neither a topic's name nor a regular expression: correct it", item))
			continue
		}
		a.patterns = append(a.patterns, re)
	}
	return a, errors.Join(errs...)
}

func (a *allowed) allows(topic string) bool {
	if a == nil {
		return true
	}
	if _, ok := a.names[topic]; ok {
		return true
	}
	for _, re := range a.patterns {
		if re.MatchString(topic) {
			return true
		}
	}
	return false
}

// topics knows which topics can be written to. The client itself would find out
// too late, when a record is acknowledged already, and would create what must not
// be created.
type topics struct {
	client  *atomic.Pointer[kgo.Client]
	allowed *allowed
	create  bool
	brokers *kafka.Brokers

	// known holds the topics that exist. The map is replaced, never changed, so
	// that a look costs no lock.
	known atomic.Pointer[map[string]*topic]

	mu struct {
		sync.Mutex
		// unknown holds what cannot be written to, and until when that is believed.
		unknown map[string]refusal
	}
}

type topic struct {
	// partitions that the topic has, and those of them that the client is known to have
	// loaded, or will load with the first record.
	partitions, loaded int32
	checked            time.Time
}

type refusal struct {
	err   error
	until time.Time
}

func newTopics(client *atomic.Pointer[kgo.Client], a *allowed, create bool, brokers *kafka.Brokers) *topics {
	t := &topics{client: client, allowed: a, create: create, brokers: brokers}
	t.known.Store(&map[string]*topic{})
	t.mu.unknown = make(map[string]refusal)
	return t
}

// knows tells whether the topic is known to exist.
func (t *topics) knows(name string) bool {
	_, ok := (*t.known.Load())[name]
	return ok
}

// has tells whether the partition is known to exist, to the client as well.
func (t *topics) has(name string, partition int32) bool {
	is, ok := (*t.known.Load())[name]
	return ok && partition < is.loaded
}

// check returns nil if the topic can be written to. A permanent error is about
// the topic; any other is ctx's. While no broker answers it waits.
func (t *topics) check(ctx context.Context, name string) error {
	if t.knows(name) {
		return nil
	}
	return t.find(ctx, name)
}

// checkPartition is check for one partition of the topic. An answer of the brokers
// that is younger than since counts; for a new one it waits, because the topic may
// have grown.
func (t *topics) checkPartition(ctx context.Context, name string, partition int32, since time.Time) error {
	if err := t.check(ctx, name); err != nil {
		return err
	}
	is := (*t.known.Load())[name]
	if is == nil || partition < is.loaded {
		return nil // or deleted a moment ago, which the client will say
	}
	if partition >= is.partitions && !is.checked.After(since) {
		if err := pause(ctx, growthAfter-time.Since(is.checked)); err != nil {
			return err
		}
		if err := t.find(ctx, name); err != nil {
			return err
		}
	}
	if is = (*t.known.Load())[name]; is != nil && partition >= is.partitions {
		return fmt.Errorf("topic %q has no partition %d", name, partition)
	}
	if err := t.awaitLoaded(ctx, name, partition); err != nil {
		return err
	}
	t.update(name, func(is *topic) { is.loaded = max(is.loaded, partition+1) })
	return nil
}

// awaitLoaded waits until the client, which has the topic already, has the partition
// too: it refuses a record for one that it does not know, for good.
func (t *topics) awaitLoaded(ctx context.Context, name string, partition int32) error {
	cl := t.client.Load()
	// One that has no leader is there too, with an error.
	loaded := func(partition int32) bool {
		leader, _, err := cl.PartitionLeader(name, partition)
		return leader >= 0 || err != nil
	}
	// If it does not have the topic it will look all of it up.
	for loaded(0) && !loaded(partition) {
		cl.ForceMetadataRefresh()
		if err := pause(ctx, minRetry); err != nil {
			return err
		}
	}
	return nil
}

// pause waits; the error is ctx's cause.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget makes the next check ask the brokers again, after one of them has said
// that the topic does not exist.
func (t *topics) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := (*t.known.Load())[name]; ok {
		next := maps.Clone(*t.known.Load())
		delete(next, name)
		t.known.Store(&next)
	}
}

func (t *topics) find(ctx context.Context, name string) error {
	if err := t.refused(name, time.Now()); err != nil {
		return err
	}
	if !t.allowed.allows(name) {
		return fmt.Errorf("topic %q is not among topics_allowed", name)
	}
	if !topicName.MatchString(name) {
		return fmt.Errorf("%q is not a topic's name", name)
	}
	partitions, err := t.ask(ctx, name)
	switch {
	case err == nil:
		t.learn(name, partitions)
	case ctx.Err() == nil:
		t.refuse(name, err)
	}
	return err
}

func (t *topics) refused(name string, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.mu.unknown[name]
	if !ok {
		return nil
	}
	if now.After(r.until) {
		delete(t.mu.unknown, name)
		return nil
	}
	return r.err
}

func (t *topics) refuse(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.unknown) >= maxUnknown {
		clear(t.mu.unknown)
	}
	t.mu.unknown[name] = refusal{err: err, until: time.Now().Add(forgetAfter)}
}

func (t *topics) learn(name string, partitions int32) {
	t.update(name, func(is *topic) {
		if is.checked.IsZero() {
			is.loaded = partitions
		}
		is.partitions, is.checked = partitions, time.Now()
	})
}

// update changes what is known of a topic.
func (t *topics) update(name string, change func(*topic)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(*t.known.Load())
	is := topic{}
	if before := next[name]; before != nil {
		is = *before
	}
	if change(&is); is.checked.IsZero() {
		return // forgotten meanwhile
	}
	next[name] = &is
	t.known.Store(&next)
}

// ask asks until there is an answer that will not change by itself.
func (t *topics) ask(ctx context.Context, name string) (int32, error) {
	var deadline time.Time
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		partitions, err := t.request(ctx, name)
		switch {
		case err == nil:
			return partitions, nil
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			if deadline.IsZero() {
				deadline = time.Now().Add(creationPatience)
			}
			if !t.create {
				return 0, fmt.Errorf("topic %q does not exist and may not be created: create it, or set allow_auto_topic_creation: %w", name, err)
			}
			if !time.Now().Before(deadline) {
				return 0, fmt.Errorf("topic %q does not exist and the brokers do not create it: create it: %w", name, err)
			}
		case kafka.Classify(kafka.Write, err).Meaning > kafka.Temporary:
			return 0, fmt.Errorf("looking topic %q up: %w", name, err)
		}
		if err := pause(ctx, wait); err != nil {
			return 0, err
		}
	}
}

func (t *topics) request(ctx context.Context, name string) (int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = t.create
	// Brokers before 0.11 create whatever they are asked for by name.
	all := !t.create && t.brokers.Lack(kafka.NoTopicCreation)
	if !all {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, t.client.Load())
	if err != nil {
		return 0, err
	}
	if all {
		resp.Topics = slices.DeleteFunc(resp.Topics, func(rt kmsg.MetadataResponseTopic) bool { return rt.Topic == nil || *rt.Topic != name })
		if len(resp.Topics) == 0 {
			return 0, kerr.UnknownTopicOrPartition
		}
	}
	if len(resp.Topics) != 1 {
		return 0, fmt.Errorf("a broker answered with %d topics instead of one", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return 0, err
	}
	if len(resp.Topics[0].Partitions) == 0 {
		return 0, kerr.LeaderNotAvailable
	}
	return int32(len(resp.Topics[0].Partitions)), nil
}
