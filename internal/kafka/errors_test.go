package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

func TestClassify(t *testing.T) {
	const every = kafka.Connect | kafka.Read | kafka.Write | kafka.Commit
	for _, test := range []struct {
		ops  kafka.Operation
		want kafka.Meaning
		errs []error
	}{
		{every, kafka.None, []error{nil}},
		{every, kafka.Cancelled, []error{context.Canceled, kgo.ErrClientClosed}},
		{every, kafka.Temporary, []error{
			context.DeadlineExceeded, io.EOF, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, &net.DNSError{IsNotFound: true},
			kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotEnoughReplicas, kerr.KafkaStorageError,
			kerr.RequestTimedOut, kerr.UnknownServerError, errors.New("never seen before"),
		}},
		{every, kafka.Fatal, []error{
			kerr.SaslAuthenticationFailed, fmt.Errorf("%w: said the broker", kerr.SaslAuthenticationFailed), kerr.UnsupportedSaslMechanism, kerr.ClusterAuthorizationFailed, kerr.GroupAuthorizationFailed,
			kerr.TransactionalIDAuthorizationFailed, kerr.UnsupportedVersion, kafka.ErrUnauthenticated, kafka.ErrGroupProtocol,
			&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, tls.RecordHeaderError{}, &net.OpError{Op: "remote error", Err: tls.AlertError(42)},
		}},
		{kafka.Read | kafka.Connect, kafka.Fatal, []error{
			kerr.TopicAuthorizationFailed, kerr.InvalidTopicException, &kafka.NotFoundError{}}},
		{kafka.Read, kafka.Fatal, []error{&kafka.NoPositionError{}, &kafka.OutOfRangeError{}, kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout}},
		{kafka.Read, kafka.OutOfRange, []error{kerr.OffsetOutOfRange}},
		{kafka.Read | kafka.Commit, kafka.Temporary, []error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.UnreleasedInstanceID, kerr.GroupMaxSizeReached}},
		{kafka.Read | kafka.Commit, kafka.Rebalancing, []error{
			kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch}},
		{kafka.Read | kafka.Commit, kafka.Fenced, []error{kerr.FencedInstanceID}},
		{kafka.Commit, kafka.Fatal, []error{kerr.TopicAuthorizationFailed, kerr.OffsetMetadataTooLarge, &kafka.MarkError{}}},
		{kafka.Write, kafka.Permanent, []error{
			kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.PolicyViolation, kerr.InvalidTimestamp, kerr.UnknownTopicOrPartition,
			kerr.TopicAuthorizationFailed, kerr.InvalidTopicException, kerr.UnsupportedForMessageFormat, errors.New("invalid record partitioning choice of 9 from 3 available")}},
		{kafka.Write, kafka.Temporary, []error{kgo.ErrRecordTimeout, kgo.ErrRecordRetries, kgo.ErrAborting, kerr.OutOfOrderSequenceNumber}},
		{kafka.Write, kafka.Fatal, []error{kerr.InvalidRequiredAcks}},
		{kafka.Write | kafka.Commit, kafka.Fenced, []error{kerr.ProducerFenced, kerr.InvalidProducerEpoch}},
	} {
		for _, op := range []kafka.Operation{kafka.Connect, kafka.Read, kafka.Write, kafka.Commit} {
			if test.ops&op == 0 {
				continue
			}
			for _, err := range test.errs {
				verdict := kafka.Classify(op, err)
				assert.Equal(t, test.want, verdict.Meaning, "%v, operation %d: %s, because %s", err, op, verdict.Meaning, verdict.Reason)
				if err != nil {
					assert.NotEmpty(t, verdict.Reason)
					assert.Equal(t, test.want, kafka.Classify(op, fmt.Errorf("doing something: %w", err)).Meaning)
				}
			}
		}
	}
}

func TestClassifyTakesTheWorstOfJoinedErrors(t *testing.T) {
	err := errors.Join(io.EOF, kerr.SaslAuthenticationFailed, context.Canceled)
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Connect, err).Meaning)
	failed := &kafka.CommitError{Group: "g", Partitions: map[kafka.Partition]error{
		{Topic: "a"}: kerr.UnknownTopicOrPartition, {Topic: "b"}: kerr.IllegalGeneration}}
	assert.Equal(t, kafka.Rebalancing, kafka.Classify(kafka.Commit, failed).Meaning)
	assert.ErrorContains(t, failed, `a/0: UNKNOWN_TOPIC_OR_PARTITION`)
}

func TestMeaningsHaveNames(t *testing.T) {
	for m := kafka.None; m <= kafka.Fatal; m++ {
		assert.NotEqual(t, "unknown", m.String())
	}
	assert.Equal(t, "unknown", kafka.Meaning(99).String())
}
