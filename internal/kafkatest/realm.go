package kafkatest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RealmName is what every Realm is called.
const RealmName = "TEST.LOCAL"

// Realm is a KDC of MIT Kerberos in a process of its own, on 127.0.0.1, with its
// database in a folder. It needs no privileges and nothing of the system's own
// configuration.
type Realm struct {
	dir  string
	port int
	// programs by name: most of them are not on the PATH of a user.
	programs map[string]string
	proc     *process
}

// NewRealm starts a realm of this test's own.
//
// Where MIT Kerberos is not installed the test is skipped, or fails with CI=true.
func NewRealm(t testing.TB) *Realm {
	t.Helper()
	r, err := newRealm(t.TempDir())
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(r.proc.kill)
	return r
}

func newRealm(dir string) (*Realm, error) {
	r := &Realm{dir: dir, programs: map[string]string{}}
	for _, name := range []string{"krb5kdc", "kdb5_util", "kadmin.local", "kinit"} {
		path, err := exec.LookPath(name)
		if err != nil {
			path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
		}
		if err != nil {
			return nil, fmt.Errorf("%w: no %s (install krb5-kdc, krb5-admin-server and krb5-user)", errMissing, name)
		}
		r.programs[name] = path
	}
	var err error
	if r.port, err = reservePorts(); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"krb5.conf": r.krb5Conf(), "kdc.conf": r.kdcConf(), "kadm5.acl": ""} {
		if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("configuring the KDC: %w", err)
		}
	}
	if _, err := r.run("kdb5_util", "create", "-s", "-r", RealmName, "-P", "master"); err != nil {
		return nil, err
	}
	return r, r.start()
}

func (r *Realm) krb5Conf() string {
	return fmt.Sprintf(`[libdefaults]
    default_realm = %[1]s
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    %[1]s = {
        kdc = 127.0.0.1:%[2]d
    }
[domain_realm]
    localhost = %[1]s
`, RealmName, r.port)
}

func (r *Realm) kdcConf() string {
	return fmt.Sprintf(`[kdcdefaults]
    kdc_listen = 127.0.0.1:%[2]d
    kdc_tcp_listen = 127.0.0.1:%[2]d
[realms]
    %[1]s = {
        database_name = %[3]s/principal
        key_stash_file = %[3]s/stash
        acl_file = %[3]s/kadm5.acl
        max_renewable_life = 7d
        supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
    }
[logging]
    kdc = FILE:%[3]s/kdc.log
`, RealmName, r.port, r.dir)
}

func (r *Realm) path(name string) string { return filepath.Join(r.dir, name) }

// Config returns the path of a krb5.conf that names the realm.
func (r *Realm) Config() string { return r.path("krb5.conf") }

// command prepares a program of Kerberos.
func (r *Realm) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(r.programs[name], args...)
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+r.Config(), "KRB5_KDC_PROFILE="+r.path("kdc.conf"), "KRB5RCACHEDIR="+r.dir)
	cmd.Dir = r.dir
	return cmd
}

func (r *Realm) run(name string, args ...string) (string, error) {
	return r.runWith("", name, args...)
}

func (r *Realm) runWith(input, name string, args ...string) (string, error) {
	cmd := r.command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", name, err, lastLines(out, 10))
	}
	return string(out), nil
}

// start runs the KDC and waits until it listens.
func (r *Realm) start() error {
	var err error
	if r.proc, err = launch(r.command("krb5kdc", "-n", "-r", RealmName)); err != nil {
		return err
	}
	return poll(time.Minute, func() error {
		if r.proc.ended() {
			log, _ := os.ReadFile(r.path("kdc.log"))
			return fmt.Errorf("the KDC ended; the end of its log:\n%s", lastLines(log, 10))
		}
		conn, err := net.DialTimeout("tcp", r.address(), time.Second)
		if err != nil {
			return fmt.Errorf("waiting for the KDC: %w", err)
		}
		return conn.Close()
	})
}

func (r *Realm) address() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

// Stop ends the KDC: connections to it are refused.
func (r *Realm) Stop() { r.proc.kill() }

// Start starts the KDC again, with what it knew.
func (r *Realm) Start(t testing.TB) {
	t.Helper()
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
}

// Pause freezes the KDC: connections to it are taken, and nothing is answered.
func (r *Realm) Pause(t testing.TB) { r.signal(t, syscall.SIGSTOP) }

// Continue ends Pause.
func (r *Realm) Continue(t testing.TB) { r.signal(t, syscall.SIGCONT) }

func (r *Realm) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := r.proc.signal(s); err != nil {
		t.Fatalf("sending %v to the KDC: %v", s, err)
	}
}

// Principal makes a principal with random keys and returns a keytab with them. The
// options are kadmin's, such as "-maxlife", "1 minute".
func (r *Realm) Principal(t testing.TB, name string, options ...string) string {
	t.Helper()
	path, err := r.principal(name, options...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *Realm) principal(name string, options ...string) (string, error) {
	// Without preauth a KDC gives tickets, but not for services that have it.
	args := append([]string{"addprinc", "-randkey", "+requires_preauth"}, options...)
	if err := r.admin(append(args, name)...); err != nil {
		return "", err
	}
	path := r.path(strings.NewReplacer("/", "-").Replace(name) + ".keytab")
	return path, r.admin("ktadd", "-k", path, name)
}

// User makes a principal with a password.
func (r *Realm) User(t testing.TB, name, password string) {
	t.Helper()
	r.Admin(t, "addprinc", "+requires_preauth", "-pw", password, name)
}

// Admin runs a command of kadmin, such as "cpw", "-randkey", name.
func (r *Realm) Admin(t testing.TB, words ...string) {
	t.Helper()
	if err := r.admin(words...); err != nil {
		t.Fatal(err)
	}
}

func (r *Realm) admin(words ...string) error {
	quoted := slices.Clone(words)
	for i, w := range quoted {
		if strings.ContainsAny(w, " \t") {
			quoted[i] = `"` + w + `"`
		}
	}
	out, err := r.run("kadmin.local", "-r", RealmName, "-q", strings.Join(quoted, " "))
	// It ends well whatever the command did.
	if err == nil && (strings.Contains(out, "while ") || strings.Contains(out, "usage:")) {
		err = errors.New(out)
	}
	if err != nil {
		return fmt.Errorf("kadmin %s: %w", words[0], err)
	}
	return nil
}

// Login fills a ticket cache with a ticket of a keytab. The options are kinit's, such
// as "-l", "10s".
func (r *Realm) Login(t testing.TB, cache, principal, keytab string, options ...string) {
	t.Helper()
	if err := r.login(cache, principal, keytab, options...); err != nil {
		t.Fatal(err)
	}
}

func (r *Realm) login(cache, principal, keytab string, options ...string) error {
	args := append([]string{"-k", "-t", keytab, "-c", "FILE:" + cache}, options...)
	_, err := r.run("kinit", append(args, principal+"@"+RealmName)...)
	return err
}

// StayLoggedIn is Login, and again so often until the test ends.
func (r *Realm) StayLoggedIn(t testing.TB, every time.Duration, cache, principal, keytab string) {
	t.Helper()
	r.Login(t, cache, principal, keytab)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-time.After(every):
			case <-over:
				return
			}
			if err := r.login(cache, principal, keytab); err != nil {
				t.Errorf("staying logged in: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-done
	})
}
