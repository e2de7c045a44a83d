package buffer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/window"
)

// built parses a configuration as the constructor does.
func built(t testing.TB, conf string) (*config, error) {
	t.Helper()
	parsed, err := spec().ParseYAML(conf, nil)
	if err != nil {
		return nil, err
	}
	return parse(parsed)
}

// linter knows this component and nothing else: the rule must not need more.
var linter = sync.OnceValue(func() *service.ComponentConfigLinter {
	env := service.NewEmptyEnvironment()
	if err := env.RegisterBatchBuffer(Name, spec(), func(*service.ParsedConfig, *service.Resources) (service.BatchBuffer, error) {
		return nil, errors.New("only linted")
	}); err != nil {
		panic(err)
	}
	return env.NewComponentConfigLinter()
})

func lint(t testing.TB, l *service.ComponentConfigLinter, conf string) string {
	t.Helper()
	lints, err := l.LintBufferYAML([]byte(Name + ":\n  " + strings.ReplaceAll(conf, "\n", "\n  ")))
	require.NoError(t, err, conf)
	var texts []string
	for _, l := range lints {
		texts = append(texts, l.What)
	}
	return strings.Join(texts, "\n")
}

const (
	tumbling = "type: tumbling\nsize: 10s\n"
	sliding  = "type: sliding\nsize: 10s\nslide: 1s\n"
	session  = "type: session\ngap: 10s\n"
)

// configFaults has, for each contradiction, what the linter and what the constructor say,
// "=" for the same. An empty lint means that only the constructor can tell.
var configFaults = []struct{ name, conf, lint, build string }{
	{"no type", "size: 10s", "field type is required", "field 'type' is required"},
	{"empty type", "type: ''\nsize: 10s", "value  is not a valid option", `type is "": set it to one of session, sliding, tumbling`},
	{"unknown type", "type: hopping\nsize: 10s", "value hopping is not a valid option", `type is "hopping": set it to one of session, sliding, tumbling`},
	{"unknown scope", tumbling + "scope: key", "value key is not a valid option", `scope is "key": set it to one of partition, process`},
	{"unknown late", tumbling + "late: keep", "value keep is not a valid option", `late is "keep": set it to one of emit, drop`},
	{"unknown field", tumbling + "sise: 3s", "field sise not recognised", ""},

	{"tumbling without size", "type: tumbling", "size is not set, and type tumbling needs it", "="},
	{"tumbling with slide", tumbling + "slide: 1s", "slide has no meaning for type tumbling: remove it", "slide is 1s, but has no meaning for type tumbling: remove it"},
	{"tumbling with gap", tumbling + "gap: 1s", "gap has no meaning for type tumbling: remove it", "gap is 1s, but has no meaning for type tumbling: remove it"},
	{"sliding without size", "type: sliding\nslide: 1s", "size is not set, and type sliding needs it", "="},
	{"sliding without slide", "type: sliding\nsize: 1s", "slide is not set, and type sliding needs it", "="},
	{"sliding with gap", sliding + "gap: 1s", "gap has no meaning for type sliding: remove it", "gap is 1s, but has no meaning for type sliding: remove it"},
	{"session without gap", "type: session", "gap is not set, and type session needs it", "="},
	{"session with size", session + "size: 1s", "size has no meaning for type session: remove it, or set gap", "size is 1s, but has no meaning for type session: remove it"},
	{"session with slide", session + "slide: 1s", "slide has no meaning for type session: remove it", "slide is 1s, but has no meaning for type session: remove it"},
	{"session with offset", session + "offset: 1h", "", "offset is 1h0m0s, but has no meaning for type session: remove it"},

	{"slide above size", "type: sliding\nsize: 1s\nslide: 2s", "", "slide is 2s and size 1s: records in between would be in no window; set slide to 1s or less"},
	{"too many windows", "type: sliding\nsize: 10001s\nslide: 1s", "", "a record would be in 10001 windows, and at most 10000 are allowed"},
	{"size of nothing", "type: tumbling\nsize: 0s", "", "size is 0s: set it to whole milliseconds, 1ms or more"},
	{"negative size", "type: tumbling\nsize: -1s", "", "size is -1s: set it to whole milliseconds, 1ms or more"},
	{"size below a millisecond", "type: tumbling\nsize: 1500us", "", "size is 1.5ms: set it to whole milliseconds, 1ms or more"},
	{"slide of nothing", "type: sliding\nsize: 1s\nslide: 0s", "", "slide is 0s: set it to whole milliseconds, 1ms or more"},
	{"slide below a millisecond", "type: sliding\nsize: 1s\nslide: 10us", "", "slide is 10µs: set it to whole milliseconds, 1ms or more"},
	{"negative gap", "type: session\ngap: -1ms", "", "gap is -1ms: set it to whole milliseconds, 1ms or more"},
	{"gap below a millisecond", "type: session\ngap: 1ns", "", "gap is 1ns: set it to whole milliseconds, 1ms or more"},
	{"offset below a millisecond", tumbling + "offset: 1us", "", "offset is 1µs: set it to whole milliseconds"},
	{"lateness below a millisecond", tumbling + "allowed_lateness: 1us", "", "allowed_lateness is 1µs: set it to whole milliseconds"},
	{"negative lateness", tumbling + "allowed_lateness: -1s", "allowed_lateness is negative: set it to 0s or more", "allowed_lateness is -1s: set it to 0s or more"},
	{"negative keys", tumbling + "max_keys_in_memory: -1", "max_keys_in_memory is -1: set it to 1 or more, or to 0 for no limit", "="},
	{"not a size", "type: tumbling\nsize: soon", "", "invalid duration"},
	{"not a lateness", tumbling + "allowed_lateness: soon", "", "invalid duration"},
	{"not a number of keys", tumbling + "max_keys_in_memory: many", "", "many"},

	{"bad key", tumbling + "key: 'this.('", "required", "key"},
	{"bad sum", tumbling + "aggregate: { s: { sum: 'this.(' } }", "required", "sum"},
	{"no operation", tumbling + "aggregate: { n: {} }", "", "aggregate.n has []: set exactly one of count, sum, min, max, avg, first, last and fold"},
	{"two operations", tumbling + "aggregate: { n: { sum: this.v, max: this.v } }", "", "aggregate.n has [max sum]: set exactly one of"},
	{"count and another", tumbling + "aggregate: { n: { count: {}, avg: this.v } }", "", "aggregate.n has [avg count]: set exactly one of"},
	{"unknown operation", tumbling + "aggregate: { n: { median: this.v } }", "field median not recognised", "aggregate.n has []: set exactly one of"},
	{"aggregate without a name", tumbling + "aggregate: { count: {} }", "", "aggregate.count has []: set exactly one of"},
	{"fold without init", tumbling + "aggregate: { f: { fold: { add: 'root = 1' } } }", "field init is required", "field 'init' is required"},
	{"fold without add", tumbling + "aggregate: { f: { fold: { init: 'root = 1' } } }", "field add is required", "field 'add' is required"},
	{"empty fold", tumbling + "aggregate: { f: { fold: {} } }", "field init is required", "is required"},
	{"fold of a session without merge", session + "aggregate: { f: { fold: { init: 'root = 1', add: 'root = 2' } } }", "", "aggregate.f.fold.merge is not set, and type session needs it"},
	{"bad init", tumbling + "aggregate: { f: { fold: { init: 'root = (', add: 'root = 2' } } }", "expected", "init"},
	{"bad merge", session + "aggregate: { f: { fold: { init: 'root = 1', add: 'root = 2', merge: 'root =' } } }", "expected", "merge"},
	{"bad emit", tumbling + "aggregate: { f: { fold: { init: 'root = 1', add: 'root = 2', emit: 'root =' } } }", "expected", "emit"},
}

func TestConfigFaults(t *testing.T) {
	for _, test := range configFaults {
		t.Run(test.name, func(t *testing.T) {
			lints := lint(t, linter(), test.conf)
			if test.lint == "" {
				assert.Empty(t, lints)
			} else {
				assert.Contains(t, lints, test.lint)
			}
			if test.build == "=" {
				test.build = test.lint
			}
			_, err := built(t, test.conf)
			if test.build == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.build)
		})
	}
}

func TestConfigReportsAllFaultsTogether(t *testing.T) {
	_, err := built(t, "type: sliding\ngap: 1s\nscope: x\nallowed_lateness: -1s\nmax_keys_in_memory: -2\naggregate: { a: {}, b: {} }")
	for _, want := range []string{"size is not set", "slide is not set", "gap is 1s", `scope is "x"`, "allowed_lateness is -1s", "max_keys_in_memory is -2", "aggregate.a has", "aggregate.b has"} {
		assert.ErrorContains(t, err, want)
	}
}

// What is right is taken, by the linter too.
func TestConfigTaken(t *testing.T) {
	for _, conf := range []string{
		tumbling, sliding, session,
		"type: sliding\nsize: 1s\nslide: 1s",
		"type: sliding\nsize: 10000s\nslide: 1s",
		"type: tumbling\nsize: 1ms\noffset: -8h\nallowed_lateness: 1h\nlate: drop\nscope: partition\nmax_keys_in_memory: 0",
		tumbling + "key: this.user\naggregate: { n: { count: {} } }",
		tumbling + "aggregate:\n  n:\n    count: {}\n  s: { sum: this.v }\n  f: { fold: { init: 'root = 0', add: 'root = this.state + 1' } }",
		session + "aggregate: { f: { fold: { init: 'root = 0', add: 'root = 1', merge: 'root = 1', emit: 'root = 1' } } }",
	} {
		assert.Empty(t, lint(t, linter(), conf), conf)
		_, err := built(t, conf)
		assert.NoError(t, err, conf)
	}
}

// A file is also linted where the variables of its environment are not set. Then they are
// empty, and no rule may fail because of that.
func TestConfigLintWithoutItsEnvironment(t *testing.T) {
	env := service.NewEmptyEnvironment()
	require.NoError(t, Register(env))
	bare := env.NewComponentConfigLinter().SetSkipEnvVarCheck(true).
		SetEnvVarLookupFunc(func(context.Context, string) (string, bool) { return "", false })
	for conf, want := range map[string]string{
		tumbling + "allowed_lateness: ${LATENESS}":        "",
		tumbling + "max_keys_in_memory: ${KEYS}":          "",
		tumbling + "offset: ${OFFSET}":                    "",
		tumbling + "key: ${KEY}":                          "",
		tumbling + "late: ${LATE:drop}":                   "",
		"type: ${TYPE:tumbling}\nsize: 10s":               "",
		"type: ${TYPE}\nsize: 10s\nslide: 1s":             "value  is not a valid option for this field",
		"type: ${TYPE}\ngap: 10s":                         "value  is not a valid option for this field",
		"type: tumbling\nsize: ${SIZE}":                   "",
		"type: sliding\nsize: 10s\nslide: ${S}":           "",
		"type: session\ngap: ${GAP}":                      "",
		tumbling + "max_keys_in_memory: ${KEYS}\ngap: 1s": "gap has no meaning for type tumbling: remove it",
	} {
		assert.Equal(t, want, lint(t, bare, conf), conf)
	}
}

func TestConfigDefaults(t *testing.T) {
	c, err := built(t, tumbling)
	require.NoError(t, err)
	require.Equal(t, &config{emitLate: true, window: window.Config{
		Assigner: window.Assigner{Kind: window.Tumbling, Size: 10 * time.Second}, MaxKeys: 100_000,
	}}, c)
	require.False(t, c.aggregates())
}

func TestConfigValues(t *testing.T) {
	c, err := built(t, sliding+"offset: -8h\nallowed_lateness: 1m\nlate: drop\nscope: process\nmax_keys_in_memory: 5\nkey: this.k\n"+
		"aggregate: { z: { count: {} }, a: { sum: this.v }, m: { fold: { init: 'root = 0', add: 'root = 1' } } }")
	require.NoError(t, err)
	require.Equal(t, window.Assigner{Kind: window.Sliding, Size: 10 * time.Second, Slide: time.Second, Offset: -8 * time.Hour}, c.window.Assigner)
	require.Equal(t, time.Minute, c.window.Lateness)
	require.Equal(t, 5, c.window.MaxKeys)
	require.Equal(t, []string{"a", "m", "z"}, c.window.Names, "in an order that is the same after a restart")
	require.Equal(t, []window.Op{window.Sum, window.Fold, window.Count},
		[]window.Op{c.window.Aggregates[0].Op, c.window.Aggregates[1].Op, c.window.Aggregates[2].Op})
	require.Equal(t, []bool{true, false, false}, []bool{c.values[0] != nil, c.values[1] != nil, c.values[2] != nil})
	require.NotNil(t, c.key)
	require.False(t, c.emitLate)
	require.Equal(t, scopeProcess, c.scope)
}
