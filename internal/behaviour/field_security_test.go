package behaviour

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// pair is a certificate that signs itself, with its key, as PEM.
type pair struct{ cert, key, locked string }

const keyPassword = "correct horse"

func newPair(t *testing.T) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	locked, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", keyDER, []byte(keyPassword), x509.PEMCipherAES256) //nolint:staticcheck // The field is for such keys.
	require.NoError(t, err)
	return pair{
		cert:   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:    string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})),
		locked: string(pem.EncodeToMemory(locked)),
	}
}

func (p pair) tls(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(p.cert), []byte(p.key))
	require.NoError(t, err)
	return c
}

func (p pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(p.cert))
	return pool
}

// guarded is a cluster that the helpers of other tests cannot talk to, with one
// record in topic "in".
func guarded(t *testing.T, client []kgo.Opt, opts ...kfake.Opt) *kafkatest.Cluster {
	t.Helper()
	c := kafkatest.Fake(t, append(opts, kfake.SeedTopics(1, "in", "out"))...)
	cl, err := kgo.NewClient(append(client, kgo.SeedBrokers(c.Seeds()...))...)
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.ProduceSync(context.Background(), &kgo.Record{Topic: "in", Value: []byte("0/0")}).FirstErr())
	return c
}

// moves tells that a pipeline with the fields reads the record of a guarded
// cluster and writes it again.
func moves(t *testing.T, c *kafkatest.Cluster, fields string) {
	t.Helper()
	before := c.Count(kmsg.Produce)
	s := start(t, c, connected(copyYAML("in", "out", "", ""), fields))
	kafkatest.Eventually(t, patience, "the record is written", func() bool { return c.Count(kmsg.Produce) > before })
	require.NoError(t, s.stop())
}

func TestFieldTLS(t *testing.T) {
	broker, client := newPair(t), newPair(t)
	c := guarded(t,
		[]kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: broker.pool(), Certificates: []tls.Certificate{client.tls(t)}, MinVersion: tls.VersionTLS12})},
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{broker.tls(t)}, ClientCAs: client.pool(), ClientAuth: tls.RequireAndVerifyClientCert}))
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "pem")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ours := fmt.Sprintf("client_certs: [ { cert: %q, key: %q } ]", client.cert, client.key)
	for name, test := range map[string]struct{ fields, fault string }{
		"texts":            {fmt.Sprintf("root_cas: %q, %s", broker.cert, ours), ""},
		"files":            {fmt.Sprintf("root_cas_file: %q, client_certs: [ { cert_file: %q, key_file: %q } ]", file(broker.cert), file(client.cert), file(client.key)), ""},
		"locked key":       {fmt.Sprintf("root_cas: %q, client_certs: [ { cert: %q, key: %q, password: %q } ]", broker.cert, client.cert, client.locked, keyPassword), ""},
		"unverified":       {"skip_cert_verify: true, " + ours, ""},
		"not trusted":      {ours, "certificate"},
		"we are not known": {fmt.Sprintf("root_cas: %q", broker.cert), "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.fault == "" {
				moves(t, c, "tls: { enabled: true, "+test.fields+" }")
				return
			}
			s := start(t, c, connected(copyYAML("in", "out", "", ""), "tls: { enabled: true, "+test.fields+" }"))
			s.ended()
			require.Contains(t, s.logs.String(), "Stream stopped for good")
			require.Contains(t, s.logs.String(), test.fault)
		})
	}
}

// No server written in Go asks for a renegotiation, so this one is seen at the
// client.
func TestFieldTLSRenegotiation(t *testing.T) {
	for on, want := range map[bool]tls.RenegotiationSupport{true: tls.RenegotiateFreelyAsClient, false: tls.RenegotiateNever} {
		parsed, err := service.NewConfigSpec().Fields(connection.Fields()...).ParseYAML(
			fmt.Sprintf("seed_brokers: [ localhost ]\ntls: { enabled: true, enable_renegotiation: %v }", on), nil)
		require.NoError(t, err)
		conn, err := connection.Parse(parsed, service.MockResources(), nil)
		require.NoError(t, err)
		require.Equal(t, want, conn.TLS.Renegotiation)
	}
}

func TestFieldSASL(t *testing.T) {
	var users []kfake.Opt
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		users = append(users, kfake.Superuser(mechanism, "u", "right"))
	}
	c := guarded(t, []kgo.Opt{kgo.SASL(plain.Auth{User: "u", Pass: "right"}.AsMechanism())}, append(users, kfake.EnableSASL())...)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		moves(t, c, fmt.Sprintf("sasl: [ { mechanism: %s, username: u, password: right } ]", mechanism))
		for _, wrong := range []string{"username: u, password: wrong", "username: nobody, password: right"} {
			s := start(t, c, connected(copyYAML("in", "out", "", ""), fmt.Sprintf("sasl: [ { mechanism: %s, %s } ]", mechanism, wrong)))
			s.ended()
			require.Contains(t, s.logs.String(), "Stream stopped for good")
			require.NotContains(t, s.logs.String(), "password: ")
		}
	}
}

// said remembers what clients say to authenticate, and believes all of it.
type said struct {
	mu         sync.Mutex
	mechanisms []string
	texts      []string
}

func credulous(c *kafkatest.Cluster) *said {
	s := &said{}
	c.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		s.mu.Lock()
		defer s.mu.Unlock()
		req := r.(*kmsg.SASLHandshakeRequest)
		s.mechanisms = append(s.mechanisms, req.Mechanism)
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{req.Mechanism}
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		s.mu.Lock()
		defer s.mu.Unlock()
		req := r.(*kmsg.SASLAuthenticateRequest)
		s.texts = append(s.texts, string(req.SASLAuthBytes))
		return req.ResponseKind(), nil, true
	})
	return s
}

func (s *said) contains(words ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(append(s.mechanisms, s.texts...), "\n")
	for _, w := range words {
		if !strings.Contains(all, w) {
			return false
		}
	}
	return true
}

func TestFieldSASLToken(t *testing.T) {
	c := guarded(t, nil)
	s := credulous(c)
	moves(t, c, "sasl: [ { mechanism: OAUTHBEARER, token: my-token, extensions: { logicalCluster: lkc-1 } } ]")
	require.True(t, s.contains("OAUTHBEARER", "auth=Bearer my-token", "logicalCluster=lkc-1"), s.texts)
}

// The keys arrive as the user configured them; the fields without an effect
// change nothing about that.
func TestFieldSASLAWS(t *testing.T) {
	const host = "b-1.c.kafka.eu-west-1.amazonaws.com:9098"
	eachHalf(t, `sasl:
      - mechanism: AWS_MSK_IAM
        aws:
          region: us-east-1
          endpoint: nowhere.invalid
          tcp: { connect_timeout: 1ms, keep_alive: { idle: 1s, interval: 1s, count: 1 }, tcp_user_timeout: 1ms }
          credentials: { id: my-id, secret: my-secret, token: my-session }`, func(t *testing.T, c *kafkatest.Cluster, yaml string) {
		s := credulous(c)
		env := dialling(t, func(ctx context.Context, network, _ string) (net.Conn, error) {
			return c.Dial(ctx, network, c.Seeds()[0])
		})
		startIn(t, env, c, strings.ReplaceAll(yaml, "$SEEDS", "[ "+host+" ]"))
		kafkatest.Eventually(t, patience, "the keys are used", func() bool {
			return s.contains("AWS_MSK_IAM", "my-id", `"x-amz-security-token":"my-session"`, "eu-west-1")
		})
		require.False(t, s.contains("my-secret"), "the secret only signs")
		require.False(t, s.contains("us-east-1"))
	})
}

func TestFieldsOfAWSRefused(t *testing.T) {
	for _, field := range []string{"profile: x", "role: x", "role_external_id: x", "from_ec2_role: true"} {
		name, _, _ := strings.Cut(field, ":")
		for component, yaml := range halves("in", "out", "sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { "+field+" } } } ]") {
			require.ErrorContains(t, runRefused(t, kafkatest.At("localhost:1"), yaml), "aws.credentials."+name+" is not supported", component)
		}
	}
}

// runRefused returns the error of a pipeline that lint or a constructor refuses.
func runRefused(t *testing.T, e kafkatest.Endpoint, yaml string) error {
	t.Helper()
	s, err := build(t, e, yaml, &logs{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Run(ctx)
}
