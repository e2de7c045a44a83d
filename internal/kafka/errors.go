package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Operation is what failed; the same error means one thing to a reader and
// another to a writer.
type Operation uint8

// The operations.
const (
	// Connect covers dialling, TLS, authentication and metadata.
	Connect Operation = 1 << iota
	// Read covers fetches, offset listings and membership in the group.
	Read
	// Write covers the delivery of one record.
	Write
	// Commit covers offset commits.
	Commit
)

// Meaning is what to do about an error. Later ones are worse.
type Meaning uint8

// The meanings.
const (
	// None: there is no error.
	None Meaning = iota
	// Cancelled: our own context ended or the client was closed; nothing is wrong
	// with the cluster.
	Cancelled
	// Temporary: trying again may help, and nothing is lost meanwhile.
	Temporary
	// Rebalancing: the commit failed because the group is moving on. The
	// checkpoint stands; what is still owned is committed with the next one.
	Rebalancing
	// OutOfRange: the partition's log does not hold the position. The reset policy
	// decides: see Reset.
	OutOfRange
	// Permanent: this record can never be delivered, others can.
	Permanent
	// Fenced: another process has taken over our identity. Going on would be two
	// at once.
	Fenced
	// Fatal: no retry heals it; somebody has to change something.
	Fatal
)

// String names the meaning.
func (m Meaning) String() string {
	names := [...]string{"none", "cancelled", "temporary", "rebalancing", "out of range", "permanent", "fenced", "fatal"}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}

// Verdict is what an error means and why, for logs.
type Verdict struct {
	Meaning Meaning
	Reason  string
}

// Classify is the one place that decides what an error means to an operation.
// What it does not know is temporary: being wrong about that costs a retry, being
// wrong the other way stops a stream. Of several joined errors the worst counts.
func Classify(op Operation, err error) Verdict {
	if err == nil {
		return Verdict{}
	}
	var verdict Verdict
	for _, rule := range rules {
		if rule.ops&op != 0 && rule.meaning > verdict.Meaning && rule.is(err) {
			verdict = Verdict{rule.meaning, rule.reason}
		}
	}
	if verdict.Meaning == None {
		return Verdict{Temporary, "not known to be final"}
	}
	return verdict
}

// rule is one line of the table.
type rule struct {
	ops     Operation
	meaning Meaning
	reason  string
	is      func(error) bool
}

const anyOperation = Connect | Read | Write | Commit

// sentinel matches any of the errors.
func sentinel(errs ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(errs, func(target error) bool { return errors.Is(err, target) })
	}
}

// typed matches an error of type E.
func typed[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// as is errors.As for a type.
func as[E error](err error) (E, bool) {
	var e E
	ok := errors.As(err, &e)
	return e, ok
}

// saying matches errors that have neither a type nor a value to know them by.
func saying(texts ...string) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(err.Error(), text) })
	}
}

var rules = []rule{
	// Ours.
	{anyOperation, Cancelled, "the operation was cancelled", sentinel(context.Canceled, kgo.ErrClientClosed)},
	{anyOperation, Temporary, "no answer in time", sentinel(context.DeadlineExceeded)},

	// Who we are, and whom we talk to.
	{anyOperation, Fatal, "the broker refused the credentials", sentinel(kerr.SaslAuthenticationFailed)},
	{anyOperation, Fatal, "the broker refused the credentials", saying("unexpected data in oauth response")},
	{Connect, Fatal, "the credentials cannot work as they are", finalCredential},
	{anyOperation, Fatal, "the broker does not offer the SASL mechanism", sentinel(kerr.UnsupportedSaslMechanism)},
	// Later it says that a session was too short: a broker lets nobody authenticate twice in a second.
	{Connect, Fatal, "the broker expects another SASL exchange", sentinel(kerr.IllegalSaslState)},
	{anyOperation, Fatal, "the broker wants authentication", sentinel(ErrUnauthenticated)},
	{anyOperation, Fatal, "a right on the cluster is missing", sentinel(kerr.ClusterAuthorizationFailed)},
	{anyOperation, Fatal, "a right on the transactional id is missing", sentinel(kerr.TransactionalIDAuthorizationFailed)},
	{anyOperation, Fatal, "a right on the group is missing", sentinel(kerr.GroupAuthorizationFailed)},
	{anyOperation, Fatal, "the broker's security is switched off", sentinel(kerr.SecurityDisabled)},
	{anyOperation, Fatal, "the broker's certificate is not trusted", typed[*tls.CertificateVerificationError]},
	{anyOperation, Fatal, "the broker's certificate is not trusted", typed[x509.UnknownAuthorityError]},
	{anyOperation, Fatal, "the broker's certificate is for another name", typed[x509.HostnameError]},
	{anyOperation, Fatal, "the broker's certificate is not valid", typed[x509.CertificateInvalidError]},
	{anyOperation, Fatal, "the broker does not speak TLS on this port", typed[tls.RecordHeaderError]},
	{anyOperation, Fatal, "the broker refused our certificate or TLS version", typed[tls.AlertError]},
	{anyOperation, Fatal, "the broker refused our certificate or TLS version", remoteTLS},
	{anyOperation, Fatal, "the broker speaks TLS on this port", saying("speaking to a tls endpoint")},
	{anyOperation, Fatal, "this is not the port of a broker", saying("the beginning of an HTTP response")},
	{anyOperation, Fatal, "the broker is too old for what is asked of it", sentinel(kerr.UnsupportedVersion)},
	{anyOperation, Fatal, "the broker is too old for what is asked of it", saying("broker is too old")},
	{anyOperation, Fatal, "the broker lacks the group protocol", sentinel(ErrGroupProtocol)},

	// What we want to read.
	{anyOperation, Fatal, "the brokers are too old for what is set", typed[*OldBrokersError]},
	{Connect | Read, Fatal, "a listed topic or partition does not exist", typed[*NotFoundError]},
	{Connect | Read | Commit, Fatal, "a right on the topic is missing", sentinel(kerr.TopicAuthorizationFailed)},
	{Connect | Read, Fatal, "the name cannot be a topic", sentinel(kerr.InvalidTopicException)},
	{Read, Fatal, "no start position and no reset policy", typed[*NoPositionError]},
	{Read, Fatal, "the log does not hold the position, and there is no reset policy", typed[*OutOfRangeError]},
	{Read, Fatal, "the log does not hold the position and there is no reset policy", typed[*OutOfRangeError]},
	{Read, OutOfRange, "the log no longer, or not yet, holds the position", sentinel(kerr.OffsetOutOfRange)},
	{Read, Temporary, "the topic was deleted or moves; discovery decides", sentinel(kerr.UnknownTopicOrPartition, kerr.UnknownTopicID)},
	{Read, Temporary, "the log was cut back behind what was read", typed[*kgo.ErrDataLoss]},

	// The group.
	{Read | Commit, Fatal, "members of the group use another way to assign partitions", sentinel(kerr.InconsistentGroupProtocol, kerr.UnsupportedAssignor)},
	{Read | Commit, Fatal, "the broker does not accept the session time-out", sentinel(kerr.InvalidSessionTimeout)},
	{Read | Commit, Fatal, "the name cannot be a group", sentinel(kerr.InvalidGroupID)},
	{Read | Commit, Fenced, "another process uses the same instance_id", sentinel(kerr.FencedInstanceID)},
	{Read | Commit, Temporary, "the previous owner of the instance_id has not left yet", sentinel(kerr.UnreleasedInstanceID)},
	{Read | Commit, Temporary, "the group is full", sentinel(kerr.GroupMaxSizeReached)},
	{Read | Commit, Rebalancing, "the group is rebalancing", sentinel(kerr.RebalanceInProgress, kerr.IllegalGeneration,
		kerr.StaleMemberEpoch, kerr.FencedMemberEpoch)},
	{Read | Commit, Rebalancing, "the group does not know this member, or has members while we are none", sentinel(kerr.UnknownMemberID)},
	{Commit, Temporary, "the topic was deleted or is not known yet", sentinel(kerr.UnknownTopicOrPartition, kerr.UnknownTopicID)},
	{Commit, Fatal, "the commit's mark is longer than the broker's offset.metadata.max.bytes: use a shorter checkpoint.job", sentinel(kerr.OffsetMetadataTooLarge)},
	{Commit, Fatal, "the group's committed offset carries a damaged mark", typed[*MarkError]},

	// One record.
	{Write, Permanent, "the record is larger than is allowed", sentinel(kerr.MessageTooLarge, kerr.RecordListTooLarge)},
	{Write, Permanent, "the broker found the record invalid", sentinel(kerr.InvalidRecord, kerr.PolicyViolation)},
	{Write, Permanent, "the record's timestamp is not accepted", sentinel(kerr.InvalidTimestamp)},
	{Write, Permanent, "the topic does not exist", sentinel(kerr.UnknownTopicOrPartition, kerr.UnknownTopicID)},
	{Write, Permanent, "the name cannot be a topic", sentinel(kerr.InvalidTopicException)},
	{Write, Permanent, "a right on the topic is missing", sentinel(kerr.TopicAuthorizationFailed)},
	{Write, Permanent, "the topic's format has no room for what the record has", sentinel(kerr.UnsupportedForMessageFormat)},
	{Write, Permanent, "the topic does not take this compression", sentinel(kerr.UnsupportedCompressionType)},
	{Write, Permanent, "the topic has no such partition", saying("invalid record partitioning choice")},
	{Write, Temporary, "not delivered within record_delivery_timeout", sentinel(kgo.ErrRecordTimeout)},
	{Write, Temporary, "not delivered within record_retries", sentinel(kgo.ErrRecordRetries)},
	{Write, Temporary, "the client gave up what it had buffered", sentinel(kgo.ErrAborting)},
	{Write, Fatal, "the broker does not accept these acks", sentinel(kerr.InvalidRequiredAcks)},
	{Write | Commit, Fenced, "another producer uses the same transactional id", sentinel(kerr.ProducerFenced, kerr.TransactionCoordinatorFenced)},
	{Write | Commit, Fenced, "the producer's epoch is old", sentinel(kerr.InvalidProducerEpoch)},
}

// remoteTLS matches an alert that the other side sent: older versions of TLS and
// of Go report it without a type.
func remoteTLS(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
