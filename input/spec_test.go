package input

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// field is a field of a specification as Benthos prints it.
type field struct {
	Name        string  `json:"name"`
	Kind        string  `json:"kind"`
	Description string  `json:"description"`
	Default     any     `json:"default"`
	Optional    bool    `json:"is_optional"`
	Deprecated  bool    `json:"is_deprecated"`
	Examples    []any   `json:"examples"`
	Children    []field `json:"children"`
}

// fieldsOf returns the fields of the specification by their dotted paths.
func fieldsOf(t *testing.T, spec *service.ConfigSpec) map[string]field {
	t.Helper()
	env := service.NewEmptyEnvironment()
	require.NoError(t, env.RegisterBatchInput(Name, spec, nil))
	var text []byte
	env.WalkInputs(func(_ string, view *service.ConfigView) {
		var err error
		text, err = view.FormatJSON()
		require.NoError(t, err)
	})
	var doc struct {
		Config field `json:"config"`
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	all := make(map[string]field)
	var walk func(prefix string, fields []field)
	walk = func(prefix string, fields []field) {
		for _, f := range fields {
			all[prefix+f.Name] = f
			walk(prefix+f.Name+".", f.Children)
		}
	}
	walk("", doc.Config.Children)
	require.NotEmpty(t, all)
	return all
}

// TestSpecHasEveryFieldOfConnect holds the specification against the fields of
// Redpanda Connect's inputs, as they are in its source at that version.
func TestSpecHasEveryFieldOfConnect(t *testing.T) {
	text, err := os.ReadFile("testdata/redpanda-connect-v4.105.0.json")
	require.NoError(t, err)
	var connect struct {
		Fields map[string][]string `json:"fields"`
	}
	require.NoError(t, json.Unmarshal(text, &connect))
	require.Len(t, connect.Fields, 2)
	ours := fieldsOf(t, Spec())
	for component, names := range connect.Fields {
		require.Greater(t, len(names), 50)
		for _, name := range names {
			f, ok := ours[name]
			assert.True(t, ok, "%s has the field %s, which is neither here nor mapped", component, name)
			assert.NotEmpty(t, f.Description, name)
		}
	}
}

// TestSpecIsComplete holds our own fields against the house rule: a description,
// an example, and either a default or a word on what unset means.
func TestSpecIsComplete(t *testing.T) {
	benthos := []string{"tls", "batching", "unordered_processing.batching", "auto_replay_nacks", "timely_nacks_maximum_wait", "extract_tracing_map",
		"sasl.oauth2.tls", "schema_registry.tls"}
	// What an item of a list is nothing without.
	required := []string{"sasl.mechanism", "csv.columns.name", "schema_registry.references", "schema_registry.key.references"}
	for path, f := range fieldsOf(t, Spec()) {
		if slices.ContainsFunc(benthos, func(b string) bool { return path == b || strings.HasPrefix(path, b+".") }) {
			continue
		}
		assert.NotEmpty(t, f.Description, path)
		assert.False(t, strings.HasPrefix(f.Description, " ") || strings.Contains(f.Description, "  "), path)
		if len(f.Children) > 0 {
			continue
		}
		assert.NotEmpty(t, f.Examples, "%s has no example", path)
		assert.True(t, f.Default != nil || f.Optional ||
			slices.ContainsFunc(required, func(r string) bool { return path == r || strings.HasPrefix(path, r+".") }), "%s is required", path)
	}
}

// TestSpecTakesAConfigurationOfConnect takes over what Connect's inputs have, with
// nothing changed but the name of the component.
func TestSpecTakesAConfigurationOfConnect(t *testing.T) {
	for _, conf := range []string{`
seed_brokers: [ "localhost:9092" ]
client_id: mine
topics: [ orders, returns ]
consumer_group: enrich
regexp_topics: false
rack_id: ""
instance_id: ""
rebalance_timeout: 45s
session_timeout: 1m
heartbeat_interval: 3s
start_offset: latest
fetch_max_bytes: 50MiB
fetch_max_wait: 5s
fetch_min_bytes: 1B
fetch_max_partition_bytes: 1MiB
transaction_isolation_level: read_uncommitted
commit_period: 5s
partition_buffer_bytes: 16MB
topic_lag_refresh_period: 5s
max_yield_batch_bytes: 4MB
auto_replay_nacks: true
timely_nacks_maximum_wait: 1m
extract_tracing_map: root = @
unordered_processing:
  enabled: false
  checkpoint_limit: 1024
  batching: { count: 0, byte_size: 0, period: "", check: "" }
tcp: { connect_timeout: 3s, keep_alive: { idle: 15s, interval: 15s, count: 9 }, tcp_user_timeout: 0s }
sasl: [ { mechanism: OAUTHBEARER, token: t, extensions: { a: b } } ]
`, `
seed_brokers: [ "localhost:9092,localhost:9093" ]
topics: [ "orders:0-3", "returns:0:10" ]
start_from_oldest: true
checkpoint_limit: 1024
multi_header: true
batching: { count: 1000, period: 1s }
sasl: [ { mechanism: AWS_MSK_IAM, aws: { region: eu-west-1, credentials: { id: a, secret: b } } } ]
`} {
		lints := slices.DeleteFunc(lint(t, conf), func(l string) bool { return strings.Contains(l, "deprecated") })
		assert.Empty(t, lints)
		_, err := parse(t, conf)
		assert.NoError(t, err)
	}
}
