package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// Defaults of a Connection; those that Redpanda Connect has are Connect's.
const (
	DefaultClientID               = "redpanda-connect"
	DefaultMetadataMaxAge         = time.Minute
	DefaultRequestTimeoutOverhead = 10 * time.Second
	DefaultConnIdleTimeout        = 20 * time.Second
	DefaultDialTimeout            = 10 * time.Second
)

// metadataMinAge is the lower bound between two metadata requests; the client's
// own, 5s, is how long a partition would stand still after its leader moved;
// it only gives way where a shorter maximum age is asked for.
const metadataMinAge = 500 * time.Millisecond

// Connection says how the clients of one component reach their cluster. The zero
// value of a field means its default.
type Connection struct {
	// SeedBrokers are host:port addresses; a missing port is 9092.
	SeedBrokers []string
	// ClientID names the client to the brokers; default DefaultClientID.
	ClientID string
	// Rack of this process: fetches go to the closest replica. Empty = leader.
	Rack string
	// TLS is used for every connection; nil = plain text.
	TLS *tls.Config
	// SASL mechanisms, the preferred one first; none = no authentication.
	SASL []sasl.Mechanism
	// Credentials are what SASL was made of, for other services than brokers.
	Credentials []Credentials
	// MetadataMaxAge is how long the client trusts what it knows of the cluster;
	// default DefaultMetadataMaxAge.
	MetadataMaxAge time.Duration
	// RequestTimeoutOverhead is what a broker gets to answer on top of the time
	// that a request itself grants; default DefaultRequestTimeoutOverhead.
	RequestTimeoutOverhead time.Duration
	// ConnIdleTimeout closes unused connections; default DefaultConnIdleTimeout.
	ConnIdleTimeout time.Duration
	// DialTimeout bounds TCP connect and TLS handshake together; default
	// DefaultDialTimeout.
	DialTimeout time.Duration
	// Dial opens the TCP connection; nil = a net.Dialer. TLS is added to what it
	// returns.
	Dial func(ctx context.Context, network, host string) (net.Conn, error)
	// Brokers is what is known of the other side; nil = nothing, and nobody finds out.
	Brokers *Brokers
	// Logger receives what the client reports; nil = nothing.
	Logger kgo.Logger
	// Hooks observe the client.
	Hooks []kgo.Hook
}

// Options returns the options that a client of the component needs, after Learn. With
// GSSAPI they are good for one client: it closes what it authenticates with.
func (c Connection) Options() []kgo.Opt {
	age := cmp.Or(c.MetadataMaxAge, DefaultMetadataMaxAge)
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.SeedBrokers...),
		kgo.ClientID(cmp.Or(c.ClientID, DefaultClientID)),
		kgo.SoftwareNameAndVersion("tidemark", "v1"),
		kgo.MetadataMaxAge(age),
		kgo.MetadataMinAge(min(age, metadataMinAge)),
		kgo.RequestTimeoutOverhead(cmp.Or(c.RequestTimeoutOverhead, DefaultRequestTimeoutOverhead)),
		kgo.ConnIdleTimeout(cmp.Or(c.ConnIdleTimeout, DefaultConnIdleTimeout)),
		kgo.Dialer(c.dialer()),
		kgo.RetryBackoffFn(backoff),
	}
	if c.Rack != "" {
		opts = append(opts, kgo.Rack(c.Rack))
	}
	if len(c.SASL) > 0 {
		opts = append(opts, kgo.SASL(forClients(c.SASL)...))
	}
	if c.Logger != nil {
		opts = append(opts, kgo.WithLogger(c.Logger))
	}
	hooks := c.Hooks
	if c.Brokers != nil {
		hooks = append(slices.Clip(hooks), c.Brokers)
	}
	if len(hooks) > 0 {
		opts = append(opts, kgo.WithHooks(hooks...))
	}
	return append(opts, c.Brokers.options()...)
}

// maxBackoff bounds the pause between two tries of a request. The client's own
// bound, 5s, is how long a stream would stand still after the broker is back.
const maxBackoff = time.Second

// backoff doubles from 100ms, with a tenth of jitter, so that many clients do not
// come back at once.
func backoff(fails int) time.Duration {
	pause := min(50*time.Millisecond<<min(max(fails, 1), 10), maxBackoff)
	return pause - pause/20 + time.Duration(rand.Int64N(int64(pause/10)))
}

// RideOut returns the options of clients that carry records, once a Probe has
// shown that the configuration is right: from then on a connection that is closed
// without a word, as a load balancer without a broker behind it does, is an outage
// and not a mistake.
func RideOut() []kgo.Opt { return []kgo.Opt{kgo.AlwaysRetryEOF()} }

// NewClient makes a client of the connection's options and opts. It does not
// connect: see Probe.
func (c Connection) NewClient(opts ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append(c.Options(), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	return cl, nil
}

func (c Connection) dialer() func(ctx context.Context, network, host string) (net.Conn, error) {
	dial, timeout := c.Dial, cmp.Or(c.DialTimeout, DefaultDialTimeout)
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, network, host)
		if err != nil || c.TLS == nil {
			return conn, err
		}
		return secure(ctx, conn, c.TLS, host)
	}
}

// secure runs the TLS handshake here rather than at the first write, so that a
// wrong certificate is a failed connection with its cause and not a broken pipe.
func secure(ctx context.Context, conn net.Conn, conf *tls.Config, host string) (net.Conn, error) {
	if conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = host
		if name, _, err := net.SplitHostPort(host); err == nil {
			conf.ServerName = name
		}
	}
	secured := tls.Client(conn, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, fmt.Errorf("shaking hands over TLS with %s: %w", host, err)
	}
	return secured, nil
}
