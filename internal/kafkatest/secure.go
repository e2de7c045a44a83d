package kafkatest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The users of a SecureBroker. With Kerberos a user has a principal of the same name,
// with mutual TLS a certificate.
const (
	// User may do everything that has no ACL, and is known to every mechanism.
	User = "client"
	// Password of User, with PLAIN and SCRAM.
	Password = "client-password"
)

// SecureBroker is a Kafka with a listener for each way to be secure, and with ACLs:
// what no ACL is about is allowed to everybody.
type SecureBroker struct {
	*Broker
	Realm *Realm
	// CA signs certificates that the broker accepts, and its own.
	CA *Authority
	// Keytab of User, and Certificate.
	Keytab      string
	Certificate Certificate

	// ports of the listeners, by name.
	ports map[string]int
	home  string
}

// The listeners of a SecureBroker: GSSAPI, SCRAM, PLAIN and OAUTHBEARER on the SASL
// ones, certificates on TLS. Reauth ends a session after 5 seconds unless it
// authenticates again. All are at localhost, because principals and certificates are
// of hosts; the PLAINTEXT one, whose user may do everything, is the Endpoint itself.
const (
	SASLPlaintext = "SASLPLAIN"
	SASLTLS       = "SASLTLS"
	MutualTLS     = "MTLS"
	Reauth        = "REAUTH"
	// OtherService is one whose principal is streams/localhost, with GSSAPI only.
	OtherService = "OTHER"
)

// protocols of the listeners.
var protocols = map[string]string{
	SASLPlaintext: "SASL_PLAINTEXT", SASLTLS: "SASL_SSL", MutualTLS: "SSL", Reauth: "SASL_PLAINTEXT", OtherService: "SASL_PLAINTEXT",
}

// reauthMillis is how long a session on Reauth lasts.
const reauthMillis = "5000"

// Secure returns the secure broker that all tests of this process share, started by
// the first that asks. Where it cannot be had the test is skipped, or fails with
// CI=true. Its KDC must not be stopped: see NewSecure.
func Secure(t testing.TB) *SecureBroker {
	t.Helper()
	b, err := sharedSecure()
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(func() { b.logFailure(t) })
	return b
}

var sharedSecure = sync.OnceValues(func() (*SecureBroker, error) {
	home, err := claimHome()
	if err != nil {
		return nil, err
	}
	return newSecure(home)
})

// NewSecure starts a secure broker of this test's own.
func NewSecure(t testing.TB) *SecureBroker {
	t.Helper()
	b, err := newSecure(t.TempDir())
	if err != nil {
		giveUp(t, err)
	}
	b.t = t
	t.Cleanup(func() {
		b.proc.kill()
		b.Realm.proc.kill()
		b.logFailure(t)
	})
	return b
}

func newSecure(home string) (*SecureBroker, error) {
	realmDir := filepath.Join(home, "realm")
	if err := os.MkdirAll(realmDir, 0o755); err != nil {
		return nil, fmt.Errorf("making a folder for the KDC: %w", err)
	}
	realm, err := newRealm(realmDir)
	if err != nil {
		return nil, err
	}
	b := &SecureBroker{Realm: realm, ports: map[string]int{}, home: home}
	started := false
	defer func() {
		if !started {
			realm.proc.kill()
		}
	}()
	if b.Keytab, err = realm.principal(User); err != nil {
		return nil, err
	}
	props, err := b.properties()
	if err != nil {
		return nil, err
	}
	if b.Broker, err = newBroker(Newest, home, props); err != nil {
		return nil, err
	}
	listeners := make([]string, 0, len(b.ports))
	for name, port := range b.ports {
		listeners = append(listeners, fmt.Sprintf("%s://localhost:%d", name, port))
	}
	for _, p := range []string{"listeners", "advertised.listeners"} {
		b.props[p] += "," + strings.Join(listeners, ",")
	}
	b.jvm = []string{"-Djava.security.krb5.conf=" + realm.Config()}
	err = b.start()
	if err == nil {
		err = b.addUser(User, Password)
	}
	if err != nil {
		b.proc.kill()
		return nil, err
	}
	started = true
	return b, nil
}

// properties returns those of the listeners.
func (b *SecureBroker) properties() ([]string, error) {
	if err := b.certificates(); err != nil {
		return nil, err
	}
	props := []string{
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + filepath.Join(b.home, "broker.pem"),
		"ssl.truststore.type=PEM", "ssl.truststore.location=" + filepath.Join(b.home, "ca.pem"),
		`ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/`, "listener.name.mtls.ssl.client.auth=required",
		"sasl.kerberos.service.name=kafka", "listener.name.other.gssapi.sasl.kerberos.service.name=streams",
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:ANONYMOUS", "allow.everyone.if.no.acl.found=true",
	}
	keytabs := map[string]string{}
	for _, service := range []string{"kafka", "streams"} {
		path, err := b.Realm.principal(service + "/localhost")
		if err != nil {
			return nil, err
		}
		keytabs[service] = path
	}
	protocolMap := "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
	for name, protocol := range protocols {
		port, err := reservePorts()
		if err != nil {
			return nil, err
		}
		b.ports[name] = port
		protocolMap += "," + name + ":" + protocol
		if strings.HasPrefix(protocol, "SASL") {
			props = append(props, mechanisms(name, keytabs)...)
		}
	}
	return append(props, protocolMap), nil
}

// mechanisms returns the properties of a listener with SASL.
func mechanisms(name string, keytabs map[string]string) []string {
	service, offered := "kafka", "GSSAPI,SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER"
	if name == OtherService {
		service, offered = "streams", "GSSAPI"
	}
	prefix := "listener.name." + strings.ToLower(name) + "."
	const modules = ".sasl.jaas.config=org.apache.kafka.common.security."
	props := []string{
		prefix + "sasl.enabled.mechanisms=" + offered,
		prefix + fmt.Sprintf("gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required "+
			"useKeyTab=true storeKey=true doNotPrompt=true keyTab=%q principal=%q;", keytabs[service], service+"/localhost@"+RealmName),
		prefix + "scram-sha-256" + modules + "scram.ScramLoginModule required;",
		prefix + "scram-sha-512" + modules + "scram.ScramLoginModule required;",
		prefix + "plain" + modules + fmt.Sprintf("plain.PlainLoginModule required user_%s=%q;", User, Password),
		// Tokens without a signature: whoever can write JSON is who he says he is.
		prefix + "oauthbearer" + modules + "oauthbearer.OAuthBearerLoginModule required;",
		prefix + "oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
	}
	if name == Reauth {
		for _, m := range strings.Split(strings.ToLower(offered), ",") {
			props = append(props, prefix+m+".connections.max.reauth.ms="+reauthMillis)
		}
	}
	return props
}

func (b *SecureBroker) certificates() error {
	var err error
	if b.CA, err = NewAuthority("Test CA"); err != nil {
		return err
	}
	own, err := b.CA.Sign("localhost")
	if err != nil {
		return err
	}
	if b.Certificate, err = b.CA.Sign(User); err != nil {
		return err
	}
	for name, text := range map[string]string{"ca.pem": b.CA.PEM, "broker.pem": own.Key + own.Cert + b.CA.PEM} {
		if err := os.WriteFile(filepath.Join(b.home, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing certificates: %w", err)
		}
	}
	return nil
}

// At returns the endpoint of a listener. Clients need credentials for it.
func (b *SecureBroker) At(listener string) Endpoint {
	return At(fmt.Sprintf("localhost:%d", b.ports[listener]))
}

// addUser makes a user known to SCRAM, and waits until it is.
func (b *SecureBroker) addUser(name, password string) error {
	cl, err := newAdmin(b)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	auth := scram.Auth{User: name, Pass: password}
	for mechanism, as := range map[kadm.ScramMechanism]sasl.Mechanism{
		kadm.ScramSha256: auth.AsSha256Mechanism(), kadm.ScramSha512: auth.AsSha512Mechanism(),
	} {
		// One at a time: Kafka takes two of a user for one too many.
		altered, err := cl.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: name, Mechanism: mechanism, Iterations: 4096, Password: password}})
		if err == nil {
			err = altered.Error()
		}
		if err != nil {
			return fmt.Errorf("making the user %s: %w", name, err)
		}
		own, err := newAdmin(b.At(SASLPlaintext), kgo.SASL(as))
		if err != nil {
			return err
		}
		defer own.Close()
		if err := poll(patience, func() error {
			_, err := own.BrokerMetadata(ctx)
			return err
		}); err != nil {
			return fmt.Errorf("waiting for the user %s: %w", name, err)
		}
	}
	return nil
}
