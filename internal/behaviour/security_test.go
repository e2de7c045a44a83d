package behaviour

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// toldWithin is how soon whoever set it up wrongly has to know.
const toldWithin = 10 * time.Second

// trusting are tls fields for the broker's authority, and others.
func trusting(b *kafkatest.SecureBroker, more string) string {
	return fmt.Sprintf("tls: { enabled: true, root_cas: %q, %s }", b.CA.PEM, more)
}

// shown is a client certificate as a tls field.
func shown(c kafkatest.Certificate) string {
	return fmt.Sprintf("client_certs: [ { cert: %q, key: %q } ]", c.Cert, c.Key)
}

func userPassword(mechanism, user, password string) string {
	return fmt.Sprintf("sasl: [ { mechanism: %s, username: %s, password: %s } ]", mechanism, user, password)
}

// Every connection of a stream that delivers exactly once and keeps its state in a topic:
// that of the group, of the admin requests, of the transactions, and of the store.
func TestSE01_EveryConnectionAuthenticates(t *testing.T) {
	b := kafkatest.Secure(t)
	keytab := gss(b, fmt.Sprintf("keytab: %q, principal: %s", b.Keytab, kafkatest.User))
	cache := filepath.Join(t.TempDir(), "cc")
	b.Realm.Login(t, cache, kafkatest.User, b.Keytab)
	for name, test := range map[string]struct{ listener, fields string }{
		"PLAIN":            {kafkatest.SASLPlaintext, userPassword("PLAIN", kafkatest.User, kafkatest.Password)},
		"SCRAM over TLS":   {kafkatest.SASLTLS, userPassword("SCRAM-SHA-256", kafkatest.User, kafkatest.Password) + "\n    " + trusting(b, "")},
		"keytab":           {kafkatest.SASLPlaintext, keytab},
		"keytab over TLS":  {kafkatest.SASLTLS, keytab + "\n    " + trusting(b, "")},
		"tickets over TLS": {kafkatest.SASLTLS, gss(b, fmt.Sprintf("ticket_cache: %q", cache)) + "\n    " + trusting(b, "")},
		"mutual TLS":       {kafkatest.MutualTLS, trusting(b, shown(b.Certificate))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, out := topics(t, b, 2)
			kafkatest.Fill(t, b, in, 20)
			group := kafkatest.Unique(t)
			yaml := connected(copyYAML(in, out, group, "checkpoint: { interval: 300ms, store: { topic: "+group+"-store } }"), test.fields)
			s := start(t, b.At(test.listener), yaml+exactly)
			awaitNumbers(t, b, out, map[int32][]int64{0: span(0, 20), 1: span(0, 20)})
			require.NoError(t, s.stop())
			require.NotContains(t, s.logs.String(), "level=ERROR")
			for p, c := range kafkatest.Committed(t, b, group, in) {
				require.EqualValues(t, 20, c.Offset, "partition %d", p)
			}
		})
	}
}

// mistake is a wrong set-up.
type mistake struct {
	listener, fields, text string
	// waits: somebody else may mend it, so the stream goes on trying.
	waits bool
	// host by which the broker is addressed, if not localhost.
	host string
}

// told tells that an input and an output with the mistake say so in time.
func (m mistake) told(t *testing.T, b *kafkatest.SecureBroker) {
	t.Helper()
	e := b.At(m.listener)
	if m.host != "" {
		_, port, err := net.SplitHostPort(e.Seeds()[0])
		require.NoError(t, err)
		e = kafkatest.At(net.JoinHostPort(m.host, port))
	}
	for component, yaml := range halves("in", "out", m.fields) {
		// No message: the stream would wait for it at its end.
		yaml = strings.Replace(yaml, "interval: 1m", `interval: "@every 1h"`, 1)
		t.Run(component, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			s := start(t, e, yaml)
			kafkatest.Until(t, toldWithin, func() error {
				if !strings.Contains(s.logs.String(), m.text) {
					return fmt.Errorf("the log does not say %q", m.text)
				}
				return nil
			})
			t.Logf("told after %v", time.Since(began).Round(10*time.Millisecond))
			if m.waits {
				require.NotContains(t, s.logs.String(), "Stream stopped for good")
				s.abandon()
				return
			}
			kafkatest.Eventually(t, toldWithin, "the stream stops for good", func() bool { return strings.Contains(s.logs.String(), "Stream stopped for good") })
		})
	}
}

// abandon stops a stream that waits for brokers, without the patience that it would
// have for them.
func (s *stream) abandon() {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.s.Stop(ctx)
		<-s.done
	})
}

func TestWrongTicketsAreNamedInTime(t *testing.T) {
	b := kafkatest.Secure(t)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	good, err := os.ReadFile(b.Keytab)
	require.NoError(t, err)
	stale, gone, locked := b.Realm.Principal(t, "stale"), b.Realm.Principal(t, "gone"), b.Realm.Principal(t, "locked")
	b.Realm.Admin(t, "cpw", "-randkey", "stale")
	b.Realm.Admin(t, "delprinc", "-force", "gone")
	b.Realm.Admin(t, "modprinc", "-allow_tix", "locked")
	cache, expired := filepath.Join(dir, "cc"), filepath.Join(dir, "expired")
	b.Realm.Login(t, cache, kafkatest.User, b.Keytab)
	b.Realm.Login(t, expired, kafkatest.User, b.Keytab, "-l", "1s")
	over := time.Now().Add(2 * time.Second)
	tickets, err := os.ReadFile(cache)
	require.NoError(t, err)

	keytab := func(path, principal, more string) string {
		return gss(b, fmt.Sprintf("keytab: %q, principal: %q%s", path, principal, more))
	}
	cached := func(path string) string { return gss(b, fmt.Sprintf("ticket_cache: %q", path)) }
	with := func(conf string) string {
		return fmt.Sprintf("sasl: [ { mechanism: GSSAPI, kerberos: { krb5_conf: %q, keytab: %q, principal: %s } } ]", conf, b.Keytab, kafkatest.User)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, deaf.Close())
	conf := func(name string, kdc net.Addr) string {
		return file(name, fmt.Appendf(nil, "[libdefaults]\n default_realm = %[1]s\n udp_preference_limit = 1\n[realms]\n %[1]s = {\n  kdc = %[2]s\n }\n", kafkatest.RealmName, kdc))
	}
	kafkatest.Eventually(t, patience, "the ticket has expired", func() bool { return time.Now().After(over) })
	const on = kafkatest.SASLPlaintext
	t.Run("mistakes", func(t *testing.T) { // returns after all of them, before what they need is gone
		for name, m := range map[string]mistake{
			"principal not in the keytab": {listener: on, fields: keytab(b.Keytab, "kafka/localhost", ""), text: "holds no key of kafka/localhost@TEST.LOCAL"},
			"principal unknown":           {listener: on, fields: keytab(gone, "gone", ""), text: "does not know the principal gone@TEST.LOCAL"},
			"principal locked":            {listener: on, fields: keytab(locked, "locked", ""), text: "principal locked@TEST.LOCAL is locked"},
			"keytab missing":              {listener: on, fields: keytab("/nowhere/keytab", kafkatest.User, ""), text: "reading the keytab /nowhere/keytab: no such file"},
			"keytab empty":                {listener: on, fields: keytab(file("empty", nil), kafkatest.User, ""), text: "is not a keytab, or is cut off"},
			"keytab cut off":              {listener: on, fields: keytab(file("cut", good[:len(good)-20]), kafkatest.User, ""), text: "is not a keytab, or is cut off"},
			"keytab out of date":          {listener: on, fields: keytab(stale, "stale", ""), text: "wrong or out of date: export the keytab again"},
			"cache missing":               {listener: on, fields: cached("/nowhere/cc"), text: "there is no ticket cache /nowhere/cc (no such file or directory): run kinit", waits: true},
			"cache expired":               {listener: on, fields: cached(expired), text: "has expired: run kinit", waits: true},
			"cache being written":         {listener: on, fields: cached(file("half", tickets[:len(tickets)/2])), text: "is damaged, being written", waits: true},
			"realm unknown":               {listener: on, fields: keytab(b.Keytab, kafkatest.User+"@NOWHERE", ""), text: "names no KDC for the realm NOWHERE"},
			"krb5.conf missing":           {listener: on, fields: with("/nowhere/krb5.conf"), text: "reading the Kerberos configuration /nowhere/krb5.conf: no such file"},
			"service unknown":             {listener: on, fields: keytab(b.Keytab, kafkatest.User, ", service_name: nosuch"), text: "does not know the service nosuch/localhost"},
			"service of another":          {listener: on, fields: keytab(b.Keytab, kafkatest.User, ", service_name: streams"), text: "the broker cannot read the ticket"},
			"broker by its address":       {listener: on, fields: keytab(b.Keytab, kafkatest.User, ""), text: "does not know the service kafka/127.0.0.1", host: "127.0.0.1"},
			"KDC refuses":                 {listener: on, fields: with(conf("refuses", deaf.Addr())), text: "no KDC of TEST.LOCAL (" + deaf.Addr().String() + ") can be reached", waits: true},
			"KDC hangs":                   {listener: on, fields: with(conf("hangs", silent.Addr())), text: "no KDC of TEST.LOCAL (" + silent.Addr().String() + ") can be reached", waits: true},
			"password wrong": {
				listener: on, text: "wrong or out of date: check `password`",
				fields: fmt.Sprintf("sasl: [ { mechanism: GSSAPI, username: %s, password: wrong, kerberos: { krb5_conf: %q } } ]", kafkatest.User, b.Realm.Config()),
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m.told(t, b)
			})
		}
	})
}

func TestWrongCredentialsAndCertificatesAreNamedInTime(t *testing.T) {
	b := kafkatest.Secure(t)
	other, err := kafkatest.NewAuthority("Other CA")
	require.NoError(t, err)
	foreign, err := other.Sign(kafkatest.User)
	require.NoError(t, err)
	right := userPassword("PLAIN", kafkatest.User, kafkatest.Password)
	const toTLS = kafkatest.SASLTLS
	for name, m := range map[string]mistake{
		"PLAIN password":         {listener: kafkatest.SASLPlaintext, fields: userPassword("PLAIN", kafkatest.User, "wrong"), text: "check `sasl.username` and `sasl.password`"},
		"SCRAM password":         {listener: kafkatest.SASLPlaintext, fields: userPassword("SCRAM-SHA-512", kafkatest.User, "wrong"), text: "check `sasl.username` and `sasl.password`"},
		"SCRAM user":             {listener: kafkatest.SASLPlaintext, fields: userPassword("SCRAM-SHA-256", "nobody", kafkatest.Password), text: "check `sasl.username` and `sasl.password`"},
		"token":                  {listener: kafkatest.SASLPlaintext, fields: "sasl: [ { mechanism: OAUTHBEARER, token: not-a-token } ]", text: "the broker does not accept the token"},
		"mechanism not there":    {listener: kafkatest.OtherService, fields: userPassword("SCRAM-SHA-512", kafkatest.User, kafkatest.Password), text: "does not offer SCRAM-SHA-512"},
		"SASL not there":         {listener: kafkatest.MutualTLS, fields: right + "\n    " + trusting(b, shown(b.Certificate)), text: "takes no SASL"},
		"SASL missing":           {listener: kafkatest.SASLPlaintext, text: "the broker closes the connection instead of authenticating it"},
		"authority unknown":      {listener: toTLS, fields: right + "\n    tls: { enabled: true, root_cas: " + fmt.Sprintf("%q", other.PEM) + " }", text: "in `tls.root_cas`"},
		"host not in the name":   {listener: toTLS, fields: right + "\n    " + trusting(b, ""), host: "127.0.0.1", text: "use a name of the certificate in `seed_brokers`"},
		"certificate missing":    {listener: kafkatest.MutualTLS, fields: trusting(b, ""), text: "check `tls.client_certs`"},
		"certificate of another": {listener: kafkatest.MutualTLS, fields: trusting(b, shown(foreign)), text: "check `tls.client_certs`"},
		"plain text to TLS":      {listener: toTLS, fields: right, text: "this port wants TLS: set `tls.enabled: true`"},
		"TLS to plain text":      {listener: kafkatest.SASLPlaintext, fields: right + "\n    " + trusting(b, ""), text: "this port does not speak TLS", waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m.told(t, b)
		})
	}
}
