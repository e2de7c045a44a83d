package kafkatest

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is a Kafka in this process. The methods of kfake's cluster create and
// move topics, add and remove brokers, and inject answers; see Fail and Hold for
// the usual ones.
//
// What it does not do like Kafka: a kill aborts open transactions, LogAppendTime
// is ignored, there is no GSSAPI or OAUTHBEARER and no fetching from followers.
// Records that it refuses for their old producer epoch begin a transaction with nothing in
// it, and a leader epoch without a record makes it deny all older ones, so that consumers
// begin anew.
type Cluster struct {
	*kfake.Cluster

	net  network
	virt *kfake.VirtualNetwork

	mu struct {
		sync.Mutex
		requests map[kmsg.Key]int
	}
}

var _ Endpoint = (*Cluster)(nil)

// Fake starts a cluster of one broker on a free local port, closed at the end of
// the test. Options are kfake's, for example kfake.NumBrokers, kfake.DataDir or
// kfake.EnableSASL, and win over these defaults.
func Fake(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := &Cluster{net: tcp()}
	c.start(t, append([]kfake.Opt{kfake.NumBrokers(1)}, opts...))
	return c
}

// Virtual starts a cluster of one broker inside a testing/synctest bubble, on a
// network without sockets, so that the bubble's clock can move. Clients need the
// dialer in ClientOptions. More brokers: kfake.Ports(9092, 9093). A second cluster in the
// same bubble needs ports 100 away, and a kfake.ClusterID.
func Virtual(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := &Cluster{virt: new(kfake.VirtualNetwork)}
	ports := &portCounter{}
	c.net = network{
		dial:   c.virt.DialContext,
		listen: func() (net.Listener, error) { return c.virt.Listen("tcp", ports.address()) },
	}
	c.start(t, append([]kfake.Opt{kfake.Ports(9092), kfake.ListenFn(c.virt.Listen)}, opts...))
	// Proxies of two clusters in one bubble are told apart by their ports, too.
	_, port, _ := net.SplitHostPort(c.ListenAddrs()[0])
	first, _ := strconv.Atoi(port)
	ports.next = 20000 + first
	return c
}

func (c *Cluster) start(t testing.TB, opts []kfake.Opt) {
	t.Helper()
	k, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatalf("starting a cluster in this process: %v", err)
	}
	t.Cleanup(k.Close)
	c.Cluster = k
	c.mu.requests = map[kmsg.Key]int{}
	k.ControlKey(-1, func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.mu.requests[kmsg.Key(r.Key())]++
		return nil, nil, false
	})
}

// Seeds implements Endpoint.
func (c *Cluster) Seeds() []string { return c.ListenAddrs() }

// ClientOptions implements Endpoint.
func (c *Cluster) ClientOptions() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(c.Seeds()...), kgo.Dialer(c.Dial)}
}

// Dial connects to one of the cluster's brokers; it is the dialer for clients
// that are not made from ClientOptions.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return c.net.dial(ctx, network, address)
}

// Count returns how many requests of a key the cluster has got, those left out
// that a ControlKey function of the test answered. Who sent them is what a Proxy
// can tell.
func (c *Cluster) Count(key kmsg.Key) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.requests[key]
}

func (c *Cluster) network() network { return c.net }

// portCounter gives out ports of a network that nobody else is on.
type portCounter struct {
	mu   sync.Mutex
	next int
}

func (p *portCounter) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return "localhost:" + strconv.Itoa(p.next)
}
