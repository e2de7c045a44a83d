package plugins_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/plugins"
)

const component = "kafka_checkpointed"

func TestImportRegisters(t *testing.T) {
	assert.Contains(t, names((*service.Environment).WalkInputs, service.GlobalEnvironment()), component)
	assert.Contains(t, names((*service.Environment).WalkOutputs, service.GlobalEnvironment()), component)
}

func names(walk func(*service.Environment, func(string, *service.ConfigView)), env *service.Environment) (all []string) {
	walk(env, func(name string, _ *service.ConfigView) { all = append(all, name) })
	return all
}

func foreign(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
	return nil, errors.New("another component")
}

func TestClashIsAnError(t *testing.T) {
	env := service.NewEmptyEnvironment()
	require.NoError(t, env.RegisterBatchInput(component, service.NewConfigSpec().Summary("another"), foreign))
	err := plugins.Register(env)
	require.ErrorContains(t, err, "registering input kafka_checkpointed: the environment has another input of that name")
	assert.Empty(t, names((*service.Environment).WalkOutputs, env), "nothing may be registered")

	// One that takes the place of ours is found too.
	env = service.NewEnvironment()
	require.NoError(t, env.RegisterBatchInput(component, service.NewConfigSpec().Summary("another"), foreign))
	require.ErrorContains(t, plugins.Register(env), "registering input kafka_checkpointed")

	// The same name for another kind of component is none.
	env = service.NewEmptyEnvironment()
	require.NoError(t, env.RegisterCache(component, service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.Cache, error) {
			return nil, errors.New("unused")
		}))
	require.NoError(t, plugins.Register(env))
}

// Environments are copies of the global one, which has our components already.
func TestRegisterOnACopy(t *testing.T) {
	env := service.NewEnvironment()
	require.NoError(t, plugins.Register(env))
	require.NoError(t, plugins.Register(env))
}

func TestDialIsUsed(t *testing.T) {
	dialled := make(chan string, 100)
	env := service.NewEnvironment()
	require.NoError(t, plugins.Register(env, plugins.Dial(func(_ context.Context, _, host string) (net.Conn, error) {
		select {
		case dialled <- host:
		default:
		}
		return nil, errors.New("no way there")
	})))
	for kind, conf := range map[string]string{
		"input": "input: { kafka_checkpointed: { seed_brokers: [ 'in.test:1' ], topics: [ t ], consumer_group: g } }\noutput: { drop: {} }",
		"output": "input: { generate: { interval: 10ms, mapping: root = 1 } }\n" +
			"output: { kafka_checkpointed: { seed_brokers: [ 'out.test:1' ], topic: t } }",
	} {
		b := env.NewStreamBuilder()
		require.NoError(t, b.SetYAML(conf+"\nlogger: { level: none }"))
		s, err := b.Build()
		require.NoError(t, err)
		go func() { _ = s.Run(context.Background()) }()
		want := map[string]string{"input": "in.test:1", "output": "out.test:1"}[kind]
		require.Eventually(t, func() bool { return <-dialled == want }, 10*time.Second, time.Millisecond)
		_ = s.StopWithin(5 * time.Second)
	}
}
