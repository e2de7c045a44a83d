package kafka

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Brokers is what the brokers of a connection can do: as their version was stated, or as
// Connection.Learn finds out. All clients of a connection share it. Of nil, and until
// something is known, the answer is that they can do everything. It is safe for concurrent use.
type Brokers struct {
	mu sync.Mutex
	// can is nil until it is known.
	can *kversion.Versions
	// name is the version, for messages.
	name string
	// mute brokers do not say what they can do, so that clients have to be told.
	mute bool
}

var _ kgo.HookNewClient = (*Brokers)(nil)

// versionText is a version of Kafka as it may be stated.
var versionText = regexp.MustCompile(`^v?(\d+)(\.\d+){0,3}$`)

// ParseBrokers reads a version such as 0.8.2, 0.10.1 or 2.8. Empty text is a version that is
// not known yet.
func ParseBrokers(text string) (*Brokers, error) {
	if text == "" {
		return &Brokers{}, nil
	}
	if !versionText.MatchString(text) {
		return nil, fmt.Errorf("%q is not a version of Kafka: use one such as \"0.8.2\", \"0.10.1\" or \"2.8\"", text)
	}
	var n [4]int
	for i, part := range strings.Split(strings.TrimPrefix(text, "v"), ".") {
		n[i], _ = strconv.Atoi(part) // as long as it is digits, too many of them are a new version
	}
	switch {
	case n[0] == 0 && n[1] < 8:
		return nil, fmt.Errorf("%q is not a version of Kafka that can be used: the oldest is \"0.8.2\"; put quotes around it, YAML takes 0.10 for 0.1", text)
	case n[0] == 0 && n[1] == 8 && strings.Count(text, ".") > 1 && n[2] < 2:
		return nil, fmt.Errorf("%q cannot be used: the oldest version that can be is \"0.8.2\"", text)
	case n[0] == 0 && n[1] == 8:
		return &Brokers{can: before09(), name: "0.8.2", mute: true}, nil
	case n[0] == 0 && n[1] == 9:
		return &Brokers{can: kversion.V0_9_0(), name: "0.9.0", mute: true}, nil
	}
	name := fmt.Sprintf("%d.%d", n[0], n[1])
	if n[0] == 0 {
		name = fmt.Sprintf("0.%d.%d", n[1], n[2])
	}
	can := kversion.FromString("v" + name)
	if can == nil {
		can = kversion.Tip() // a version that the client does not know yet
	}
	return &Brokers{can: can, name: name}, nil
}

// before09 is what brokers of 0.8.2 can do. The table has requests of groups as well, which
// they answer by closing the connection, for ever.
func before09() *kversion.Versions {
	v := kversion.V0_8_2()
	v.SetMaxKeyVersion(kmsg.JoinGroup.Int16(), -1)
	v.SetMaxKeyVersion(kmsg.Heartbeat.Int16(), -1)
	return v
}

// OnNewClient implements kgo.HookNewClient: clients carry what is known of their brokers.
func (b *Brokers) OnNewClient(*kgo.Client) {}

// brokersOf returns what is known of the brokers of a client that a Connection has made.
func brokersOf(cl *kgo.Client) *Brokers {
	hooks, _ := cl.OptValue(kgo.WithHooks).([]kgo.Hook)
	for _, h := range hooks {
		if b, ok := h.(*Brokers); ok {
			return b
		}
	}
	return nil
}

// known tells whether the version is.
func (b *Brokers) known() bool {
	if b == nil {
		return true // nobody wants to know
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.can != nil
}

// Mute tells that the brokers do not say what they can do.
func (b *Brokers) Mute() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mute
}

// learnt notes what was found out, unless somebody was first.
func (b *Brokers) learnt(can *kversion.Versions, name string, mute bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.can == nil {
		b.can, b.name, b.mute = can, name, mute
	}
}

// options returns what clients must be told. Those of brokers that say what they can do are
// told nothing: the table of a version knows less than the brokers.
func (b *Brokers) options() []kgo.Opt {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mute {
		return nil
	}
	return []kgo.Opt{kgo.MaxVersions(b.can)}
}

// Version names the version; empty if it is not known.
func (b *Brokers) Version() string {
	if b == nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.name
}

// Feature is something that brokers can do from a version on.
type Feature struct {
	// Since is the version.
	Since string
	// Brokers have it if they know the version of the request.
	request kmsg.Key
	version int16
}

// What some brokers lack.
var (
	Groups          = Feature{"0.9", kmsg.JoinGroup, 0}
	Timestamps      = Feature{"0.10", kmsg.Produce, 2}
	SASLHandshake   = Feature{"0.10", kmsg.SASLHandshake, 0}
	Lz4             = Feature{"0.10", kmsg.Produce, 2}
	OffsetsByTime   = Feature{"0.10.1", kmsg.ListOffsets, 1}
	LargeRecords    = Feature{"0.10.1", kmsg.Fetch, 3}
	RebalanceTime   = Feature{"0.10.1", kmsg.JoinGroup, 1}
	Headers         = Feature{"0.11", kmsg.Produce, 3}
	Idempotence     = Feature{"0.11", kmsg.InitProducerID, 0}
	NoTopicCreation = Feature{"0.11", kmsg.Metadata, 4}
	Zstd            = Feature{"2.1", kmsg.Produce, 7}
	StaticMembers   = Feature{"2.3", kmsg.JoinGroup, 5}
	MemberCommits   = Feature{"2.5", kmsg.TxnOffsetCommit, memberVersion}
	// ConsumerGroups are in 3.7 to 3.9 as well, not for use yet: see RequireConsumerProtocol.
	ConsumerGroups = Feature{"4.0", kmsg.ConsumerGroupHeartbeat, 0}
)

// Lack tells that the brokers are known not to have a feature.
func (b *Brokers) Lack(f Feature) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.can == nil {
		return false
	}
	most, ok := b.can.LookupMaxKeyVersion(f.request.Int16())
	return !ok || most < f.version
}

// Requirement is a setting that some brokers cannot fulfil.
type Requirement struct {
	// Setting is the field, with its value.
	Setting string
	Feature Feature
	// Remedy is what to do instead of using newer brokers.
	Remedy string
}

// transactions are what both of those who write them require.
var transactions = Requirement{"delivery is exactly_once or checkpoint.store.topic is set", MemberCommits, "use at_least_once, and checkpoint.store.directory or none"}

// StoreTopic is what a store in a topic requires.
var StoreTopic = Requirement{"checkpoint.store.topic is set", MemberCommits, "use checkpoint.store.directory, or none"}

// OldBrokersError says that brokers are too old for a setting.
type OldBrokersError struct {
	Requirement
	// Version that the brokers are of.
	Version string
}

// Error implements error.
func (e *OldBrokersError) Error() string {
	return fmt.Sprintf("%s, which needs brokers of version %s or newer, and these are of version %s: %s", e.Setting, e.Feature.Since, e.Version, e.Remedy)
}

// Meet returns an *OldBrokersError for each of the requirements that the brokers do not meet.
func (b *Brokers) Meet(rs ...Requirement) error {
	var errs []error
	for _, r := range rs {
		if b.Lack(r.Feature) {
			errs = append(errs, &OldBrokersError{r, b.Version()})
		}
	}
	return errors.Join(errs...)
}
