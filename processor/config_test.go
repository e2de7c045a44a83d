package processor

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// read builds the configuration of a processor as its constructor does.
func read(t *testing.T, name, yaml string) (*config, error) {
	t.Helper()
	spec := specPeriodic()
	if name == NamePunctuated {
		spec = specPunctuated()
	}
	conf, err := spec.ParseYAML(yaml, nil)
	require.NoError(t, err, yaml)
	return parse(conf, name)
}

// lint returns what a configuration file is told. It knows these components and
// nothing else: the rules must not need more.
func lint(t *testing.T, name, yaml string) string {
	t.Helper()
	env := service.NewEmptyEnvironment()
	require.NoError(t, RegisterPeriodic(env))
	require.NoError(t, RegisterPunctuated(env))
	lints, err := env.NewComponentConfigLinter().LintProcessorYAML([]byte(name + ":\n  " + strings.ReplaceAll(yaml, "\n", "\n  ")))
	require.NoError(t, err, yaml)
	var all []string
	for _, l := range lints {
		all = append(all, l.What)
	}
	return strings.Join(all, "\n")
}

// fault is a configuration of a component, and what the linter and the constructor say of
// it: "=" for the same, nothing if it is right. An empty lint alone means that one field's
// value is wrong, which only the constructor can tell.
type fault struct{ name, of, conf, lint, build string }

// both stands for both components; heartbeats are for the punctuated one alone.
const both, heartbeats = "both", "watermark: this.w\n"

// configFaults are faults of a build that has registered an assigner and generators of one
// name.
func configFaults(own string) []fault {
	return []fault{
		{"nothing set", NamePeriodic, "{}", "", ""},
		{"a mapping each", NamePunctuated, heartbeats + "timestamp: this.t", "", ""},
		{"all durations", NamePeriodic, "max_out_of_orderness: 1s\nidle_timeout: 0s\nmax_drift: 0s\ninterval: 1ms", "", ""},
		{"registered names", NamePeriodic, "timestamp_assigner: " + own + "\ngenerator: " + own, "", ""},
		{"registered punctuated", NamePunctuated, "timestamp_assigner: " + own + "\ngenerator: " + own, "", ""},

		{"negative idle_timeout", both, heartbeats + "idle_timeout: -1s", "idle_timeout is negative: set it to 0s or more", "idle_timeout is -1s: set it to 0s or more"},
		{"negative max_drift", both, heartbeats + "max_drift: -1ms", "max_drift is negative: set it to 0s or more", "max_drift is -1ms: set it to 0s or more"},
		{"negative interval", both, heartbeats + "interval: -200ms", "interval is negative: set it to 0s or more", "interval is -200ms: set it to 1ms or more"},
		{"no interval", both, heartbeats + "interval: 0s", "", "interval is 0s: set it to 1ms or more"},
		{"interval of less than a millisecond", both, heartbeats + "interval: 999us", "", "interval is 999µs: set it to 1ms or more"},
		{"negative disorder", NamePeriodic, "max_out_of_orderness: -2s", "max_out_of_orderness is negative: set it to 0s or more", "max_out_of_orderness is -2s: set it to 0s or more"},
		{"not a duration", both, heartbeats + "idle_timeout: soon", "", `time: invalid duration "soon"`},
		{"unknown field", NamePeriodic, "watermark: this.w", "field watermark not recognised", ""},
		{"disorder without event times", NamePunctuated, heartbeats + "max_out_of_orderness: 1s", "field max_out_of_orderness not recognised", ""},

		{"timestamp and assigner", both, heartbeats + "timestamp: this.t\ntimestamp_assigner: " + own, "timestamp and timestamp_assigner are both set: remove one of them", "="},
		{"unknown assigner", both, heartbeats + "timestamp_assigner: acme.nobody", "", `timestamp assigner "acme.nobody" is unknown: this build has registered`},
		{"unknown assigner names the known ones", both, heartbeats + "timestamp_assigner: acme.nobody", "", own},
		{"bad timestamp mapping", both, heartbeats + "timestamp: 'this.t +'", "expected", "expected"},
		{"what becomes of bad ones", both, heartbeats + "on_bad_timestamp: ignore", "value ignore is not a valid option", `on_bad_timestamp is "ignore": use fail or skip`},

		{"metadata", both, heartbeats + "metadata: [ late, watermark_ms, event_time_ms, late ]", "", ""},
		{"no metadata", both, heartbeats + "metadata: [ none ]", "", ""},
		{"unknown metadata", both, heartbeats + "metadata: [ late, event_time ]", "metadata: event_time is not metadata of this processor: use any of event_time_ms, watermark_ms, late, or none alone", `metadata: "event_time" is not metadata of this processor: use any of event_time_ms, watermark_ms, late, or none alone`},
		{"none and some", both, heartbeats + "metadata: [ none, late ]", "metadata: none is not alone: use any of", `metadata: "none" is not metadata`},

		{"generator and disorder", NamePeriodic, "generator: " + own + "\nmax_out_of_orderness: 2s", "generator and max_out_of_orderness are both set: remove one of them", `generator is "` + own + `" and max_out_of_orderness is 2s: remove one of them`},
		{"generator and no disorder", NamePeriodic, "generator: " + own + "\nmax_out_of_orderness: 0s", "", ""},
		{"unknown generator", NamePeriodic, "generator: acme.nobody", "", `watermark generator "acme.nobody" is unknown`},
		{"unknown generator names the known ones", NamePeriodic, "generator: acme.nobody", "", own},

		{"punctuated by nobody", NamePunctuated, "timestamp: this.t", "set one of watermark and generator", "="},
		{"punctuated by both", NamePunctuated, heartbeats + "generator: " + own, "set one of watermark and generator", "="},
		{"unknown punctuated generator", NamePunctuated, "generator: acme.nobody", "", `punctuated watermark generator "acme.nobody" is unknown`},
		{"unknown punctuated generator names the known ones", NamePunctuated, "generator: acme.nobody", "", own},
		{"bad watermark mapping", NamePunctuated, "watermark: 'this.('", "expected", "expected"},
	}
}

func TestConfigFaults(t *testing.T) {
	own := "test." + strings.ToLower(rand.Text())
	require.NoError(t, RegisterTimestampAssigner(own, func(checkpoint.Partition) TimestampAssigner { return nil }))
	require.NoError(t, RegisterGenerator(own, func(checkpoint.Partition) watermark.Generator { return nil }))
	require.NoError(t, RegisterPunctuatedGenerator(own, func(checkpoint.Partition) PunctuatedGenerator { return nil }))
	for _, test := range configFaults(own) {
		names := []string{test.of}
		if test.of == both {
			names = []string{NamePeriodic, NamePunctuated}
		}
		for _, name := range names {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				yaml := test.conf
				if name == NamePeriodic {
					yaml = strings.ReplaceAll(yaml, heartbeats, "")
				}
				found := lint(t, name, yaml)
				if test.lint == "" {
					assert.Empty(t, found)
				} else {
					assert.Contains(t, found, test.lint)
				}
				want := test.build
				if want == "=" {
					want = test.lint
				}
				_, err := read(t, name, yaml)
				if want == "" {
					assert.NoError(t, err)
					return
				}
				assert.ErrorContains(t, err, want)
			})
		}
	}
}

func TestConfigReportsAllFaultsTogether(t *testing.T) {
	_, err := read(t, NamePunctuated, "interval: 0s\nidle_timeout: -1s\nmax_drift: -2s\ntimestamp_assigner: acme.nobody")
	for _, want := range []string{NamePunctuated, "interval is 0s", "idle_timeout is -1s", "max_drift is -2s", "acme.nobody", "set one of watermark and generator"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestConfigDefaultsAndValues(t *testing.T) {
	c, err := read(t, NamePeriodic, "{}")
	require.NoError(t, err)
	assert.Nil(t, c.timestamp, "the timestamp of the Kafka record")
	assert.Nil(t, c.assigner)
	assert.Nil(t, c.watermark)
	assert.False(t, c.skipBad)
	assert.Equal(t, 200*time.Millisecond, c.interval)
	assert.Equal(t, watermark.Rules{IdleAfter: time.Minute}, c.rules)
	g := c.generator(checkpoint.Partition{})
	g.observe(record{time: 10})
	assert.Equal(t, watermark.Time(10), g.Watermark(), "event times never decrease")

	c, err = read(t, NamePeriodic, "max_out_of_orderness: 3ms\ninterval: 1s\nidle_timeout: 2s\nmax_drift: 3s\non_bad_timestamp: skip")
	require.NoError(t, err)
	assert.True(t, c.skipBad)
	assert.Equal(t, time.Second, c.interval)
	assert.Equal(t, watermark.Rules{IdleAfter: 2 * time.Second, MaxDrift: 3 * time.Second}, c.rules)
	g = c.generator(checkpoint.Partition{})
	g.observe(record{time: 10})
	assert.Equal(t, watermark.Time(7), g.Watermark())
}

// The errors of the three ways to register are alike.
func TestRegistering(t *testing.T) {
	for kind, register := range map[string]func(name string, isNil bool) error{
		"timestamp assigner": func(name string, isNil bool) error {
			if isNil {
				return RegisterTimestampAssigner(name, nil)
			}
			return RegisterTimestampAssigner(name, func(checkpoint.Partition) TimestampAssigner { return nil })
		},
		"watermark generator": func(name string, isNil bool) error {
			if isNil {
				return RegisterGenerator(name, nil)
			}
			return RegisterGenerator(name, func(checkpoint.Partition) watermark.Generator { return nil })
		},
		"punctuated watermark generator": func(name string, isNil bool) error {
			if isNil {
				return RegisterPunctuatedGenerator(name, nil)
			}
			return RegisterPunctuatedGenerator(name, func(checkpoint.Partition) PunctuatedGenerator { return nil })
		},
	} {
		t.Run(kind, func(t *testing.T) {
			require.ErrorContains(t, register("nodot", false), "registering "+kind+` "nodot": `)
			require.ErrorContains(t, register("nodot", false), "dot")
			require.ErrorContains(t, register("test.nil", true), `"test.nil": its constructor is nil`)
			// What is registered stays, also when the test runs again.
			name := "test." + strings.ToLower(rand.Text())
			require.NoError(t, register(name, false))
			require.ErrorContains(t, register(name, false), `"`+name+`": there is one of that name already`)
		})
	}
}

// A registered assigner and generator are made once for each partition, and know which.
func TestRegisteredOnesAreMadeForEachPartition(t *testing.T) {
	name := "test." + strings.ToLower(rand.Text())
	var made []checkpoint.Partition
	require.NoError(t, RegisterTimestampAssigner(name, func(p checkpoint.Partition) TimestampAssigner {
		made = append(made, p)
		return timestamps(func(*service.Message, watermark.Time) (watermark.Time, error) { return 1, errors.New("none") })
	}))
	c, err := read(t, NamePeriodic, "timestamp_assigner: "+name)
	require.NoError(t, err)
	s := &shared{partitions: map[checkpoint.Partition]*partition{}}
	a, b := checkpoint.Partition{Topic: "a", ID: 1}, checkpoint.Partition{Topic: "a", ID: 2}
	first := s.partition(a, c)
	require.NotSame(t, first, s.partition(b, c))
	require.Same(t, first, s.partition(a, c))
	require.Equal(t, []checkpoint.Partition{a, b}, made)
}

// timestamps is a function that assigns event times.
type timestamps func(*service.Message, watermark.Time) (watermark.Time, error)

func (f timestamps) EventTime(m *service.Message, kafka watermark.Time) (watermark.Time, error) {
	return f(m, kafka)
}
