package behaviour

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Streams that fail in every way that has to do with a secret say a lot, and never the
// secret.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	b := kafkatest.Secure(t)
	keytab, err := os.ReadFile(b.Keytab)
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut.keytab")
	require.NoError(t, os.WriteFile(cut, keytab[:len(keytab)-10], 0o600))
	i := newIssuer(t, b, 0)
	const secret = "hidden/word+1"
	tlsOf := fmt.Sprintf("skip_cert_verify: true, %s", shown(b.Certificate))
	for name, test := range map[string]struct {
		fields  string
		secrets []string
	}{
		"PLAIN":      {userPassword("PLAIN", kafkatest.User, secret), nil},
		"SCRAM":      {userPassword("SCRAM-SHA-512", kafkatest.User, secret), nil},
		"token":      {fmt.Sprintf("sasl: [ { mechanism: OAUTHBEARER, token: %q } ]", secret), nil},
		"oauth2":     {i.fields(secret, tlsOf), nil},
		"password":   {fmt.Sprintf("sasl: [ { mechanism: GSSAPI, username: client, password: %q, kerberos: { krb5_conf: %q } } ]", secret, b.Realm.Config()), nil},
		"keytab":     {gss(b, fmt.Sprintf("keytab: %q, principal: client", cut)), []string{string(keytab[40:60])}},
		"properties": {fmt.Sprintf(`properties: { security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username="client" password="%s";' }`, secret), nil},
		"client key": {trusting(b, shown(b.Certificate)), []string{b.Certificate.Key[40:80]}},
		"AWS":        {fmt.Sprintf("sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { id: key, secret: %q, token: %q } } } ]", secret, secret), nil},
	} {
		for component, yaml := range halves("in", "out", test.fields) {
			t.Run(name+", "+component, func(t *testing.T) {
				t.Parallel()
				s := start(t, b.At(kafkatest.SASLPlaintext), yaml)
				kafkatest.Eventually(t, patience, "the error is told", func() bool { return strings.Contains(s.logs.String(), "level=ERROR") })
				s.abandon()
				for _, word := range append(test.secrets, secret, base64.StdEncoding.EncodeToString([]byte(secret))) {
					require.NotContains(t, s.logs.String(), word)
				}
			})
		}
	}
}
