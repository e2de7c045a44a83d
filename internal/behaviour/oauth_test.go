package behaviour

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// issuer is a token endpoint over TLS that knows one client by its secret and by its
// certificate, and whose tokens live for some time.
type issuer struct {
	*httptest.Server
	client kafkatest.Certificate
	life   time.Duration
	issued atomic.Int32
}

const clientSecret = "s3cret of the client"

func newIssuer(t *testing.T, b *kafkatest.SecureBroker, life time.Duration) *issuer {
	t.Helper()
	own, err := b.CA.Sign("localhost")
	require.NoError(t, err)
	pair, err := tls.X509KeyPair([]byte(own.Cert), []byte(own.Key))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(b.CA.PEM)))
	i := &issuer{life: life, client: b.Certificate}
	i.Server = httptest.NewUnstartedServer(http.HandlerFunc(i.answer))
	i.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	i.StartTLS()
	t.Cleanup(i.Close)
	return i
}

// answer gives tokens without a signature, as the broker of the tests takes them.
func (i *issuer) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	id, secret, _ := r.BasicAuth()
	if id == "" {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != "orders" || secret != "s3cret+of+the+client" && secret != clientSecret || r.FormValue("scope") != "kafka" || r.FormValue("audience") != "brokers" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not with %s"}`, secret)
		return
	}
	i.issued.Add(1)
	now := time.Now()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, kafkatest.User, now.Unix()-1, now.Add(i.life).Unix()+1)
	part := base64.RawURLEncoding.EncodeToString
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":%d}`,
		part([]byte(`{"alg":"none"}`))+"."+part([]byte(claims))+".", int(i.life.Seconds()))
}

// fields are those of the pipeline; tls those of its way to the endpoint.
func (i *issuer) fields(secret, tls string) string {
	return fmt.Sprintf(`sasl:
      - mechanism: OAUTHBEARER
        oauth2:
          token_url: %s
          client_id: orders
          client_secret: %s
          scopes: [ kafka ]
          endpoint_params: { audience: brokers }
          tls: { %s }`, i.URL, secret, tls)
}

func (i *issuer) files(t *testing.T, ca string) string {
	t.Helper()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	return fmt.Sprintf("root_cas_file: %q, client_certs: [ { cert_file: %q, key_file: %q } ]", file("ca", ca), file("cert", i.client.Cert), file("key", i.client.Key))
}

// Tokens of a few seconds: the broker ends a session with its token, so the stream goes
// on only with new ones.
func TestFieldsOfOAuth2(t *testing.T) {
	b := kafkatest.Secure(t)
	i := newIssuer(t, b, 4*time.Second)
	i.URL = "https://localhost:" + i.URL[len("https://127.0.0.1:"):]
	own := fmt.Sprintf("root_cas: %q, %s", b.CA.PEM, shown(b.Certificate))
	in, out := topics(t, b, 1)
	s := start(t, b.At(kafkatest.Reauth), connected(copyYAML(in, out, kafkatest.Unique(t), ""), i.fields(clientSecret, own)))
	for n := 1; i.issued.Load() < 6; n++ {
		produce(t, b, in, fmt.Sprintf("0/%d", n-1))
		kafkatest.Eventually(t, patience, "the record is written", func() bool { return len(values(t, b, out)[0]) == n })
	}
	require.NoError(t, s.stop())
	require.NotContains(t, s.logs.String(), "level=ERROR")

	for name, test := range map[string]struct{ secret, tls, text string }{
		"files":      {clientSecret, i.files(t, b.CA.PEM), ""},
		"unverified": {clientSecret, "skip_cert_verify: true, " + shown(b.Certificate), ""},
		"secret":     {"another-secret", own, "answers 401 Unauthorized (invalid_client: not with ***): check oauth2.token_url, .client_id, .client_secret"},
		"authority":  {clientSecret, shown(b.Certificate), "certificate signed by unknown authority"},
		"unknown":    {clientSecret, fmt.Sprintf("root_cas: %q", b.CA.PEM), "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.text == "" {
				copies(t, b, kafkatest.SASLPlaintext, "", i.fields(test.secret, test.tls))
				return
			}
			mistake{listener: kafkatest.SASLPlaintext, fields: i.fields(test.secret, test.tls), text: test.text, waits: name != "secret"}.told(t, b)
		})
	}
}
