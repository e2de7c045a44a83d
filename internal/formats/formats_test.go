package formats

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/format"
	"github.com/tidemarkhq/tidemark/internal/format/registry"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

func parsed(t *testing.T, yaml string) *service.ParsedConfig {
	t.Helper()
	conf, err := service.NewConfigSpec().Fields(Fields()...).Field(IncludeMetadata()).ParseYAML(yaml, nil)
	require.NoError(t, err)
	return conf
}

func TestRegistryFields(t *testing.T) {
	s, err := parseRegistry(parsed(t, `
schema_registry:
  url: [ "http://a", "http://b" ]
  context: staging
  basic_auth: { username: u, password: p }
  bearer_token: tok
  tls: { enabled: true, skip_cert_verify: true }
  timeout: 7s
  retries: 2
  refresh_period: 3m
  subject: sub
  subject_name: record
  schema: '"string"'
  schema_id: 4
  schema_version: latest
  register: false
  references: [ { name: n, subject: s, version: 3 } ]
  reader_schema: '"bytes"'
  reader_schema_version: "6"
  avro_tagged_unions: true
  protobuf_message: acme.Order
  protobuf_proto_names: true
  protobuf_emit_unpopulated: true
  key:
    subject: keys
    schema: '"long"'
`), nil)
	require.NoError(t, err)
	require.NotNil(t, s.TLS)
	assert.True(t, s.TLS.InsecureSkipVerify)
	s.TLS = nil
	refs := []registry.Reference{{Name: "n", Subject: "s", Version: 3}}
	assert.Equal(t, registry.Config{
		URLs: []string{"http://a", "http://b"}, Context: "staging", Username: "u", Password: "p", BearerToken: "tok",
		Timeout: 7 * time.Second, Retries: 2, Refresh: 3 * time.Minute,
	}, s.Config)
	assert.Equal(t, registry.Options{
		Subject: "sub", SubjectName: registry.RecordName, Schema: `"string"`, SchemaID: 4, SchemaVersion: registry.Latest, LookUpOnly: true,
		References: refs, ReaderReferences: refs, ReaderSchema: `"bytes"`, ReaderVersion: 6,
		TaggedUnions: true, Message: "acme.Order", ProtoNames: true, EmitUnpopulated: true,
	}, s.value)
	assert.Equal(t, registry.Options{Subject: "keys", SubjectName: registry.TopicName, Schema: `"long"`}, s.key)

	s, err = parseRegistry(parsed(t, "schema_registry: { retries: 0 }"), nil)
	require.NoError(t, err)
	assert.Equal(t, -1, s.Retries, "0 means none, and not the default")
	assert.Nil(t, s.TLS)
}

func TestInheritSASL(t *testing.T) {
	conf := func(fields string) *service.ParsedConfig {
		return parsed(t, "schema_registry: { inherit_sasl: true, "+fields+" }")
	}
	user := kafka.Credentials{Mechanism: kafka.SASLScram256, Username: "u", Password: "p"}
	token := kafka.Credentials{Mechanism: kafka.SASLOAuthBearer, Token: "tok"}
	ticket := kafka.Credentials{Mechanism: kafka.SASLKerberos}
	for want, creds := range map[string][]kafka.Credentials{
		"Basic dTpw": {ticket, user, token},
		"Bearer tok": {token, user},
	} {
		s, err := parseRegistry(conf(""), creds)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "http://a", http.NoBody)
		require.NoError(t, s.Authorize(r))
		assert.Equal(t, want, r.Header.Get("Authorization"))
	}
	for _, test := range []struct {
		fields string
		creds  []kafka.Credentials
		want   string
	}{
		{"", nil, "sasl has no credentials that a registry can take"},
		{"", []kafka.Credentials{ticket}, "sasl has no credentials that a registry can take"},
		{"", []kafka.Credentials{{Mechanism: kafka.SASLPlain}}, "needs a `username`"},
		{"bearer_token: t", []kafka.Credentials{user}, "use one of them"},
		{"basic_auth: { username: u }", []kafka.Credentials{user}, "use one of them"},
	} {
		_, err := parseRegistry(conf(test.fields), test.creds)
		assert.ErrorContains(t, err, test.want)
	}
}

func TestFormatFaults(t *testing.T) {
	for yaml, words := range map[string]string{
		"format: avro": "schema_registry.url is empty",
		"schema_registry: { url: [ 'http://a' ] }": "neither format nor key_format is by schemas",
		"format: csv": "csv.columns",
		"format: csv\ncsv: { columns: [ { name: a } ], delimiter: ab }":                               "csv.delimiter",
		"format: avro\nschema_registry: { url: [ 'http://a' ], schema_version: newest }":              "schema_version",
		"format: avro\nschema_registry: { url: [ 'http://a' ], key: { reader_schema_version: '0' } }": "key: reader_schema_version",
		"format: json\nformat_options: { a: 1 }":                                                      "format_options",
		"key_format_options: { a: 1 }":                                                                "key_format_options",
	} {
		_, err := ParseReading(parsed(t, yaml), nil)
		assert.ErrorContains(t, err, words, yaml)
	}
	_, err := ParseWriting(parsed(t, "format: avro\nschema_registry: { url: [ 'http://a' ] }"), nil)
	require.ErrorContains(t, err, "schema_version", "nothing says what to write with")
}

// Each name has its format, for values and where it may be for keys.
func TestFormatsByName(t *testing.T) {
	reg := httptest.NewServer(http.NotFoundHandler())
	defer reg.Close()
	more := map[string]string{
		format.CSV:        "csv: { columns: [ { name: a } ] }",
		format.Avro:       "schema_registry: { url: [ '" + reg.URL + "' ], schema_id: 1, key: { schema_id: 1 } }",
		format.Protobuf:   "schema_registry: { url: [ '" + reg.URL + "' ], schema_id: 1, key: { schema_id: 1 } }",
		format.JSONSchema: "schema_registry: { url: [ '" + reg.URL + "' ], schema_id: 1, key: { schema_id: 1 } }",
	}
	for _, name := range format.Names() {
		r, err := ParseReading(parsed(t, "format: "+name+"\n"+more[name]), nil)
		require.NoError(t, err, name)
		assert.Equal(t, name != format.Raw, r.Reads(), name)
		w, err := ParseWriting(parsed(t, "format: "+name+"\n"+more[name]), nil)
		require.NoError(t, err, name)
		assert.Equal(t, name != format.Raw, w.Writes(), name)
		switch name {
		case format.Raw, format.JSON, format.CSV, format.JSONKeyValue:
			continue
		}
		r, err = ParseReading(parsed(t, "key_format: "+name+"\n"+more[name]), nil)
		require.NoError(t, err, name)
		assert.True(t, r.Keys, name)
	}
}

func TestCloneIsDeep(t *testing.T) {
	inner := map[string]any{"b": []byte("x")}
	doc := map[string]any{"a": []any{inner, 1}}
	copied := clone(doc)
	inner["b"].([]byte)[0] = 'y'
	inner["c"] = true
	assert.Equal(t, map[string]any{"a": []any{map[string]any{"b": []byte("x")}, 1}}, copied)
}
