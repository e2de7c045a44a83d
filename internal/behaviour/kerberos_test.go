package behaviour

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// A direct consumer whose ticket ends says so, and goes on when there is a new one:
// nothing is lost, and nothing is read again.
func TestTicketsThatEndWhileTheStreamRuns(t *testing.T) {
	b := kafkatest.Secure(t)
	cache := filepath.Join(t.TempDir(), "cc")
	b.Realm.Login(t, cache, kafkatest.User, b.Keytab, "-l", "10s")
	in, out := topics(t, b, 1)
	kafkatest.Fill(t, b, in, 10)
	s, metrics := startMeasured(t, b.At(kafkatest.Reauth), connected(copyYAML(in, out, kafkatest.Unique(t), "assignment: static"),
		gss(b, fmt.Sprintf("ticket_cache: %q", cache))))
	awaitNumbers(t, b, out, map[int32][]int64{0: span(0, 10)})
	refusing := func() int64 {
		n, found := metrics.get("tidemark_brokers_refusing")
		require.True(t, found)
		return n
	}
	for _, path := range []string{"root.input", "root.output"} {
		kafkatest.Eventually(t, patience, path+" says so", func() bool {
			for _, line := range strings.Split(s.logs.String(), "\n") {
				if strings.Contains(line, "level=ERROR") && strings.Contains(line, "has expired: run kinit") && strings.Contains(line, path) {
					return true
				}
			}
			return false
		})
	}
	kafkatest.Eventually(t, patience, "the metric of both says so", func() bool { return refusing() >= 2 })
	for n := range 5 {
		produce(t, b, in, fmt.Sprintf("0/%d", 10+n))
	}
	b.Realm.Login(t, cache, kafkatest.User, b.Keytab)
	awaitNumbers(t, b, out, map[int32][]int64{0: span(0, 15)})
	kafkatest.Eventually(t, patience, "nobody is refused", func() bool { return refusing() == 0 })
	require.Contains(t, s.logs.String(), "Brokers take new connections again")
	require.NoError(t, s.stop())
}

// The file as it is, on a cluster that wants what it is about.
func TestTheSecureExample(t *testing.T) {
	b := kafkatest.Secure(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte(b.CA.PEM), 0o600))
	yaml, err := os.ReadFile("../../config/secure.yaml")
	require.NoError(t, err)
	e := b.At(kafkatest.SASLTLS)
	for name, value := range map[string]string{
		"KAFKA_BROKERS": e.Seeds()[0], "KAFKA_CA": ca, "KAFKA_KEYTAB": b.Keytab, "KAFKA_PRINCIPAL": kafkatest.User, "KRB5_CONFIG": b.Realm.Config(),
	} {
		t.Setenv(name, value)
	}
	kafkatest.CreateTopic(t, b, "orders", 1)
	kafkatest.CreateTopic(t, b, "orders-copy", 1)
	kafkatest.Fill(t, b, "orders", 3)
	s := start(t, e, string(yaml))
	awaitNumbers(t, b, "orders-copy", map[int32][]int64{0: span(0, 3)})
	require.NoError(t, s.stop())
}
