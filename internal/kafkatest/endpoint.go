package kafkatest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience bounds each broker operation of this package.
const patience = time.Minute

// Endpoint is something that speaks Kafka: a Cluster, a Broker, a Proxy, or what
// At names.
type Endpoint interface {
	// Seeds returns host:port addresses to connect to.
	Seeds() []string
	// ClientOptions returns what a client must be made with: the seeds, and in a
	// bubble the dialer.
	ClientOptions() []kgo.Opt

	network() network
}

// network is how connections to an endpoint are made.
type network struct {
	// dial connects to a broker.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// listen opens a port that clients of the same endpoint can reach.
	listen func() (net.Listener, error)
	// options are those that its clients need besides the addresses.
	options []kgo.Opt
}

// tcp is the network of everything outside a bubble.
func tcp() network {
	return network{
		dial:   new(net.Dialer).DialContext,
		listen: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
	}
}

// address is an endpoint that somebody else runs.
type address []string

// At names brokers that somebody else runs, by host:port.
func At(seeds ...string) Endpoint { return address(seeds) }

func (a address) Seeds() []string          { return a }
func (a address) ClientOptions() []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(a...)} }
func (a address) network() network         { return tcp() }

// Client returns a client of e that is closed at the end of the test. Options
// given here win over the endpoint's.
func Client(t testing.TB, e Endpoint, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(e.ClientOptions(), opts...)...)
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}
	t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// Admin returns an admin client of e that is closed at the end of the test.
func Admin(t testing.TB, e Endpoint) *kadm.Client {
	t.Helper()
	return kadm.NewClient(Client(t, e))
}

func newAdmin(e Endpoint, opts ...kgo.Opt) (*kadm.Client, error) {
	cl, err := kgo.NewClient(append(e.ClientOptions(), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return kadm.NewClient(cl), nil
}

// Unique returns a name that no other test uses, for groups, topics and
// transactional ids: the test's own name and a random suffix.
func Unique(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, t.Name())
	return name[:min(len(name), 200)] + "-" + rand.Text()[:8]
}

// withAdmin runs fn with an admin client and a context of patience.
func withAdmin(t testing.TB, e Endpoint, doing string, fn func(context.Context, *kadm.Client) error) {
	t.Helper()
	withClient(t, e, doing, func(ctx context.Context, cl *kgo.Client) error { return fn(ctx, kadm.NewClient(cl)) })
}

// withClient is withAdmin for requests that the admin client has not, or gets wrong.
func withClient(t testing.TB, e Endpoint, doing string, fn func(context.Context, *kgo.Client) error) {
	t.Helper()
	// What was just created would else be waited for as long as the client trusts what it knows.
	cl, err := kgo.NewClient(append(e.ClientOptions(), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		t.Fatalf("%s: making a client: %v", doing, err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := fn(ctx, cl); err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}
