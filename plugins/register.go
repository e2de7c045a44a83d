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

// specifications holds, by its place in components, what was registered with the
// global environment. It is written once, in init. It is remembered rather than
// made again, because making a specification takes a good part of the time that
// a process needs to start.
var specifications [][]byte

func init() {
	if err := registerGlobally(service.GlobalEnvironment()); err != nil {
		panic(fmt.Sprintf("tidemark: %v", err))
	}
}

func registerGlobally(env *service.Environment) error {
	if err := clashes(env); err != nil {
		return err
	}
	if err := (&registration{}).addTo(env); err != nil {
		return err
	}
	for _, c := range components {
		spec, err := c.find(env)
		if err != nil {
			return fmt.Errorf("reading the specification of %s %s: %w", c.kind, c.name, err)
		}
		specifications = append(specifications, spec)
	}
	return nil
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
	if err := clashes(env); err != nil {
		return err
	}
	return r.addTo(env)
}

func (r *registration) addTo(env *service.Environment) error {
	for _, c := range components {
		if err := c.register(env, r.dial); err != nil {
			return fmt.Errorf("registering %s %s: %w", c.kind, c.name, err)
		}
	}
	return nil
}

// clashes reports every component of ours whose name env has for a component
// with another specification; constructors cannot be compared.
func clashes(env *service.Environment) error {
	var errs []error
	for i, c := range components {
		there, err := c.find(env)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading the specification of %s %s: %w", c.kind, c.name, err))
			continue
		}
		ours := i < len(specifications) && bytes.Equal(there, specifications[i])
		if there != nil && !ours {
			errs = append(errs, fmt.Errorf("registering %s %s: the environment has another %s of that name; "+
				"build without the package that adds it, or register with a copy of the environment that lacks it (Environment.Without)",
				c.kind, c.name, c.kind))
		}
	}
	return errors.Join(errs...)
}
