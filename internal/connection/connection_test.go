package connection_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func parse(t *testing.T, conf string) (kafka.Connection, error) {
	t.Helper()
	parsed, err := service.NewConfigSpec().Fields(connection.Fields()...).ParseYAML(conf, nil)
	require.NoError(t, err)
	over, err := connection.Overrides(parsed, kafka.Consumer)
	require.NoError(t, err)
	return connection.Parse(parsed, service.MockResources(), over)
}

func TestParseDefaults(t *testing.T) {
	c, err := parse(t, "seed_brokers: [ localhost ]")
	require.NoError(t, err)
	assert.Equal(t, []string{"localhost"}, c.SeedBrokers)
	assert.Equal(t, "redpanda-connect", c.ClientID)
	assert.Equal(t, time.Minute, c.MetadataMaxAge)
	assert.Equal(t, 10*time.Second, c.RequestTimeoutOverhead)
	assert.Equal(t, 20*time.Second, c.ConnIdleTimeout)
	assert.Zero(t, c.DialTimeout, "the connection's own default")
	assert.Nil(t, c.TLS)
	assert.Empty(t, c.SASL)
	assert.Len(t, c.Hooks, 2, "the client's metrics, and who is refused")
	assert.NotNil(t, c.Logger)
}

func TestParseValues(t *testing.T) {
	c, err := parse(t, `
seed_brokers: [ " a:1 ,b:2", "[::1]:9", "::1", "" ]
client_id: me
metadata_max_age: 5m
request_timeout_overhead: 30s
conn_idle_timeout: 1m
client_metrics: false
tls: { enabled: true, skip_cert_verify: true }
tcp: { connect_timeout: 3s, tcp_user_timeout: 5s }
sasl:
  - { mechanism: none }
  - { mechanism: PLAIN, username: u, password: p }
  - { mechanism: SCRAM-SHA-256, username: u, password: p }
  - { mechanism: SCRAM-SHA-512, username: u, password: p }
  - { mechanism: OAUTHBEARER, token: t, extensions: { a: b } }
  - { mechanism: AWS_MSK_IAM, aws: { credentials: { id: i, secret: s, token: t } } }
`)
	require.NoError(t, err)
	assert.Equal(t, []string{"a:1", "b:2", "[::1]:9", "::1"}, c.SeedBrokers)
	assert.Equal(t, "me", c.ClientID)
	assert.Equal(t, 5*time.Minute, c.MetadataMaxAge)
	assert.Equal(t, 30*time.Second, c.RequestTimeoutOverhead)
	assert.Equal(t, time.Minute, c.ConnIdleTimeout)
	assert.Equal(t, 3*time.Second, c.DialTimeout)
	assert.Len(t, c.Hooks, 1, "who is refused")
	require.NotNil(t, c.TLS)
	assert.True(t, c.TLS.InsecureSkipVerify)
	var names []string
	for _, m := range c.SASL {
		names = append(names, m.Name())
	}
	assert.Equal(t, []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"}, names)
	cl, err := c.NewClient()
	require.NoError(t, err)
	cl.Close()
}

func TestParsePropertiesWin(t *testing.T) {
	c, err := parse(t, `
seed_brokers: [ a ]
client_id: me
tls: { enabled: true }
sasl: [ { mechanism: PLAIN, username: u, password: p } ]
properties: { bootstrap.servers: "b,c", client.id: you, metadata.max.age.ms: 2000, security.protocol: PLAINTEXT, socket.connection.setup.timeout.ms: 700 }
`)
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "c"}, c.SeedBrokers)
	assert.Equal(t, "you", c.ClientID)
	assert.Equal(t, 2*time.Second, c.MetadataMaxAge)
	assert.Equal(t, 700*time.Millisecond, c.DialTimeout)
	assert.Nil(t, c.TLS)
	assert.Empty(t, c.SASL)

	c, err = parse(t, "properties: { bootstrap.servers: b, security.protocol: SSL }")
	require.NoError(t, err)
	require.NotNil(t, c.TLS)
	assert.GreaterOrEqual(t, c.TLS.MinVersion, uint16(tls.VersionTLS12))
}

func TestParseRefuses(t *testing.T) {
	for conf, want := range map[string]string{
		"{}":                                     "seed_brokers is empty: name at least one broker",
		"seed_brokers: [ ',' ]":                  "seed_brokers is empty",
		"seed_brokers: [ 'a:0' ]":                `seed_brokers: "a:0" is not an address of the form host:port: port "0"`,
		"seed_brokers: [ 'a:b:c' ]":              `seed_brokers: "a:b:c" is not an address`,
		"seed_brokers: [ ':9092' ]":              "the host is missing",
		"metadata_max_age: 2h":                   "metadata_max_age is 2h0m0s: use a value from 10ms to 1h0m0s",
		"request_timeout_overhead: 1ms":          "request_timeout_overhead is 1ms",
		"conn_idle_timeout: 1h":                  "conn_idle_timeout is 1h0m0s",
		"client_id: " + strings.Repeat("x", 257): "client_id is 257 bytes long",
		"tcp: { connect_timeout: -1s }":          "tcp.connect_timeout is -1s",
		"tcp: { tcp_user_timeout: 20s, keep_alive: { idle: 15s } }":                           "must be greater than tcp_user_timeout",
		"tls: { enabled: true, root_cas_file: /does/not/exist }":                              "reading tls",
		"sasl: [ { mechanism: GSSAPI, kerberos: { keytab: k } } ]":                            "sasl.0: kerberos.keytab is set and kerberos.principal is not",
		"sasl: [ { mechanism: GSSAPI, kerberos: { principal: p } } ]":                         "sasl.0: kerberos.principal is set and kerberos.keytab is not",
		"sasl: [ { mechanism: OAUTHBEARER, oauth2: { token_url: 'x' } } ]":                    "set oauth2.client_id and oauth2.client_secret",
		"sasl: [ { mechanism: OAUTHBEARER, oauth2: { client_id: x } } ]":                      "oauth2.token_url is not",
		"sasl: [ { mechanism: REDPANDA_CLOUD_SERVICE_ACCOUNT } ]":                             "is not supported",
		"sasl: [ { mechanism: none }, { mechanism: OAUTHBEARER } ]":                           "sasl.1: mechanism OAUTHBEARER needs a `token`",
		"sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { profile: x } } } ]":          "aws.credentials.profile is not supported",
		"sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { role: x } } } ]":             "aws.credentials.role is not supported",
		"sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { from_ec2_role: true } } } ]": "aws.credentials.from_ec2_role is not supported",
	} {
		_, err := parse(t, conf)
		assert.ErrorContains(t, err, want, conf)
	}
}

// TestSecretsAreScrubbed prints a configuration as Benthos does for its log and
// its API.
func TestSecretsAreMarked(t *testing.T) {
	env := service.NewEmptyEnvironment()
	spec := service.NewConfigSpec().Fields(connection.Fields()...)
	require.NoError(t, env.RegisterInput("x", spec, nil))
	var text string
	env.WalkInputs(func(_ string, view *service.ConfigView) {
		b, err := view.FormatJSON()
		require.NoError(t, err)
		text = string(b)
	})
	for _, name := range []string{"password", "token", "secret", "client_secret", "endpoint_params", "properties"} {
		found := false
		for _, field := range strings.Split(text, `{"name":"`)[1:] {
			if strings.HasPrefix(field, name+`"`) {
				found = true
				assert.Contains(t, field, `"is_secret":true`, name)
			}
		}
		assert.True(t, found, name)
	}
}

func TestAWSKeysComeFromTheEnvironment(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	c, err := parse(t, "seed_brokers: [ a ]\nsasl: [ { mechanism: AWS_MSK_IAM } ]")
	require.NoError(t, err)
	_, _, err = c.SASL[0].Authenticate(context.Background(), "b-1.c.kafka.eu-west-1.amazonaws.com:9098")
	assert.ErrorContains(t, err, "found no access key")
	t.Setenv("AWS_ACCESS_KEY_ID", "i")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	_, first, err := c.SASL[0].Authenticate(context.Background(), "b-1.c.kafka.eu-west-1.amazonaws.com:9098")
	require.NoError(t, err)
	assert.Contains(t, string(first), "eu-west-1")
}

func TestParsedConnectionConnects(t *testing.T) {
	e := kafkatest.Fake(t)
	c, err := parse(t, "seed_brokers: [ '"+e.Seeds()[0]+"' ]")
	require.NoError(t, err)
	cl, err := c.NewClient()
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, kafka.Probe(context.Background(), cl))
}
