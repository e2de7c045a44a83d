package kafka

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sasl"
)

func TestKerberosRefusesWhatContradictsItself(t *testing.T) {
	yes, no := true, false
	for name, test := range map[string]struct {
		c     Credentials
		fault string
	}{
		"nothing, so the cache":  {Credentials{}, ""},
		"keytab and principal":   {Credentials{Kerberos: Kerberos{Keytab: "k", Principal: "p"}}, ""},
		"password":               {Credentials{Username: "u", Password: "p"}, ""},
		"keytab alone":           {Credentials{Kerberos: Kerberos{Keytab: "k"}}, "kerberos.principal is not"},
		"principal alone":        {Credentials{Kerberos: Kerberos{Principal: "p"}}, "kerberos.keytab is not"},
		"keytab and cache":       {Credentials{Kerberos: Kerberos{Keytab: "k", Principal: "p", UseTicketCache: &yes}}, "use_ticket_cache is true"},
		"keytab and cache file":  {Credentials{Kerberos: Kerberos{Keytab: "k", Principal: "p", TicketCache: "c"}}, "kerberos.ticket_cache is set and so is kerberos.keytab"},
		"cache that is off":      {Credentials{Kerberos: Kerberos{TicketCache: "c", UseTicketCache: &no}}, "use_ticket_cache is false"},
		"no source":              {Credentials{Kerberos: Kerberos{UseTicketCache: &no}}, "no other way"},
		"keytab and password":    {Credentials{Username: "u", Password: "p", Kerberos: Kerberos{Keytab: "k", Principal: "p"}}, "so is `username`"},
		"password and cache":     {Credentials{Username: "u", Password: "p", Kerberos: Kerberos{UseTicketCache: &yes}}, "use one of them"},
		"user without password":  {Credentials{Username: "u"}, "set both or none"},
		"password without user":  {Credentials{Password: "p"}, "set both or none"},
		"a file":                 {Credentials{Kerberos: Kerberos{TicketCache: "FILE:/x"}}, ""},
		"a path with a colon":    {Credentials{Kerberos: Kerberos{TicketCache: "/x:y"}}, ""},
		"a cache of the kernel":  {Credentials{Kerberos: Kerberos{TicketCache: "KEYRING:persistent:0"}}, "of the kind KEYRING"},
		"a cache of a daemon":    {Credentials{Kerberos: Kerberos{TicketCache: "KCM:"}}, "of the kind KCM"},
		"a folder":               {Credentials{Kerberos: Kerberos{TicketCache: "DIR:/x"}}, "of the kind DIR"},
		"a folder, keytab apart": {Credentials{Kerberos: Kerberos{TicketCache: "DIR:/x", Keytab: "k", Principal: "p"}}, "use one of them"},
	} {
		t.Run(name, func(t *testing.T) {
			test.c.Mechanism = SASLKerberos
			m, err := test.c.SASL()
			if test.fault == "" {
				require.NoError(t, err)
				require.Equal(t, "GSSAPI", m.Name())
				return
			}
			require.ErrorContains(t, err, test.fault)
		})
	}
}

func TestKerberosTakesFilesFromTheEnvironment(t *testing.T) {
	t.Setenv("KRB5_CONFIG", "/conf:/other")
	t.Setenv("KRB5CCNAME", "FILE:/cache")
	file, err := Kerberos{}.cacheFile()
	require.NoError(t, err)
	require.Equal(t, "/cache", file)
	require.Equal(t, "/conf", Kerberos{}.configFile())
	require.Equal(t, "/mine", Kerberos{Config: "/mine"}.configFile())
	t.Setenv("KRB5CCNAME", "KEYRING:persistent:0")
	_, err = Kerberos{}.cacheFile()
	require.ErrorContains(t, err, "$KRB5CCNAME is")
	t.Setenv("KRB5CCNAME", "")
	t.Setenv("KRB5_CONFIG", "")
	file, err = Kerberos{}.cacheFile()
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("/tmp/krb5cc_%d", os.Getuid()), file)
	require.Equal(t, "/etc/krb5.conf", Kerberos{}.configFile())
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// However a keytab is cut off, nothing of it is in the error. The library's own errors
// would print all of it.
func TestKeytabsThatAreCutOffAreNotPrinted(t *testing.T) {
	kt := keytab.New()
	require.NoError(t, kt.AddEntry("orders", "EXAMPLE.COM", "password", time.Unix(1e9, 0), 1, 18))
	whole, err := kt.Marshal()
	require.NoError(t, err)
	key := kt.Entries[0].Key.KeyValue
	_, err = loadKeytab(write(t, whole))
	require.NoError(t, err)
	for n := range len(whole) {
		_, err := loadKeytab(write(t, whole[:n]))
		require.ErrorContains(t, err, "is not a keytab, or is cut off", "%d bytes", n)
		require.True(t, finalCredential(err))
		require.False(t, bytes.Contains([]byte(err.Error()), key[:4]), "%d bytes: %q", n, err)
	}
	_, err = loadKeytab("/nowhere")
	require.EqualError(t, err, "reading the keytab /nowhere: no such file or directory: check kerberos.keytab")
}

// A cache may be read while it is written, and may hold anything.
func TestCachesThatAreDamagedAreErrors(t *testing.T) {
	conf := write(t, []byte("[libdefaults]\n default_realm = X\n"))
	c, err := loadConfig(conf)
	require.NoError(t, err)
	for _, data := range [][]byte{nil, {5}, {5, 4}, {5, 4, 0}, append([]byte{5, 4, 0, 12}, bytes.Repeat([]byte{255}, 600)...), make([]byte, 60), []byte("text")} {
		_, err := loadCache(write(t, data), c)
		require.Error(t, err, "%q", data)
	}
}

// login answers for good within its patience, names what it waited for, and gives the
// turn back.
func TestLoginWithAKDCThatIsSilent(t *testing.T) {
	kdc, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer kdc.Close()
	conf := write(t, fmt.Appendf(nil, "[libdefaults]\n default_realm = X\n udp_preference_limit = 1\n[realms]\n X = {\n  kdc = %s\n }\n", kdc.Addr()))
	m, err := Credentials{Mechanism: SASLKerberos, Username: "u", Password: "secret-word", Kerberos: Kerberos{Config: conf}}.SASL()
	require.NoError(t, err)
	began := time.Now()
	_, _, err = m.Authenticate(t.Context(), "localhost:9092")
	require.Less(t, time.Since(began), loginPatience+time.Second)
	require.ErrorContains(t, err, "no KDC of X ("+kdc.Addr().String()+") can be reached")
	require.NotContains(t, err.Error(), "secret-word")
	require.Equal(t, Temporary, Classify(Connect, err).Meaning)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = m.Authenticate(ctx, "localhost:9092")
	require.ErrorIs(t, err, context.DeadlineExceeded, "whoever gives up is not kept waiting")
	m.(sasl.ClosingMechanism).Close()
}
