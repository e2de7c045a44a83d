package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/sasl"
)

// Defaults of Kerberos.
const (
	DefaultKerberosService = "kafka"
	DefaultKerberosConfig  = "/etc/krb5.conf"
)

// Kerberos says as whom to authenticate with GSSAPI, and how. There is one source of
// tickets: a keytab, a password (of Credentials), or a ticket cache that somebody
// else keeps fresh, such as kinit or k5start.
type Kerberos struct {
	// Keytab file and the Principal in it, user@REALM; without a realm, that of the
	// configuration's default_realm.
	Keytab, Principal string
	// UseTicketCache says whether to use a ticket cache; nil = if there is neither a
	// keytab nor a password.
	UseTicketCache *bool
	// TicketCache is its file; empty = $KRB5CCNAME, or /tmp/krb5cc_<uid>.
	TicketCache string
	// Service is the first part of the brokers' principals; empty =
	// DefaultKerberosService. The second part is the host that is dialled.
	Service string
	// Config is the file that names realms and KDCs; empty = $KRB5_CONFIG, or
	// DefaultKerberosConfig.
	Config string
}

// kerberos returns the mechanism of credentials with GSSAPI. Files are read at each
// login and not here, so that new ones are found, and a file that comes late too.
func (c Credentials) kerberos() (sasl.Mechanism, error) {
	k := c.Kerberos
	if err := k.check(c.Username, c.Password); err != nil {
		return nil, err
	}
	l := &login{
		service: cmp.Or(k.Service, DefaultKerberosService), config: k.configFile(),
		principal: cmp.Or(k.Principal, c.Username), keytab: k.Keytab, password: c.Password,
		turn: make(chan struct{}, 1),
	}
	if l.keytab == "" && l.password == "" {
		var err error
		if l.cache, err = k.cacheFile(); err != nil {
			return nil, err
		}
	}
	return &gssapi{login: l}, nil
}

// check reports what contradicts itself.
func (k Kerberos) check(username, password string) error {
	var errs []error
	fault := func(is bool, text string) {
		if is {
			errs = append(errs, errors.New(text))
		}
	}
	cached := k.UseTicketCache != nil && *k.UseTicketCache
	uncached := k.UseTicketCache != nil && !*k.UseTicketCache
	fault(k.Keytab != "" && k.Principal == "", "kerberos.keytab is set and kerberos.principal is not: name the principal in the keytab, such as orders@EXAMPLE.COM")
	fault(k.Keytab == "" && k.Principal != "", "kerberos.principal is set and kerberos.keytab is not: name the keytab; a ticket cache says itself whose it is, and with a password use `username`")
	fault(k.Keytab != "" && cached, "kerberos.keytab is set and kerberos.use_ticket_cache is true: use one of them")
	fault(k.TicketCache != "" && k.Keytab != "", "kerberos.ticket_cache is set and so is kerberos.keytab: use one of them")
	fault(k.TicketCache != "" && uncached, "kerberos.ticket_cache is set and kerberos.use_ticket_cache is false: leave one of them out")
	fault(uncached && k.Keytab == "" && password == "", "kerberos.use_ticket_cache is false and there is no other way to get a ticket: set kerberos.keytab and kerberos.principal, or `username` and `password`")
	fault(k.Keytab != "" && (username != "" || password != ""), "kerberos.keytab is set and so is `username` or `password`: use one of them")
	fault(password != "" && (cached || k.TicketCache != ""), "`password` and a ticket cache are set: use one of them")
	fault(k.Keytab == "" && (username == "") != (password == ""), "mechanism GSSAPI with a password needs `username` and `password`: set both or none")
	return errors.Join(errs...)
}

func (k Kerberos) configFile() string {
	if k.Config != "" {
		return k.Config
	}
	// Several files are merged by MIT's library; ours reads one.
	for _, f := range filepath.SplitList(os.Getenv("KRB5_CONFIG")) {
		if f != "" {
			return f
		}
	}
	return DefaultKerberosConfig
}

// cacheFile returns the path of the ticket cache.
func (k Kerberos) cacheFile() (string, error) {
	field, name := "kerberos.ticket_cache", k.TicketCache
	if name == "" {
		field, name = "$KRB5CCNAME", os.Getenv("KRB5CCNAME")
	}
	if name == "" {
		return filepath.Join("/tmp", "krb5cc_"+strconv.Itoa(os.Getuid())), nil
	}
	kind, path, ok := strings.Cut(name, ":")
	switch {
	case !ok || strings.Contains(kind, "/"):
		return name, nil
	case kind == "FILE":
		return path, nil
	}
	return "", fmt.Errorf("%s is %q: ticket caches of the kind %s cannot be read, use a file, such as the one of `kinit -c /path/to/cache`", field, name, kind)
}

// gssapi is the mechanism of one client. All clients of a component share a login,
// so that they need one ticket; it ends with the last of them.
type gssapi struct {
	*login
	mu struct {
		sync.Mutex
		using, closed bool
	}
}

var (
	_ sasl.ClosingMechanism = (*gssapi)(nil)
	_ perClient             = (*gssapi)(nil)
)

// perClient is a mechanism that shares something between clients: each gets its own,
// to close it.
type perClient interface{ forClient() sasl.Mechanism }

// forClients returns the mechanisms for one more client.
func forClients(ms []sasl.Mechanism) []sasl.Mechanism {
	own := make([]sasl.Mechanism, len(ms))
	for i, m := range ms {
		own[i] = m
		if p, ok := m.(perClient); ok {
			own[i] = p.forClient()
		}
	}
	return own
}

func (g *gssapi) forClient() sasl.Mechanism { return &gssapi{login: g.login} }

// Name implements sasl.Mechanism.
func (g *gssapi) Name() string { return SASLKerberos }

// Authenticate implements sasl.Mechanism. Its errors are temporary to the client, which
// would give up what it has buffered otherwise; whether to wait for them to pass is for
// Classify to say.
func (g *gssapi) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	g.mu.Lock()
	if !g.mu.using && !g.mu.closed {
		g.mu.using = true
		g.login.join()
	}
	g.mu.Unlock()
	return g.login.authenticate(ctx, host)
}

// Close implements sasl.ClosingMechanism.
func (g *gssapi) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.closed = true
	if g.mu.using {
		g.mu.using = false
		g.login.leave()
	}
}
