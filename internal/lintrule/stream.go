package lintrule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// part is a piece of a configuration that a rule looks at.
type part struct {
	path string
	node *yaml.Node
	// label of the component, if it has one.
	label string
}

// stream is what the rules need to know of a configuration.
type stream struct {
	// inputs and outputs are ours, in the stream's own tree.
	inputs, outputs []part
	// resourceInputs and resourceOutputs are ours among the resources.
	resourceInputs, resourceOutputs []part
	// batching holds every batch policy below the output, whosever it is, apart
	// from those of our outputs.
	batching []part
	// splitting processors make several batches of one.
	splitting []part
	// windows are buffers that group by event time, watermarks the processors that assign
	// it, caches those that are part of checkpoints.
	windows, watermarks, caches []part
	// streams tells that there is an input, whosever it is.
	streams bool
	// shutdown is the service's shutdown_timeout, if it is set.
	shutdown *yaml.Node
}

// splitters are the processors that make several batches of one.
var splitters = map[string]bool{"split": true, "group_by": true, "group_by_value": true}

func readStream(doc *yaml.Node) *stream {
	s := &stream{}
	for _, f := range fields(doc) {
		switch f.name {
		case "shutdown_timeout":
			s.shutdown = f.value
		case "tests":
		case "input":
			s.streams = true
			s.walk(f.name, f.name, f.value)
		default:
			s.walk(f.name, f.name, f.value)
		}
	}
	return s
}

// walk collects the parts below a node. Section is the top-level field that the
// node lies in; components are known by their name there, so that a private
// environment, a template or a plugin that is not built in does not matter.
func (s *stream) walk(section, path string, n *yaml.Node) {
	n = resolve(n)
	if n.Kind == yaml.SequenceNode {
		for i, item := range n.Content {
			s.walk(section, path+"."+strconv.Itoa(i), item)
		}
		return
	}
	own := scalar(n, "label")
	for _, f := range fields(n) {
		at := part{path: path + "." + f.name, node: resolve(f.value), label: own}
		s.note(section, f.name, at)
		s.walk(section, at.path, f.value)
	}
}

func (s *stream) note(section, name string, at part) {
	switch {
	case splitters[name] && strings.Contains(at.path, "processors"):
		s.splitting = append(s.splitting, at)
	case watermarks[name] && strings.Contains(at.path, "processors"):
		s.watermarks = append(s.watermarks, at)
	case name == windowBuffer && section == "buffer":
		s.windows = append(s.windows, at)
	case name == checkpointedCache && section == "cache_resources":
		s.caches = append(s.caches, at)
	case name == "batching" && at.node.Kind == yaml.MappingNode && !strings.Contains(at.path, component+"."):
		s.batching = append(s.batching, at)
	}
	if name != component || at.node.Kind != yaml.MappingNode {
		return
	}
	switch section {
	case "input":
		s.inputs = append(s.inputs, at)
	case "input_resources":
		s.resourceInputs = append(s.resourceInputs, at)
	case "output":
		s.outputs = append(s.outputs, at)
	case "output_resources":
		s.resourceOutputs = append(s.resourceOutputs, at)
	}
}

type field struct {
	name  string
	value *yaml.Node
}

// fields lists the fields of a mapping, merge keys included.
func fields(n *yaml.Node) []field {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var fs []field
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag == "!!merge" {
			fs = append(fs, fields(n.Content[i+1])...)
			continue
		}
		fs = append(fs, field{n.Content[i].Value, n.Content[i+1]})
	}
	return fs
}

// resolve follows documents and aliases to the node that they stand for.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
			n = n.Content[0]
		default:
			return n
		}
	}
	return n
}

// find returns the node at a path of field names, nil if there is none.
func find(n *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		var next *yaml.Node
		for _, f := range fields(n) {
			if f.name == name {
				next = f.value
			}
		}
		if next == nil {
			return nil
		}
		n = next
	}
	return resolve(n)
}

// scalar returns the text at a path of field names, "" if there is none.
func scalar(n *yaml.Node, path ...string) string {
	if v := find(n, path...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// Component is one of ours in a configuration.
type Component struct {
	// Path of the component's fields, for messages.
	Path string
	// Settings are its fields.
	Settings any
}

// Components returns our inputs and outputs in the stream's own tree, in the order of the
// file, whatever lies around them.
func Components(text []byte) (inputs, outputs []Component, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, nil, fmt.Errorf("parsing configuration: %w", err)
	}
	s := readStream(&doc)
	read := func(parts []part) (all []Component) {
		for _, p := range parts {
			c := Component{Path: p.path}
			err = errors.Join(err, p.node.Decode(&c.Settings))
			all = append(all, c)
		}
		return all
	}
	return read(s.inputs), read(s.outputs), err
}
