package connection

import (
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// credentials are those of SASLField, or what over sets instead.
func credentials(conf *service.ParsedConfig, over kafka.Overrides) ([]kafka.Credentials, []sasl.Mechanism, error) {
	creds, err := Credentials(conf)
	if err != nil {
		return nil, nil, err
	}
	kafka.Override(over, FieldSASL, &creds)
	var mechs []sasl.Mechanism
	var errs []error
	for i, c := range creds {
		m, err := c.SASL()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s.%d: %w", FieldSASL, i, err))
		case m != nil:
			mechs = append(mechs, m)
		}
	}
	return creds, mechs, errors.Join(errs...)
}

// Credentials reads a SASLField. Other connections than those to brokers can take them
// too: a kafka.Credentials is as good for whatever speaks one of its mechanisms.
func Credentials(conf *service.ParsedConfig) ([]kafka.Credentials, error) {
	if !conf.Contains(FieldSASL) {
		return nil, nil
	}
	items, err := conf.FieldObjectList(FieldSASL)
	if err != nil {
		return nil, err
	}
	creds := make([]kafka.Credentials, len(items))
	var errs []error
	for i, item := range items {
		if creds[i], err = credential(item); err != nil {
			errs = append(errs, fmt.Errorf("%s.%d: %w", FieldSASL, i, err))
		}
	}
	return creds, errors.Join(errs...)
}

func credential(item *service.ParsedConfig) (kafka.Credentials, error) {
	var c kafka.Credentials
	var errs []error
	text := func(dst *string, path ...string) {
		if item.Contains(path...) {
			var err error
			if *dst, err = item.FieldString(path...); err != nil {
				errs = append(errs, err)
			}
		}
	}
	text(&c.Mechanism, "mechanism")
	text(&c.Username, "username")
	text(&c.Password, "password")
	text(&c.Token, "token")
	if item.Contains("extensions") {
		var err error
		if c.Extensions, err = item.FieldStringMap("extensions"); err != nil {
			errs = append(errs, err)
		}
	}
	text(&c.Kerberos.Keytab, "kerberos", "keytab")
	text(&c.Kerberos.Principal, "kerberos", "principal")
	text(&c.Kerberos.TicketCache, "kerberos", "ticket_cache")
	text(&c.Kerberos.Service, "kerberos", "service_name")
	text(&c.Kerberos.Config, "kerberos", "krb5_conf")
	if item.Contains("kerberos", "use_ticket_cache") {
		use, err := item.FieldBool("kerberos", "use_ticket_cache")
		if err != nil {
			errs = append(errs, err)
		}
		c.Kerberos.UseTicketCache = &use
	}
	if err := oauth2(item, &c.OAuth2); err != nil {
		errs = append(errs, err)
	}
	text(&c.AWS.ID, "aws", "credentials", "id")
	text(&c.AWS.Secret, "aws", "credentials", "secret")
	text(&c.AWS.Token, "aws", "credentials", "token")
	for _, name := range []string{"profile", "role", "role_external_id"} {
		var v string
		if text(&v, "aws", "credentials", name); v != "" {
			errs = append(errs, fmt.Errorf("aws.credentials.%s is not supported: set aws.credentials.id and .secret, or put an access key into the environment", name))
		}
	}
	if role, _ := item.FieldBool("aws", "credentials", "from_ec2_role"); role {
		errs = append(errs, errors.New("aws.credentials.from_ec2_role is not supported: set aws.credentials.id and .secret, or put an access key into the environment"))
	}
	return c, errors.Join(errs...)
}

// oauth2 reads where the tokens of OAUTHBEARER come from.
func oauth2(item *service.ParsedConfig, o *kafka.OAuth2) error {
	if !item.Contains("oauth2") {
		return nil
	}
	conf := item.Namespace("oauth2")
	var errs [5]error
	o.TokenURL, errs[0] = conf.FieldString("token_url")
	o.ClientID, errs[1] = conf.FieldString("client_id")
	o.ClientSecret, errs[2] = conf.FieldString("client_secret")
	o.Scopes, errs[3] = conf.FieldStringList("scopes")
	o.TLS, errs[4] = conf.FieldTLS("tls")
	err := errors.Join(errs[:]...)
	params, bad := conf.FieldStringMap("endpoint_params")
	for name, value := range params {
		if o.Params == nil {
			o.Params = map[string][]string{}
		}
		o.Params[name] = []string{value}
	}
	return errors.Join(err, bad)
}
