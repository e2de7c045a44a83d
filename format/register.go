package format

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Settings say what a Format is made for.
type Settings struct {
	// Key tells that it is for keys rather than values.
	Key bool
	// Options is what the field `format_options`, or for keys `key_format_options`, holds;
	// nil if it is unset.
	Options map[string]any
}

// registered holds the formats of this build. It belongs to the process, as Benthos's own
// registry of components does.
var registered = struct {
	sync.RWMutex
	byName map[string]func(Settings) (Format, error)
}{byName: make(map[string]func(Settings) (Format, error))}

// Register adds a format that configurations can name in the fields `format` and
// `key_format`. construct is called once for each component and part that does; an error of
// its own is an error of the configuration.
//
// The name must have a dot, such as acme.orders, so that it never clashes with a format of a
// later version. It is an error if the name is taken. Call it from an init function.
func Register(name string, construct func(Settings) (Format, error)) error {
	if !strings.Contains(name, ".") || strings.ContainsAny(name, " \t\n") {
		return fmt.Errorf("registering format %q: its name must have a dot and no space, such as acme.orders", name)
	}
	if construct == nil {
		return fmt.Errorf("registering format %q: its constructor is nil", name)
	}
	registered.Lock()
	defer registered.Unlock()
	if _, taken := registered.byName[name]; taken {
		return fmt.Errorf("registering format %q: there is one of that name already", name)
	}
	registered.byName[name] = construct
	return nil
}

// Registered returns the constructor of a format of this build.
func Registered(name string) (construct func(Settings) (Format, error), ok bool) {
	registered.RLock()
	defer registered.RUnlock()
	construct, ok = registered.byName[name]
	return construct, ok
}

// Names lists the formats of this build, in order.
func Names() []string {
	registered.RLock()
	defer registered.RUnlock()
	names := make([]string, 0, len(registered.byName))
	for name := range registered.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
