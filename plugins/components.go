package plugins

import (
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/buffer"
	"github.com/tidemarkhq/tidemark/cache"
	"github.com/tidemarkhq/tidemark/input"
	"github.com/tidemarkhq/tidemark/output"
	"github.com/tidemarkhq/tidemark/processor"
)

// component is one of ours.
type component struct {
	kind, name string
	register   func(env *service.Environment, dial DialFunc) error
	// walk lists the components of this kind that an environment has. The Get
	// methods of environments are of no use: they ask the global one, always.
	walk func(*service.Environment, func(string, *service.ConfigView))
}

var components = []component{
	{"input", input.Name, input.Register, (*service.Environment).WalkInputs},
	{"output", output.Name, output.Register, (*service.Environment).WalkOutputs},
	{"buffer", buffer.Name, dialless(buffer.Register), (*service.Environment).WalkBuffers},
	{"cache", cache.Name, dialless(cache.Register), (*service.Environment).WalkCaches},
	{"processor", processor.NamePeriodic, dialless(processor.RegisterPeriodic), (*service.Environment).WalkProcessors},
	{"processor", processor.NamePunctuated, dialless(processor.RegisterPunctuated), (*service.Environment).WalkProcessors},
}

// dialless registers a component that has no connections.
func dialless(register func(*service.Environment) error) func(*service.Environment, DialFunc) error {
	return func(env *service.Environment, _ DialFunc) error { return register(env) }
}

// find returns the specification that an environment has for the component's kind
// and name, nil if it has none.
func (c component) find(env *service.Environment) (spec []byte, err error) {
	c.walk(env, func(name string, view *service.ConfigView) {
		if name == c.name {
			spec, err = view.FormatJSON()
		}
	})
	return spec, err
}
