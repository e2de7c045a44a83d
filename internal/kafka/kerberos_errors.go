package kafka

import (
	"fmt"
	"strings"
)

// CredentialError says why there is nothing to authenticate with: no ticket, no token.
type CredentialError struct {
	text string
	// final: somebody has to change the configuration or the directory; otherwise it
	// may pass, as an outage does, or a ticket that somebody will renew.
	final bool
}

// Error implements error.
func (e *CredentialError) Error() string { return e.text }

// Temporary makes the client try again instead of failing what it has buffered. A
// stream that runs has worked with these credentials, and can wait for them to come
// back; at the start Classify stops one that has none.
func (e *CredentialError) Temporary() bool { return true }

// IsCredential tells that there was nothing to authenticate with, whatever the broker.
func IsCredential(err error) bool { return typed[*CredentialError](err) }

// finalCredential matches credentials that cannot work as they are configured.
func finalCredential(err error) bool {
	e, ok := as[*CredentialError](err)
	return ok && e.final
}

// networking tells that no KDC could be asked. The library flattens its errors into
// texts, so there is nothing else to know them by.
func networking(err error) bool {
	text := err.Error()
	return strings.Contains(text, "[Root cause: Networking_Error]") && !strings.Contains(text, "no KDCs defined")
}

// explain turns an error of the library into one that names what was configured and
// what to do.
func (l *login) explain(err error, host string) error {
	text := err.Error()
	for _, c := range l.complaints(host) {
		if strings.Contains(text, c.sign) {
			return &CredentialError{final: c.final, text: c.text}
		}
	}
	if networking(err) {
		_, cause, found := strings.Cut(text, "to a KDC: ")
		if !found {
			cause = text
		}
		return l.unreachable(cause)
	}
	return &CredentialError{text: fmt.Sprintf("getting a ticket for %s/%s as %s: %s", l.service, host, l.who, text)}
}

// complaint is what a text of the library or of a KDC means.
type complaint struct {
	sign  string
	final bool
	text  string
}

func (l *login) complaints(host string) []complaint {
	realm := realmOf(l.who)
	from, secret, remedy := fmt.Sprintf("the keytab %s", l.keytab), "key", "export the keytab again"
	switch {
	case l.cache != "":
		from, secret, remedy = fmt.Sprintf("the ticket cache %s", l.cache), "ticket", "run kinit"
	case l.keytab == "":
		from, secret, remedy = "the configuration", "password", "check `password`"
	}
	f := fmt.Sprintf
	return []complaint{
		{"KDC_ERR_C_PRINCIPAL_UNKNOWN", true, f("the KDC does not know the principal %s of %s: check its spelling and its realm", l.who, from)},
		{"matching key not found in keytab", true, f("%s holds no key of %s: check kerberos.principal, `klist -k` lists what there is", from, l.who)},
		{"KDC_ERR_PREAUTH_FAILED", true, f("the KDC refuses the %s of %s in %s, it is wrong or out of date: %s", secret, l.who, from, remedy)},
		{"KRB_AP_ERR_BAD_INTEGRITY", true, f("the KDC refuses the %s of %s in %s, it is wrong or out of date: %s", secret, l.who, from, remedy)},
		{"KDC_ERR_NAME_EXP", true, f("the principal %s has expired: have it prolonged by who runs the KDC", l.who)},
		{"KDC_ERR_KEY_EXPIRED", true, f("the %s of %s has expired: set a new one", secret, l.who)},
		{"KDC_ERR_CLIENT_REVOKED", true, f("the principal %s is locked: have it unlocked by who runs the KDC", l.who)},
		{"KDC_ERR_S_PRINCIPAL_UNKNOWN", true, f("the KDC does not know the service %s/%s: check kerberos.service_name, and that brokers are addressed, and advertise themselves, "+
			"by the host names in their principals", l.service, host)},
		{"no KDCs defined in configuration", true, f("%s names no KDC for the realm %s: add it to [realms], or check the realm of %s", l.config, realm, l.who)},
		{"does not have any defined KDCs", true, f("%s names no KDC for the realm %s: add a line `kdc = host` to it", l.config, realm)},
		{"no user credentials available", false, f("the ticket of %s in %s has expired: run kinit, or have it run before tickets end", l.who, from)},
		{"KRB_AP_ERR_TKT_EXPIRED", false, f("the ticket of %s in %s has expired: run kinit, or have it run before tickets end", l.who, from)},
		{"KRB_AP_ERR_SKEW", false, f("the clocks of this machine and of the KDC of %s differ too much: set them", realm)},
		{"KDC_ERR_ETYPE_NOSUPP", true, f("the KDC of %s accepts none of our kinds of encryption for %s: give the principal aes256-cts or aes128-cts keys", realm, l.who)},
	}
}

func realmOf(principal string) string { return principal[strings.LastIndexByte(principal, '@')+1:] }
