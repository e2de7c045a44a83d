package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// RefusalError is a connection that failed because of who we are, or because TLS is not
// what one of the sides expects, with what to do about it.
type RefusalError struct {
	Remedy string
	err    error
}

// Error implements error.
func (e *RefusalError) Error() string { return e.err.Error() + ": " + e.Remedy }

// Unwrap returns what the client said.
func (e *RefusalError) Unwrap() error { return e.err }

// Refusal returns an error of a connection as a RefusalError, or as a CredentialError,
// nil if it is about something else, such as a broker that is away. The mechanisms are
// those that the client has.
func Refusal(err error, mechanisms ...sasl.Mechanism) error {
	if err == nil || Classify(Connect, err).Meaning == Cancelled {
		return nil
	}
	if e, ok := as[*CredentialError](err); ok {
		return e
	}
	if e, ok := as[*RefusalError](err); ok {
		return e
	}
	names := make([]string, len(mechanisms))
	for i, m := range mechanisms {
		names[i] = m.Name()
	}
	for _, r := range remedies {
		if r.is(err) {
			return &RefusalError{Remedy: r.text(names), err: err}
		}
	}
	return nil
}

// Mechanisms returns those of a client.
func Mechanisms(cl *kgo.Client) []sasl.Mechanism {
	ms, _ := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
	return ms
}

// remedy is what to do about an error.
type remedy struct {
	is   func(error) bool
	text func(mechanisms []string) string
}

func always(text string) func([]string) string { return func([]string) string { return text } }

var remedies = []remedy{
	{sentinel(kerr.SaslAuthenticationFailed, ErrUnauthenticated), wrongCredentials},
	{saying("unexpected data in oauth response"), wrongCredentials},
	{sentinel(kerr.UnsupportedSaslMechanism), func(ms []string) string {
		return fmt.Sprintf("this port does not offer %s: check `sasl.mechanism`, or whether this is the right port", strings.Join(ms, " or "))
	}},
	{sentinel(kerr.IllegalSaslState), always("this port takes no SASL: leave `sasl` out, or check whether this is the right port")},
	{typed[x509.UnknownAuthorityError], always("name the certificate of the authority that signed the broker's in `tls.root_cas` or `tls.root_cas_file`")},
	{typed[x509.HostnameError], always("use a name of the certificate in `seed_brokers` and in what the brokers advertise")},
	{typed[x509.CertificateInvalidError], always("the broker needs another certificate, or this machine another time")},
	{typed[*tls.CertificateVerificationError], always("check `tls.root_cas` or `tls.root_cas_file`")},
	{typed[tls.RecordHeaderError], always("this port does not speak TLS: check `tls.enabled`, or whether this is the right port")},
	{saying("speaking to a tls endpoint"), always("this port wants TLS: set `tls.enabled: true`, or check whether this is the right port")},
	{typed[tls.AlertError], ourCertificate},
	{remoteTLS, ourCertificate},
	{saying("immediately after a dial"), always("if it stays so, this port does not speak TLS: check `tls.enabled`, or whether this is the right port")},
}

var ourCertificate = always("the broker accepts no certificate of ours: check `tls.client_certs`, that it is signed by an authority that the broker trusts, and has not expired")

func wrongCredentials(mechanisms []string) string {
	if len(mechanisms) != 1 {
		return "check `sasl`"
	}
	switch mechanisms[0] {
	case SASLPlain, SASLScram256, SASLScram512:
		return "check `sasl.username` and `sasl.password`"
	case SASLKerberos:
		return "the broker cannot read the ticket: check `sasl.kerberos.service_name`, and the keytab of the broker"
	case SASLOAuthBearer:
		return "the broker does not accept the token: check `sasl.token`, or the client in `sasl.oauth2`, and what the broker expects in a token"
	}
	return "check `sasl`"
}
