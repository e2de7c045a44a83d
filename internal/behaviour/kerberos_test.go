package behaviour

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// copies tells that a pipeline with the fields copies records of a secure broker's
// listener.
func copies(t *testing.T, b *kafkatest.SecureBroker, listener, own, fields string) {
	t.Helper()
	in, out := topics(t, b, 2)
	kafkatest.Fill(t, b, in, 20)
	s := start(t, b.At(listener), connected(copyYAML(in, out, kafkatest.Unique(t), own), fields))
	awaitNumbers(t, b, out, map[int32][]int64{0: span(0, 20), 1: span(0, 20)})
	require.NoError(t, s.stop())
	require.NotContains(t, s.logs.String(), "level=ERROR")
}

// gss is a sasl field with what Kerberos takes.
func gss(b *kafkatest.SecureBroker, fields string) string {
	return fmt.Sprintf("sasl: [ { mechanism: GSSAPI, kerberos: { krb5_conf: %q, %s } } ]", b.Realm.Config(), fields)
}

func TestFieldsOfKerberos(t *testing.T) {
	b := kafkatest.Secure(t)
	cache := filepath.Join(t.TempDir(), "cc")
	b.Realm.Login(t, cache, kafkatest.User, b.Keytab)
	b.Realm.User(t, "alice", "alice-password")
	keytab := fmt.Sprintf("keytab: %q, principal: ", b.Keytab)
	for name, test := range map[string]struct{ listener, fields string }{
		"keytab":        {kafkatest.SASLPlaintext, gss(b, keytab+kafkatest.User)},
		"realm":         {kafkatest.SASLPlaintext, gss(b, keytab+kafkatest.User+"@"+kafkatest.RealmName)},
		"cache":         {kafkatest.SASLPlaintext, gss(b, fmt.Sprintf("ticket_cache: %q", cache))},
		"default cache": {kafkatest.SASLPlaintext, gss(b, "use_ticket_cache: true")},
		"environment":   {kafkatest.SASLPlaintext, "sasl: [ { mechanism: GSSAPI } ]"},
		"service":       {kafkatest.OtherService, gss(b, keytab+kafkatest.User+", service_name: streams")},
		"password":      {kafkatest.SASLPlaintext, fmt.Sprintf("sasl: [ { mechanism: GSSAPI, username: alice, password: alice-password, kerberos: { krb5_conf: %q } } ]", b.Realm.Config())},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "default cache" || name == "environment" {
				t.Setenv("KRB5CCNAME", "FILE:"+cache)
			}
			if name == "environment" {
				t.Setenv("KRB5_CONFIG", b.Realm.Config())
			}
			copies(t, b, test.listener, "", test.fields)
		})
	}
}
