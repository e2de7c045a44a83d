package plugins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// DialFunc opens a connection to a broker, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, host string) (net.Conn, error)

// Option changes how components are registered.
type Option func(*registration)

type registration struct {
	dial DialFunc
}

// Dial makes every component reach its brokers through fn: through a proxy, a
// tunnel or a network in memory. Where TLS is configured it is added on top of
// the connection. Without the option, or with nil, net.Dialer is used.
func Dial(fn DialFunc) Option {
	return func(r *registration) { r.dial = fn }
}

// registrar adds the components of one package to an environment.
type registrar func(env *service.Environment, dial DialFunc) error

func init() {
	if err := Register(service.GlobalEnvironment()); err != nil {
		panic(fmt.Sprintf("tidemark: %v", err))
	}
}

// Register adds every component of Tidemark to env. It returns an error that
// names the component where env already has a foreign one of the same kind and
// name, and then adds nothing. Environments are usually copies of the global
// one, to which the import of this package has added the components already:
// ours are replaced by ours, so that options take effect.
func Register(env *service.Environment, opts ...Option) error {
	var r registration
	for _, o := range opts {
		o(&r)
	}
	own, err := components(r.dial)
	if err != nil {
		return err
	}
	if err := clashes(env, own); err != nil {
		return err
	}
	return r.addTo(env)
}

func (r *registration) addTo(env *service.Environment) error {
	for _, register := range registrars {
		if err := register(env, r.dial); err != nil {
			return fmt.Errorf("registering components: %w", err)
		}
	}
	return nil
}

// components returns an environment that holds nothing but ours.
func components(dial DialFunc) (*service.Environment, error) {
	env := service.NewEmptyEnvironment()
	r := registration{dial: dial}
	if err := r.addTo(env); err != nil {
		return nil, err
	}
	return env, nil
}

// kind is one kind of component and how an environment lists those that it has.
// Its Get methods are of no use: they ask the global environment, always.
type kind struct {
	name string
	walk func(*service.Environment, func(string, *service.ConfigView))
}

var kinds = []kind{
	{"input", (*service.Environment).WalkInputs},
	{"output", (*service.Environment).WalkOutputs},
	{"processor", (*service.Environment).WalkProcessors},
	{"buffer", (*service.Environment).WalkBuffers},
	{"cache", (*service.Environment).WalkCaches},
}

// clashes reports every component of own that env has under the same name with
// another specification.
func clashes(env, own *service.Environment) error {
	var errs []error
	for _, k := range kinds {
		ours := map[string]*service.ConfigView{}
		k.walk(own, func(name string, view *service.ConfigView) { ours[name] = view })
		k.walk(env, func(name string, there *service.ConfigView) {
			if view, ok := ours[name]; ok && !same(view, there) {
				errs = append(errs, fmt.Errorf("registering %s %s: the environment has another %s of that name; "+
					"build without the package that adds it, or register with a copy of the environment that lacks it (Environment.Without)",
					k.name, name, k.name))
			}
		})
	}
	return errors.Join(errs...)
}

// same tells whether two components have one specification; constructors cannot
// be compared.
func same(a, b *service.ConfigView) bool {
	x, errX := a.FormatJSON()
	y, errY := b.FormatJSON()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
