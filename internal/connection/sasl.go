package connection

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// SASLField is the field that says who we are; see Credentials.
func SASLField() *service.ConfigField {
	return service.NewObjectListField(FieldSASL,
		service.NewStringField("mechanism").
			Description("The mechanism: `none`, `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`, `GSSAPI` (Kerberos), or `AWS_MSK_IAM` with an access key. `REDPANDA_CLOUD_SERVICE_ACCOUNT` is not supported and refused.").
			Example(kafka.SASLScram512).
			LintRule(`root = if ![ "", "none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM" ].contains(this) { "sasl mechanism %v is not supported: use none, PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, GSSAPI or AWS_MSK_IAM".format(this) }`),
		service.NewStringField("username").
			Description("The user of PLAIN and SCRAM; with GSSAPI and a password, the principal.").Default("").Example("${KAFKA_USER}"),
		service.NewStringField("password").
			Description("The password of PLAIN and SCRAM, and of GSSAPI where there is no keytab.").Default("").Example("${KAFKA_PASSWORD}").Secret(),
		service.NewStringField("token").
			Description("The token of OAUTHBEARER, used for every session. For tokens that end, see `oauth2`.").Default("").Example("${KAFKA_TOKEN}").Secret(),
		service.NewStringMapField("extensions").
			Description("Key/value pairs that OAUTHBEARER sends along with the token.").
			Example(map[string]any{"logicalCluster": "lkc-1"}).Optional(),
		service.NewObjectField("oauth2", oauth2Fields()...).
			Description("Where OAUTHBEARER gets its tokens, with client credentials, instead of `token`. One is fetched before four fifths of its life are over.").
			Optional(),
		service.NewObjectField("kerberos", kerberosFields()...).
			Description("Where the tickets of GSSAPI come from: a `keytab` and the `principal` in it, a ticket cache, or `username` and `password`.").
			Optional(),
		service.NewObjectField("aws", awsFields()...).
			Description("The access key of AWS_MSK_IAM. Without one it is read from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`. Profiles and roles are not supported and refused.").
			Optional(),
	).
		Description("Ways to authenticate, in order of preference: the first one that the broker supports is used.").
		Example([]any{map[string]any{"mechanism": kafka.SASLScram512, "username": "${KAFKA_USER}", "password": "${KAFKA_PASSWORD}"}}).
		Advanced().Optional()
}

func oauth2Fields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField("token_url").
			Description("The token endpoint. It has 5 seconds to answer.").
			Default("").Example("https://login.example.com/oauth2/token"),
		service.NewStringField("client_id").
			Description("The ID of the client.").Default("").Example("${KAFKA_CLIENT_ID}"),
		service.NewStringField("client_secret").
			Description("Its secret.").Default("").Example("${KAFKA_CLIENT_SECRET}").Secret(),
		service.NewStringListField("scopes").
			Description("The scopes to ask for.").
			Default([]any{}).Example([]string{"kafka"}),
		service.NewStringMapField("endpoint_params").
			Description("Further parameters of the request.").
			Default(map[string]any{}).Example(map[string]any{"audience": "kafka"}).Secret().Advanced(),
		service.NewTLSField("tls").Description("TLS settings of the endpoint, where it is not one that the system trusts."),
	}
}

func kerberosFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField("keytab").
			Description("The keytab file to log in with; `principal` says whose key in it. It is read again when a login fails.").
			Default("").Example("/etc/security/orders.keytab"),
		service.NewStringField("principal").
			Description("The principal in the `keytab`. Without a realm it is of the `default_realm` of `krb5_conf`.").
			Default("").Example("orders@EXAMPLE.COM"),
		service.NewBoolField("use_ticket_cache").
			Description("Whether to use the tickets in a cache file, which something else has to fill and to renew, such as `kinit` or `k5start`. Unset: if there is neither a `keytab` nor a `password`. The file is read again when it has changed.").
			Example(true).Optional(),
		service.NewStringField("ticket_cache").
			Description("The ticket cache, a file. Unset: `$KRB5CCNAME`, else `/tmp/krb5cc_<uid>`. Caches of the kinds KEYRING, KCM and DIR are refused.").
			Default("").Example("/run/orders/krb5cc").Advanced(),
		service.NewStringField("service_name").
			Description("The first part of the brokers' principals, `<service_name>/<host>`. The host is the one that is dialled, that of `seed_brokers` at first, then the one that the brokers advertise.").
			Default(kafka.DefaultKerberosService).Example("streams").Advanced(),
		service.NewStringField("krb5_conf").
			Description("The file that names realms and their KDCs. Unset: `$KRB5_CONFIG`, else `" + kafka.DefaultKerberosConfig + "`. Its `include` lines have no effect.").
			Default("").Example("/etc/orders/krb5.conf").Advanced(),
	}
}

// awsFields has the names of Connect's session fields. Those that would need the
// AWS SDK are there to be refused by name rather than as unknown.
func awsFields() []*service.ConfigField {
	refused := func(name string) *service.ConfigField {
		return service.NewStringField(name).
			Description("Not supported: name an access key, or put one into the environment.").
			Example("").Optional().Advanced()
	}
	return []*service.ConfigField{
		service.NewStringField("region").
			Description("No effect: the region is taken from the broker's address.").Example("eu-west-1").Optional().Advanced(),
		service.NewStringField("endpoint").
			Description("No effect: no service of AWS is called.").Example("").Optional().Advanced(),
		tcpField(),
		service.NewObjectField("credentials",
			refused("profile"),
			service.NewStringField("id").
				Description("The ID of the access key.").Example("${AWS_ACCESS_KEY_ID}").Optional().Advanced(),
			service.NewStringField("secret").
				Description("Its secret.").Example("${AWS_SECRET_ACCESS_KEY}").Optional().Advanced().Secret(),
			service.NewStringField("token").
				Description("The session token, where the key is a short-term one.").Example("${AWS_SESSION_TOKEN}").Optional().Advanced().Secret(),
			service.NewBoolField("from_ec2_role").
				Description("Not supported: name an access key, or put one into the environment.").Example(false).Optional().Advanced(),
			refused("role"),
			refused("role_external_id"),
		).Description("The access key.").Optional().Advanced(),
	}
}
