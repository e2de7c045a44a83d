package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/format"
)

// Config says how a registry is reached.
type Config struct {
	// URLs of the registry, at least one. They are of the same registry: the one that
	// answered last is asked first.
	URLs []string
	// Context of the schemas, for registries that have several; empty for the default one.
	Context string
	// Username and Password of basic authentication; none if both are empty.
	Username, Password string
	// BearerToken is sent instead.
	BearerToken string
	// Authorize prepares each request, for instance with a token that expires; nil for none.
	// Its error must not hold a secret.
	Authorize func(*http.Request) error
	// TLS of https URLs; nil for what the system trusts.
	TLS *tls.Config
	// Timeout of one request; 0 means 5s.
	Timeout time.Duration
	// Retries after a request without a useful answer; 0 means 3, -1 none. With more URLs
	// than that, each is tried once all the same.
	Retries int
	// Refresh is how long the latest version of a subject counts as the latest; 0 means 10m.
	Refresh time.Duration
}

const (
	// largestAnswer bounds what is read from a registry: schemas have kilobytes.
	largestAnswer = 16 << 20
	// mostSchemas bounds each cache. A pipeline meets dozens.
	mostSchemas = 4096
)

// Client asks a registry and remembers what it said.
type Client struct {
	config  Config
	clients []*sr.Client // one for each URL
	http    *http.Client
	first   atomic.Int64 // index of the URL to ask first
	pause   time.Duration

	byID      *memo[int, sr.Schema]
	byVersion *memo[version, sr.SubjectSchema]
}

// version of a subject; number -1 is the latest.
type version struct {
	subject string
	number  int
}

// NewClient checks the configuration; it asks nothing yet.
func NewClient(c Config) (*Client, error) {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Retries == 0 {
		c.Retries = 3
	}
	if c.Refresh == 0 {
		c.Refresh = 10 * time.Minute
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c.TLS
	cl := &Client{
		config: c,
		// Each request has a deadline of its own, which the caller's context may shorten.
		http:  &http.Client{Transport: bounded{transport}},
		pause: 100 * time.Millisecond,
		byID:  newMemo[int, sr.Schema](mostSchemas), byVersion: newMemo[version, sr.SubjectSchema](mostSchemas),
	}
	for _, u := range c.URLs {
		opts := []sr.ClientOpt{sr.URLs(u), sr.HTTPClient(cl.http), sr.UserAgent("tidemark")}
		if c.Username != "" || c.Password != "" {
			opts = append(opts, sr.BasicAuth(c.Username, c.Password))
		}
		if c.BearerToken != "" {
			opts = append(opts, sr.BearerToken(c.BearerToken))
		}
		if c.Authorize != nil {
			opts = append(opts, sr.PreReq(c.Authorize))
		}
		if c.Context != "" {
			opts = append(opts, sr.DefaultSchemaContext(c.Context))
		}
		one, err := sr.NewClient(opts...)
		if err != nil {
			return nil, fmt.Errorf("schema registry %s: %w", u, err)
		}
		cl.clients = append(cl.clients, one)
	}
	return cl, nil
}

// validate reports all faults together.
func (c *Config) validate() error {
	var errs []error
	if len(c.URLs) == 0 {
		errs = append(errs, errors.New("url: is missing; it is where the schema registry is, such as http://localhost:8081"))
	}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			// The error of url.Parse holds the whole text, with what may be a password.
			errs = append(errs, errors.New("url: one is not a URL; it must look like http://localhost:8081"))
		case u.User != nil:
			errs = append(errs, fmt.Errorf("url: %s holds credentials, which would get into errors; set basic_auth instead", u.Redacted()))
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("url: %q must be http:// or https://, a host, and a path at most", (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()))
		}
	}
	if (c.Username != "" || c.Password != "") && c.BearerToken != "" {
		errs = append(errs, errors.New("basic_auth and bearer_token exclude each other; set one of them"))
	}
	if strings.ContainsAny(c.BearerToken, "\r\n") {
		errs = append(errs, errors.New("bearer_token: holds a line break"))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("timeout: %v must be above 0", c.Timeout))
	}
	if c.Retries < -1 {
		errs = append(errs, fmt.Errorf("retries: %d must be 0 or more", c.Retries))
	}
	if c.Refresh < 0 {
		errs = append(errs, fmt.Errorf("refresh_period: %v must be above 0", c.Refresh))
	}
	return errors.Join(errs...)
}

// Close frees connections. Formats of the client keep what they know.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ask has one question answered by any of the URLs. own tells which answers are about what is
// asked for rather than about the registry; all other errors are marked as unavailable.
func (c *Client) ask(ctx context.Context, what string, own func(*sr.ResponseError) bool, do func(context.Context, *sr.Client) error) error {
	tries := max(c.config.Retries, 0) + 1
	if n := len(c.clients); tries < n {
		tries = n
	}
	first := int(c.first.Load())
	var err error
	for try := range tries {
		if try >= len(c.clients) {
			if err := c.wait(ctx, try-len(c.clients)); err != nil {
				return format.Unavailable(fmt.Errorf("schema registry: %s: %w", what, err))
			}
		}
		i := (first + try) % len(c.clients)
		request, cancel := context.WithTimeout(ctx, c.config.Timeout)
		err = do(request, c.clients[i])
		cancel()
		if err == nil {
			c.first.Store(int64(i))
			return nil
		}
		var refused *sr.ResponseError
		if errors.As(err, &refused) {
			err = answer(refused)
			if own(refused) {
				c.first.Store(int64(i))
				return fmt.Errorf("schema registry %s: %s: %w", c.config.URLs[i], what, err)
			}
		}
		err = fmt.Errorf("schema registry %s: %s: %w", c.config.URLs[i], what, cause(err))
		if ctx.Err() != nil || refused != nil && !temporary(refused) {
			break
		}
	}
	return format.Unavailable(err)
}

// wait backs off before another round.
func (c *Client) wait(ctx context.Context, round int) error {
	d := min(c.pause<<min(round, 10), 2*time.Second)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// temporary tells whether the same question may have another answer soon, or from another URL.
func temporary(e *sr.ResponseError) bool {
	return e.StatusCode >= 500 || e.StatusCode == http.StatusTooManyRequests || e.StatusCode == http.StatusRequestTimeout
}

// unknown is an answer of a registry, not of some other server, that it does not have what was
// asked for: its codes begin with the status.
func unknown(e *sr.ResponseError) bool {
	return e.StatusCode == http.StatusNotFound && e.ErrorCode/100 == http.StatusNotFound
}

// unacceptable is an answer that the schema itself is refused. That the registry takes none at
// the moment, because its mode is read only, is not.
func unacceptable(e *sr.ResponseError) bool {
	if e.ErrorCode == sr.ErrOperationNotPermitted.Code || e.ErrorCode == 0 {
		return false
	}
	return e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusUnprocessableEntity || unknown(e)
}

// answer words what a registry refused, with its own text.
func answer(e *sr.ResponseError) error {
	text := brief(strings.Join(strings.Fields(e.Error()), " "), 1000)
	switch {
	case e.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("it refuses the credentials, or wants some: status 401: %s", text)
	case e.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the credentials lack a right for this: status 403: %s", text)
	case e.StatusCode == http.StatusNotFound && !unknown(e):
		return fmt.Errorf("status 404: %s; the URL seems not to be that of a registry's API: check its path", text)
	}
	return fmt.Errorf("status %d: %s", e.StatusCode, text)
}

// cause strips what the client and the standard library repeat: method and URL.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// brief cuts what is quoted in an error.
func brief(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// bounded is a transport whose answers end somewhere.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, largestAnswer)
	}
	return resp, err
}
