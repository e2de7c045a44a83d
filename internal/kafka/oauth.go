package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenPatience is how long a token endpoint may take, less than a Probe has.
const tokenPatience = 5 * time.Second

// sessionLeast is for how long a session should be good: brokers refuse a client that
// authenticates twice in a second.
const sessionLeast = 10 * time.Second

// OAuth2 gets the tokens of OAUTHBEARER with client credentials (RFC 6749, 4.4). The
// zero value gets none.
type OAuth2 struct {
	TokenURL, ClientID, ClientSecret string
	Scopes                           []string
	// Params are further ones of the request.
	Params map[string][]string
	// TLS of the endpoint; nil = the system's.
	TLS *tls.Config
}

// bearer returns the mechanism of credentials with OAUTHBEARER.
func (c Credentials) bearer() (sasl.Mechanism, error) {
	// The client sends the error on when the token is asked for; here it can be seen.
	token, err := c.bearerToken()
	if err != nil {
		return nil, err
	}
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, err := token(ctx)
		return oauth.Auth{Token: token, Extensions: c.Extensions}, err
	}), nil
}

// bearerToken returns what gets the token.
func (c Credentials) bearerToken() (func(context.Context) (string, error), error) {
	o := c.OAuth2
	switch {
	case o.TokenURL == "" && (o.ClientID != "" || o.ClientSecret != ""):
		return nil, errors.New("oauth2.client_id or .client_secret is set and oauth2.token_url is not: name the token endpoint")
	case c.Token == "" && o.TokenURL == "":
		return nil, fmt.Errorf("mechanism %s needs a `token`, or `oauth2.token_url` to get one from", c.Mechanism)
	case o.TokenURL == "":
		return func(context.Context) (string, error) { return c.Token, nil }, nil
	case c.Token != "":
		return nil, errors.New("`token` and `oauth2.token_url` are set: use one of them")
	case o.ClientID == "" || o.ClientSecret == "":
		return nil, errors.New("oauth2.token_url is set: set oauth2.client_id and oauth2.client_secret, too")
	}
	where, err := url.Parse(o.TokenURL)
	if err != nil || where.Host == "" || where.Scheme != "https" && where.Scheme != "http" {
		return nil, errors.New("oauth2.token_url is not a URL of the form https://host/path")
	}
	return newTokens(o, where).get, nil
}

// tokens keeps the token that all connections of a component use.
type tokens struct {
	conf   clientcredentials.Config
	client *http.Client
	// where is the endpoint, without what could be secret.
	where string

	// mu guards the token, which is good until renew; it is held while one is fetched,
	// which the client's time-out bounds.
	mu    sync.Mutex
	token string
	renew time.Time
}

func newTokens(o OAuth2, where *url.URL) *tokens {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	transport.DisableKeepAlives = true // One request an hour, and nobody closes it.
	return &tokens{
		conf: clientcredentials.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: o.Params,
		},
		client: &http.Client{Transport: transport, Timeout: tokenPatience, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // It would send the secret on to whom nobody named.
		}},
		where: where.Scheme + "://" + where.Host + where.Path,
	}
}

// get returns a token with at least a fifth of its life before it, or sessionLeast: the
// session that it opens ends with it.
func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.token != "" && now.Before(t.renew) {
		return t.token, nil
	}
	got, err := t.conf.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", t.explain(err)
	}
	t.token, t.renew = got.AccessToken, now
	if !got.Expiry.IsZero() {
		t.renew = got.Expiry.Add(-max(got.Expiry.Sub(now)/5, sessionLeast))
	}
	return t.token, nil
}

// explain says what the endpoint has against the request, in words in which the secret
// does not occur even if the endpoint repeats it.
func (t *tokens) explain(err error) error {
	refused, ok := as[*oauth2.RetrieveError](err)
	if !ok {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // Without the URL, which has its query.
		}
		return &CredentialError{text: t.clean(fmt.Sprintf("getting a token from %s: %v", t.where, err))}
	}
	said := refused.ErrorCode
	if refused.ErrorDescription != "" {
		said += ": " + refused.ErrorDescription
	}
	status := refused.Response.StatusCode
	wrong := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}
	return &CredentialError{
		final: slices.Contains(wrong, status),
		text: t.clean(fmt.Sprintf("the token endpoint %s answers %d %s (%s): check oauth2.token_url, .client_id, .client_secret and .scopes",
			t.where, status, http.StatusText(status), cmp.Or(said, "without a reason"))),
	}
}

func (t *tokens) clean(text string) string {
	return strings.NewReplacer(t.conf.ClientSecret, "***", url.QueryEscape(t.conf.ClientSecret), "***").Replace(text)
}
