package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Committed is a group's committed offset.
type Committed struct {
	Position
	// Metadata is the text that was committed along with it; see ParseMark.
	Metadata string
}

// CommitError says which partitions were not committed. Those that it does not
// name were.
type CommitError struct {
	Group      string
	Partitions map[Partition]error
}

// Error implements error.
func (e *CommitError) Error() string {
	texts := make(map[string][]Partition)
	for p, err := range e.Partitions {
		texts[err.Error()] = append(texts[err.Error()], p)
	}
	var parts []string
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		parts = append(parts, names(texts[text])+": "+text)
	}
	return fmt.Sprintf("committing offsets of group %q: %s", e.Group, strings.Join(parts, "; "))
}

// Unwrap gives the causes, in the order of the partitions.
func (e *CommitError) Unwrap() []error {
	errs := make([]error, 0, len(e.Partitions))
	for _, p := range sorted(e.Partitions) {
		errs = append(errs, e.Partitions[p])
	}
	return errs
}

func sorted[V any](m map[Partition]V) []Partition {
	return slices.SortedFunc(maps.Keys(m), Partition.Compare)
}

// FetchCommitted reads what a group has committed for the partitions; one without
// a commit is not in the answer. It waits, as long as ctx lasts, for transactions
// that are about to commit offsets: an unstable answer may be taken back.
func FetchCommitted(ctx context.Context, cl *kgo.Client, group string, parts []Partition) (map[Partition]Committed, error) {
	return fetchAll(ctx, cl, group, parts, true)
}

// LookCommitted is FetchCommitted with what is committed now, whatever transactions are
// about to commit.
func LookCommitted(ctx context.Context, cl *kgo.Client, group string, parts []Partition) (map[Partition]Committed, error) {
	return fetchAll(ctx, cl, group, parts, false)
}

func fetchAll(ctx context.Context, cl *kgo.Client, group string, parts []Partition, stable bool) (map[Partition]Committed, error) {
	committed := make(map[Partition]Committed, len(parts))
	if len(parts) == 0 {
		return committed, nil
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	req.RequireStable = stable
	for topic, ids := range byTopic(parts) {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, ids
		req.Topics = append(req.Topics, t)
	}
	for {
		err := fetchCommitted(ctx, cl, req, committed)
		if err == nil {
			return committed, nil
		}
		err = fmt.Errorf("fetching committed offsets of group %q: %w", group, err)
		if Classify(Read, err).Meaning != Temporary {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-time.After(offsetsRetry):
		}
	}
}

func fetchCommitted(ctx context.Context, cl *kgo.Client, req *kmsg.OffsetFetchRequest, into map[Partition]Committed) error {
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if err := groupError(resp.ErrorCode); err != nil {
		return err
	}
	found, err := CommittedOf(resp)
	if err != nil {
		return err
	}
	clear(into)
	maps.Copy(into, found)
	return nil
}

// groupError is the error of a code; a group that does not exist yet is none, it
// has committed nothing.
func groupError(code int16) error {
	if code == kerr.GroupIDNotFound.Code {
		return nil
	}
	return kerr.ErrorForCode(code)
}

// CommittedOf reads the answer to an OffsetFetch for one group. A partition without
// a commit is left out; those with an error are in the error, by name.
func CommittedOf(resp *kmsg.OffsetFetchResponse) (map[Partition]Committed, error) {
	found := make(map[Partition]Committed)
	add := func(p Partition, code int16, c Committed, metadata *string) error {
		if err := kerr.ErrorForCode(code); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if metadata != nil {
			c.Metadata = *metadata
		}
		if c.Offset >= 0 {
			found[p] = c
		}
		return nil
	}
	var errs []error
	for _, t := range resp.Topics { // brokers before 3.0
		for _, p := range t.Partitions {
			errs = append(errs, add(Partition{t.Topic, p.Partition}, p.ErrorCode, Committed{Position: Position{p.Offset, p.LeaderEpoch}}, p.Metadata))
		}
	}
	for _, g := range resp.Groups {
		errs = append(errs, groupError(g.ErrorCode))
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, add(Partition{t.Topic, p.Partition}, p.ErrorCode, Committed{Position: Position{p.Offset, p.LeaderEpoch}}, p.Metadata))
			}
		}
	}
	return found, errors.Join(errs...)
}

// CommitStatic commits for a group that cl is no member of, which works as long
// as the group has no members at all. Partitions that failed are in a CommitError.
func CommitStatic(ctx context.Context, cl *kgo.Client, group string, offsets map[Partition]Committed) error {
	if len(offsets) == 0 {
		return nil
	}
	var req kadm.Offsets
	for p, c := range offsets {
		req.Add(kadm.Offset{Topic: p.Topic, Partition: p.ID, At: c.Offset, LeaderEpoch: c.LeaderEpoch, Metadata: c.Metadata})
	}
	resp, err := kadm.NewClient(cl).CommitOffsets(ctx, group, req)
	if err != nil {
		return fmt.Errorf("committing offsets of group %q: %w", group, err)
	}
	failed := &CommitError{Group: group, Partitions: make(map[Partition]error)}
	for p := range offsets {
		switch r, ok := resp.Lookup(p.Topic, p.ID); {
		case !ok:
			failed.Partitions[p] = errUnanswered
		case r.Err != nil:
			failed.Partitions[p] = r.Err
		}
	}
	return failed.orNil()
}

var errUnanswered = errors.New("the broker left it out of its answer")

func (e *CommitError) orNil() error {
	if len(e.Partitions) == 0 {
		return nil
	}
	return e
}

// CommitGroup commits as the group member that cl is, under the generation that it
// has when the request leaves. It may be called in the revoked callback. It
// returns when the request was answered: ctx can keep it from being sent, and a
// request under way is better not cancelled (the connection would be closed, and
// the broker may process it nevertheless). Partitions that failed are in a
// CommitError.
func CommitGroup(ctx context.Context, cl *kgo.Client, offsets map[Partition]Committed) error {
	if len(offsets) == 0 {
		return nil
	}
	epochs := make(map[string]map[int32]kgo.EpochOffset)
	for p, c := range offsets {
		if epochs[p.Topic] == nil {
			epochs[p.Topic] = make(map[int32]kgo.EpochOffset)
		}
		epochs[p.Topic][p.ID] = kgo.EpochOffset{Epoch: c.LeaderEpoch, Offset: c.Offset}
	}
	group, _ := cl.OptValue(kgo.ConsumerGroup).(string)
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		setMetadata(req, offsets)
		return nil
	})
	var failed error
	cl.CommitOffsetsSync(ctx, epochs, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = fmt.Errorf("committing offsets of group %q: %w", group, err)
			return
		}
		failed = commitFailures(group, offsets, req, resp)
	})
	return failed
}

func setMetadata(req *kmsg.OffsetCommitRequest, offsets map[Partition]Committed) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			p.Metadata = kmsg.StringPtr(offsets[Partition{t.Topic, p.Partition}].Metadata)
		}
	}
}

// commitFailures finds the partitions that were not committed, also those that
// the answer does not mention.
func commitFailures(group string, offsets map[Partition]Committed, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) error {
	topics := make(map[[16]byte]string) // newer answers name topics by id only
	for _, t := range req.Topics {
		topics[t.TopicID] = t.Topic
	}
	failed := &CommitError{Group: group, Partitions: make(map[Partition]error)}
	for p := range offsets {
		failed.Partitions[p] = errUnanswered
	}
	for _, t := range resp.Topics {
		name := t.Topic
		if name == "" {
			name = topics[t.TopicID]
		}
		for _, p := range t.Partitions {
			part := Partition{name, p.Partition}
			delete(failed.Partitions, part)
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed.Partitions[part] = err
			}
		}
	}
	return failed.orNil()
}
