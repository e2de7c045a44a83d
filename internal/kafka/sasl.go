package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The SASL mechanisms, as brokers and configurations spell them.
const (
	SASLNone        = "none"
	SASLPlain       = "PLAIN"
	SASLScram256    = "SCRAM-SHA-256"
	SASLScram512    = "SCRAM-SHA-512"
	SASLOAuthBearer = "OAUTHBEARER"
	SASLAWS         = "AWS_MSK_IAM"
	SASLKerberos    = "GSSAPI"
)

// Credentials authenticate a client. They print themselves without secrets.
type Credentials struct {
	// Mechanism is one of the SASL constants; empty = none.
	Mechanism string
	// Username and Password of PLAIN and SCRAM.
	Username, Password string
	// Token and Extensions of OAUTHBEARER.
	Token      string
	Extensions map[string]string
	// OAuth2 gets the token of OAUTHBEARER, if there is none.
	OAuth2 OAuth2
	// AWS keys of AWS_MSK_IAM; those that are empty come from the environment
	// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), read anew for
	// every session.
	AWS AWSKeys
	// Kerberos of GSSAPI; with a password instead, Username is the principal.
	Kerberos Kerberos
}

// AWSKeys are an access key of AWS and, for short-term ones, its session token.
type AWSKeys struct{ ID, Secret, Token string }

// String names the mechanism and the user, nothing else.
func (c Credentials) String() string {
	return fmt.Sprintf("%s (user %q)", c.Mechanism, c.Username)
}

// GoString is String: %#v must not print a password either.
func (c Credentials) GoString() string { return c.String() }

// SASL returns the client's form of the credentials, nil for none.
func (c Credentials) SASL() (sasl.Mechanism, error) {
	switch c.Mechanism {
	case "", SASLNone:
		return nil, nil
	case SASLPlain:
		return plain.Auth{User: c.Username, Pass: c.Password}.AsMechanism(), c.needUser()
	case SASLScram256:
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha256Mechanism(), c.needUser()
	case SASLScram512:
		return scram.Auth{User: c.Username, Pass: c.Password}.AsSha512Mechanism(), c.needUser()
	case SASLOAuthBearer:
		return c.bearer()
	case SASLAWS:
		return aws.ManagedStreamingIAM(c.AWS.session), nil
	case SASLKerberos:
		return c.kerberos()
	}
	return nil, fmt.Errorf("mechanism %q is not supported: use %s, %s, %s, %s, %s or %s",
		c.Mechanism, SASLPlain, SASLScram256, SASLScram512, SASLOAuthBearer, SASLKerberos, SASLAWS)
}

// Login returns the user and password of a mechanism that has them; ok tells whether it has.
func (c Credentials) Login() (user, password string, ok bool) {
	switch c.Mechanism {
	case SASLPlain, SASLScram256, SASLScram512:
		return c.Username, c.Password, true
	}
	return "", "", false
}

// HTTP returns what adds the credentials to a request of HTTP: a user and password as basic
// authentication, a token as a bearer's. It is nil for a mechanism that HTTP does not have.
func (c Credentials) HTTP() (func(*http.Request) error, error) {
	if user, password, ok := c.Login(); ok {
		return func(r *http.Request) error { r.SetBasicAuth(user, password); return nil }, c.needUser()
	}
	if c.Mechanism != SASLOAuthBearer {
		return nil, nil
	}
	token, err := c.bearerToken()
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) error {
		t, err := token(r.Context())
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+t)
		}
		return err
	}, nil
}

func (c Credentials) needUser() error {
	if c.Username == "" {
		return fmt.Errorf("mechanism %s needs a `username`", c.Mechanism)
	}
	return nil
}

func (k AWSKeys) session(context.Context) (aws.Auth, error) {
	auth := aws.Auth{AccessKey: k.ID, SecretKey: k.Secret, SessionToken: k.Token}
	if auth.AccessKey == "" {
		auth.AccessKey = os.Getenv("AWS_ACCESS_KEY_ID")
		auth.SecretKey = os.Getenv("AWS_SECRET_ACCESS_KEY")
		auth.SessionToken = os.Getenv("AWS_SESSION_TOKEN")
	}
	if auth.AccessKey == "" || auth.SecretKey == "" {
		return auth, errors.New("mechanism AWS_MSK_IAM found no access key: set aws.credentials.id and .secret, " +
			"or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	}
	return auth, nil
}
