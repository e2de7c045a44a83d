package lintrule

import (
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"
)

// component is the name that the input and the output share.
const component = "kafka_checkpointed"

// Finding is one violation of a rule.
type Finding struct {
	// Line in the file, from 1; 0 when it is not known.
	Line int
	// Path is the dot path of the field or component that is at fault.
	Path string
	// What is wrong, with the values, and what to do about it.
	What string
	// Warning tells that a stream may run all the same.
	Warning bool
}

// String renders the finding the way that Benthos renders its own.
func (f Finding) String() string {
	if f.Warning {
		return fmt.Sprintf("(%d,1) warning: %s: %s", f.Line, f.Path, f.What)
	}
	return fmt.Sprintf("(%d,1) %s: %s", f.Line, f.Path, f.What)
}

// Err joins the findings that are errors; nil if there is none.
func Err(findings []Finding) error {
	var errs []error
	for _, f := range findings {
		if !f.Warning {
			errs = append(errs, fmt.Errorf("%s: %s", f.Path, f.What))
		}
	}
	return errors.Join(errs...)
}

// CheckYAML checks a configuration file. An error means that it is no YAML.
func CheckYAML(text []byte) ([]Finding, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("parsing configuration: %w", err)
	}
	return check(&doc), nil
}

// Check checks a configuration that was parsed already, with every override
// applied. Its findings have no lines.
func Check(conf any) ([]Finding, error) {
	text, err := yaml.Marshal(conf)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	findings, err := CheckYAML(text)
	for i := range findings {
		findings[i].Line = 0
	}
	return findings, err
}

func check(doc *yaml.Node) []Finding {
	s := readStream(doc)
	var all []Finding
	for _, rule := range rules {
		all = append(all, rule(s)...)
	}
	return all
}

// rules are applied in this order.
var rules = []func(*stream) []Finding{
	resourceInputs,
	conflicts,
	shutdownTimeout,
	countBatching,
	splitBatches,
	windows,
	caches,
	exactlyOnce,
	storeWritten,
}
