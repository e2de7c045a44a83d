package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/kerberos"
)

// loginPatience is how long a connection waits for a ticket, short enough for a Probe to
// see two of them fail, which the client takes to report one. The library asks one KDC
// after the other, each for 5s, whatever its caller wants; so it goes on without its
// caller, and the next one finds what it got.
const loginPatience = 3500 * time.Millisecond

// login holds the tickets of one principal.
type login struct {
	service, config string
	// principal and one of keytab and password, or cache alone.
	principal, keytab, password, cache string

	// turn is held by whoever uses what follows it. It may be the goroutine of a call
	// that has given up. Capacity 1.
	turn chan struct{}
	// client has the tickets, nil before the first login and after a failure.
	client *client.Client
	// who is the client's principal, for errors.
	who string
	// read is the cache file that the client came from.
	read os.FileInfo

	// mu guards what is asked for while the turn is taken: users, who may come and go, and
	// kdcs, those of the realm, for errors.
	mu struct {
		sync.Mutex
		users int
		kdcs  string
	}
}

// join adds a user.
func (l *login) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.users++
}

// leave removes a user; the last one ends the login. If the turn is taken, who has it
// does: it gives the turn back under mu, so one of the two sees that nobody is left.
func (l *login) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.users--; l.mu.users > 0 {
		return
	}
	select {
	case l.turn <- struct{}{}:
		l.forget()
		<-l.turn
	default:
	}
}

// yield gives the turn back.
func (l *login) yield() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.users == 0 {
		l.forget()
	}
	<-l.turn
}

// forget drops the tickets, and what renews them.
func (l *login) forget() {
	if l.client != nil {
		l.client.Destroy()
		l.client, l.read = nil, nil
	}
}

// authenticate makes the first message to a broker.
func (l *login) authenticate(ctx context.Context, addr string) (sasl.Session, []byte, error) {
	bounded, cancel := context.WithTimeout(ctx, loginPatience)
	defer cancel()
	late := func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return l.unreachable(fmt.Sprintf("no answer within %v", loginPatience))
	}
	select {
	case l.turn <- struct{}{}:
	case <-bounded.Done():
		return nil, nil, late()
	}
	type first struct {
		session sasl.Session
		message []byte
		err     error
	}
	made := make(chan first, 1)
	go func() {
		defer l.yield()
		var f first
		f.session, f.message, f.err = l.begin(bounded, addr)
		made <- f
	}()
	select {
	case f := <-made:
		return f.session, f.message, f.err
	case <-bounded.Done():
		return nil, nil, late()
	}
}

// begin gets a ticket for the broker, if there is none yet, and makes a message of it.
func (l *login) begin(ctx context.Context, addr string) (s sasl.Session, message []byte, err error) {
	defer func() {
		// The library takes lengths from files and from the network on trust.
		if r := recover(); r != nil {
			l.forget()
			s, message, err = nil, nil, &CredentialError{text: fmt.Sprintf("getting a ticket for %s: the Kerberos library failed: %v", addr, r)}
		}
	}()
	if err := l.open(); err != nil {
		return nil, nil, err
	}
	host := addr
	if name, _, err := net.SplitHostPort(addr); err == nil {
		host = name
	}
	err = l.client.AffirmLogin()
	if err == nil {
		_, _, err = l.client.GetServiceTicket(l.service + "/" + host)
	}
	if err != nil {
		explained := l.explain(err, host)
		if !networking(err) {
			l.forget() // The next try begins with the files as they are then.
		}
		return nil, nil, explained
	}
	return kerberos.Auth{Client: l.client, Service: l.service}.AsMechanism().Authenticate(ctx, net.JoinHostPort(host, "0"))
}

// open makes the client if there is none, or if the cache has changed.
func (l *login) open() error {
	if l.cache != "" {
		return l.openCache()
	}
	if l.client != nil {
		return nil
	}
	conf, err := loadConfig(l.config)
	if err != nil {
		return err
	}
	// The library would take the realm for a part of the name.
	user, realm := l.principal, conf.LibDefaults.DefaultRealm
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		user, realm = user[:at], user[at+1:]
	}
	if user == "" || realm == "" {
		return &CredentialError{final: true, text: fmt.Sprintf("the principal %q has no realm, or no name, and %s has no default_realm: write user@REALM", l.principal, l.config)}
	}
	l.belong(conf, user, realm)
	if l.keytab == "" {
		l.client = client.NewWithPassword(user, realm, l.password, conf)
		return nil
	}
	kt, err := loadKeytab(l.keytab)
	if err != nil {
		return err
	}
	l.client = client.NewWithKeytab(user, realm, kt, conf)
	return nil
}

// openCache reads the ticket cache anew if it is another than before: the library never
// renews a ticket of a cache, whoever filled it does.
func (l *login) openCache() error {
	now, err := os.Stat(l.cache)
	if err != nil {
		l.forget()
		return &CredentialError{text: fmt.Sprintf("there is no ticket cache %s (%v): run kinit, or name its file in kerberos.ticket_cache", l.cache, reason(err))}
	}
	if l.client != nil && os.SameFile(l.read, now) && l.read.Size() == now.Size() && l.read.ModTime().Equal(now.ModTime()) {
		return nil
	}
	l.forget()
	conf, err := loadConfig(l.config)
	if err != nil {
		return err
	}
	cl, err := loadCache(l.cache, conf)
	if err != nil {
		return &CredentialError{text: fmt.Sprintf("the ticket cache %s cannot be used: it is damaged, being written, or without a ticket-granting ticket (%v): run kinit", l.cache, err)}
	}
	l.client, l.read = cl, now
	l.belong(conf, cl.Credentials.UserName(), cl.Credentials.Domain())
	return nil
}

// loadCache reads a ticket cache. The library trusts the lengths in it, and would panic
// at one that kinit is just writing. The panic's text is of no use, and might hold some
// of the file.
func loadCache(path string, conf *config.Config) (cl *client.Client, err error) {
	defer func() {
		if recover() != nil {
			cl, err = nil, errors.New("the file ends too early")
		}
	}()
	cc, err := credentials.LoadCCache(path)
	if err != nil {
		return nil, errors.New("it is not a ticket cache")
	}
	return client.NewFromCCache(cc, conf)
}

// loadKeytab reads a keytab. No text of the library gets out: of one that is cut off it
// prints all there is, the keys included.
func loadKeytab(path string) (kt *keytab.Keytab, err error) {
	damaged := &CredentialError{final: true, text: fmt.Sprintf("the keytab %s is not a keytab, or is cut off: export it again", path)}
	defer func() {
		if recover() != nil {
			kt, err = nil, damaged
		}
	}()
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &CredentialError{final: true, text: fmt.Sprintf("reading the keytab %s: %v: check kerberos.keytab", path, reason(err))}
	}
	kt = keytab.New()
	if kt.Unmarshal(data) != nil || len(kt.Entries) == 0 {
		return nil, damaged
	}
	return kt, nil
}

func loadConfig(path string) (*config.Config, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, &CredentialError{final: true, text: fmt.Sprintf("reading the Kerberos configuration %s: %v: check kerberos.krb5_conf", path, reason(err))}
	}
	conf, err := config.Load(path)
	if errors.As(err, new(config.UnsupportedDirective)) {
		err = nil // Such as those of Kerberos 4, which nobody needs.
	}
	if err != nil {
		return nil, &CredentialError{final: true, text: fmt.Sprintf("reading the Kerberos configuration %s: %v", path, err)}
	}
	return conf, nil
}

// belong notes whose tickets these are, for errors.
func (l *login) belong(conf *config.Config, user, realm string) {
	found := "found by DNS"
	for _, r := range conf.Realms {
		if r.Realm == realm {
			found = strings.Join(r.KDC, ", ")
		}
	}
	l.who = user + "@" + realm
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.kdcs = fmt.Sprintf("%s (%s)", realm, found)
}

// unreachable is the error where no KDC answers.
func (l *login) unreachable(cause string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &CredentialError{text: fmt.Sprintf("no KDC of %s can be reached: %s", cmp.Or(l.mu.kdcs, l.config), cause)}
}

// reason is what the system says, without the path, which the message has already.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
