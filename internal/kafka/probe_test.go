package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func client(t *testing.T, c kafka.Connection, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := c.NewClient(opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func credentials(t *testing.T, c kafka.Credentials) []sasl.Mechanism {
	t.Helper()
	m, err := c.SASL()
	require.NoError(t, err)
	return []sasl.Mechanism{m}
}

// deafAddress is a port that accepts connections and does with them what handle
// says.
func deafAddress(t *testing.T, handle func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return l.Addr().String()
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// certificate is one that nobody has signed.
func certificate(t *testing.T, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func trusting(t *testing.T, c tls.Certificate) *tls.Config {
	parsed, err := x509.ParseCertificate(c.Certificate[0])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestProbe(t *testing.T) {
	plain := kafkatest.Fake(t).Seeds()[0]
	user := kfake.Superuser("SCRAM-SHA-256", "u", "p")
	secured := kafkatest.Fake(t, kfake.EnableSASL(), user, kfake.Superuser("PLAIN", "u", "p")).Seeds()[0]
	cert := certificate(t, "localhost")
	encrypted := kafkatest.Fake(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}})).Seeds()[0]
	dead := freeAddress(t)
	hangsUp := deafAddress(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); _ = c.Close() })
	web := deafAddress(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); _ = c.Close() })
	for _, test := range []struct {
		name string
		conn kafka.Connection
		want kafka.Meaning
		says []string
	}{
		{"good", kafka.Connection{SeedBrokers: []string{plain}}, kafka.None, nil},
		{"one of two", kafka.Connection{SeedBrokers: []string{dead, plain}}, kafka.None, nil},
		{"good user", kafka.Connection{SeedBrokers: []string{secured}, SASL: credentials(t, kafka.Credentials{Mechanism: "SCRAM-SHA-256", Username: "u", Password: "p"})}, kafka.None, nil},
		{"good certificate", kafka.Connection{SeedBrokers: []string{encrypted}, TLS: trusting(t, cert)}, kafka.None, nil},
		{"dead port", kafka.Connection{SeedBrokers: []string{dead}}, kafka.Temporary, []string{dead, "connection refused"}},
		{"two dead ports", kafka.Connection{SeedBrokers: []string{dead, hangsUp}}, kafka.Temporary, []string{dead, hangsUp}},
		{"unknown host", kafka.Connection{SeedBrokers: []string{"nobody.invalid:9092"}}, kafka.Temporary, []string{"nobody.invalid"}},
		{"hangs up", kafka.Connection{SeedBrokers: []string{hangsUp}}, kafka.Temporary, []string{"is TLS missing?"}},
		{"hangs up on a user", kafka.Connection{SeedBrokers: []string{hangsUp}, SASL: credentials(t, kafka.Credentials{Mechanism: "PLAIN", Username: "u", Password: "p"})}, kafka.Temporary, []string{"is TLS missing?"}},
		{"not Kafka", kafka.Connection{SeedBrokers: []string{web}}, kafka.Fatal, []string{"HTTP"}},
		{"bad password", kafka.Connection{SeedBrokers: []string{secured}, SASL: credentials(t, kafka.Credentials{Mechanism: "PLAIN", Username: "u", Password: "wrong"})}, kafka.Fatal, []string{secured, "check `sasl.username` and `sasl.password`"}},
		{"bad SCRAM password", kafka.Connection{SeedBrokers: []string{secured}, SASL: credentials(t, kafka.Credentials{Mechanism: "SCRAM-SHA-256", Username: "u", Password: "wrong"})}, kafka.Fatal, []string{secured}},
		{"other mechanism", kafka.Connection{SeedBrokers: []string{secured}, SASL: credentials(t, kafka.Credentials{Mechanism: "OAUTHBEARER", Token: "secret-token"})}, kafka.Fatal, []string{"UNSUPPORTED_SASL_MECHANISM"}},
		{"no user", kafka.Connection{SeedBrokers: []string{secured}}, kafka.Fatal, []string{secured, "check `sasl`"}},
		{"certificate of nobody", kafka.Connection{SeedBrokers: []string{encrypted}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, kafka.Fatal, []string{encrypted, "certificate"}},
		{"certificate of another", kafka.Connection{SeedBrokers: []string{encrypted}, TLS: func() *tls.Config { c := trusting(t, cert); c.ServerName = "other"; return c }()}, kafka.Fatal, []string{"other"}},
		{"plain to TLS", kafka.Connection{SeedBrokers: []string{encrypted}}, kafka.Temporary, []string{"is TLS missing?"}},
		{"TLS to plain", kafka.Connection{SeedBrokers: []string{web}, TLS: trusting(t, cert)}, kafka.Fatal, []string{"first record does not look like a TLS handshake"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			err := kafka.Probe(context.Background(), client(t, test.conn))
			assert.Less(t, time.Since(start), 10*time.Second)
			verdict := kafka.Classify(kafka.Connect, err)
			assert.Equal(t, test.want, verdict.Meaning, "%v: %v", verdict, err)
			for _, says := range test.says {
				assert.ErrorContains(t, err, says)
			}
			if err != nil {
				assert.NotContains(t, err.Error(), "secret-token")
			}
		})
	}
}

// TestProbeIsBoundedInTime has a broker that accepts connections and never says a
// word.
func TestProbeIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}
		cl, err := kafka.Connection{SeedBrokers: []string{"silent:9092", "silent:9093"}, Dial: silent}.NewClient()
		require.NoError(t, err)
		defer cl.Close()
		start := time.Now()
		err = kafka.Probe(context.Background(), cl)
		assert.LessOrEqual(t, time.Since(start), kafka.ProbeTimeout)
		assert.ErrorContains(t, err, "connecting to silent:9093: no answer in")
		assert.Equal(t, kafka.Temporary, kafka.Classify(kafka.Connect, err).Meaning)
	})
}

func TestDialTimeoutBoundsTheHandshake(t *testing.T) {
	silent := deafAddress(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	start := time.Now()
	cl := client(t, kafka.Connection{SeedBrokers: []string{silent}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, DialTimeout: 200 * time.Millisecond})
	err := kafka.Probe(context.Background(), cl)
	assert.ErrorContains(t, err, "shaking hands over TLS with "+silent)
	assert.Less(t, time.Since(start), 5*time.Second)
}

func TestConnectionOptionsReachTheBroker(t *testing.T) {
	c := kafkatest.Fake(t)
	conn := kafka.Connection{SeedBrokers: c.Seeds(), Rack: "r1"}
	cl := client(t, conn)
	for opt, want := range map[string]any{
		"ClientID": kafka.DefaultClientID, "Rack": "r1", "MetadataMaxAge": time.Minute, "ConnIdleTimeout": 20 * time.Second, "RequestTimeoutOverhead": 10 * time.Second,
	} {
		assert.Equal(t, want, cl.OptValue(opt), opt)
	}
	client(t, kafka.Connection{SeedBrokers: c.Seeds(), MetadataMaxAge: 20 * time.Millisecond})
	_, err := kafka.Connection{SeedBrokers: c.Seeds(), MetadataMaxAge: 2 * time.Hour}.NewClient()
	assert.ErrorContains(t, err, "configuring the Kafka client")
}

func TestRequireConsumerProtocol(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		assert.NoError(t, kafka.RequireConsumerProtocol(bounded(t), kafkatest.Client(t, e), kafkatest.Unique(t)))
	})
	old := kafkatest.Fake(t, kfake.MaxVersions(kversion.V3_6_0()))
	err := kafka.RequireConsumerProtocol(bounded(t), kafkatest.Client(t, old), "g")
	assert.ErrorIs(t, err, kafka.ErrGroupProtocol)
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Connect, err).Meaning)

	off := kafkatest.Fake(t)
	off.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return resp, nil, true
	})
	err = kafka.RequireConsumerProtocol(bounded(t), kafkatest.Client(t, off), "g")
	assert.ErrorIs(t, err, kafka.ErrGroupProtocol, "the broker knows the request, the protocol is switched off")
}
