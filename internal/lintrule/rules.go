package lintrule

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// The defaults of Benthos and of our input and output that rules compare with.
const (
	defaultServiceShutdown    = 20 * time.Second
	defaultCheckpointShutdown = 10 * time.Second
	defaultInterval           = time.Second
	defaultCheckpointTimeout  = 30 * time.Second
	defaultTransactionTimeout = time.Minute
)

// resourceInputs: Benthos builds a resource at first use and once for all
// streams, so the checkpoints of such an input would belong to no stream.
func resourceInputs(s *stream) []Finding {
	var found []Finding
	for _, in := range s.resourceInputs {
		found = append(found, Finding{
			Line: in.node.Line, Path: in.path,
			What: fmt.Sprintf("the input %q is a resource, which belongs to no stream and can take part in no checkpoint; "+
				"move it below the stream's own input", in.label),
		})
	}
	return found
}

// conflicts: the inputs of a stream share its checkpoints. One that sets nothing
// takes what another one sets.
func conflicts(s *stream) []Finding {
	type setting struct {
		path, value string
	}
	first := map[string]setting{}
	var found []Finding
	for _, in := range s.inputs {
		for _, f := range flatten("checkpoint", find(in.node, "checkpoint")) {
			set := setting{in.path + "." + f.name, f.value.Value}
			other, known := first[f.name]
			if !known {
				first[f.name] = set
				continue
			}
			if unresolved(set.value) || unresolved(other.value) || equal(set.value, other.value) {
				continue
			}
			found = append(found, Finding{
				Line: f.value.Line, Path: set.path,
				What: fmt.Sprintf("is %s, but %s is %s; the inputs of a stream share its checkpoints: "+
					"set both to one value, or only one of them", set.value, other.path, other.value),
			})
		}
	}
	return found
}

// flatten lists the scalars below a node by their dot path; a list counts as one.
func flatten(path string, n *yaml.Node) []field {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return []field{{path, n}}
	case yaml.SequenceNode:
		text, _ := yaml.Marshal(n)
		return []field{{path, &yaml.Node{Kind: yaml.ScalarNode, Value: string(text), Line: n.Line}}}
	}
	var all []field
	for _, f := range fields(n) {
		all = append(all, flatten(path+"."+f.name, resolve(f.value))...)
	}
	return all
}

// equal compares values as durations where both are some: 1s is 1000ms.
func equal(a, b string) bool {
	x, errX := time.ParseDuration(a)
	y, errY := time.ParseDuration(b)
	if errX == nil && errY == nil {
		return x == y
	}
	return a == b
}

// durationOr reads a duration, or takes one where there is no node; false if that cannot be
// read.
func durationOr(n *yaml.Node, or time.Duration) (time.Duration, bool) {
	if n == nil {
		return or, true
	}
	d, err := time.ParseDuration(n.Value)
	return d, err == nil
}

// shutdownTimeout: Benthos kills what has not stopped within its own time-out,
// and the outputs have to stop after the final checkpoint.
func shutdownTimeout(s *stream) []Finding {
	service, ok := durationOr(s.shutdown, defaultServiceShutdown)
	if !ok {
		return nil
	}
	limit := service * 3 / 4
	var found []Finding
	for _, in := range s.inputs {
		n, line := find(in.node, "checkpoint", "shutdown_timeout"), in.node.Line
		if n != nil {
			line = n.Line
		}
		own, ok := durationOr(n, defaultCheckpointShutdown)
		if ok && own > limit {
			found = append(found, Finding{
				Line: line, Path: in.path + ".checkpoint.shutdown_timeout",
				What: fmt.Sprintf("is %v, more than three quarters of the service's shutdown_timeout of %v, which would cut the final "+
					"checkpoint off; set it to at most %v, or shutdown_timeout to at least %v", own, service, limit, (own*4+2)/3),
			})
		}
	}
	return found
}

// countBatching: a batch that waits for more records may wait for records that
// cannot come, because what it holds is not acknowledged: their partition is
// held back, and a cut that must find nothing under way never does.
func countBatching(s *stream) []Finding {
	if len(s.inputs) == 0 {
		return nil
	}
	var found []Finding
	for _, out := range slices.Concat(s.outputs, s.resourceOutputs) {
		if n := find(out.node, "batching"); n != nil && waitsForMore(n) {
			found = append(found, Finding{Line: n.Line, Path: out.path + ".batching", What: waitsWhat})
		}
	}
	for _, b := range s.batching {
		if waitsForMore(b.node) {
			found = append(found, Finding{Line: b.node.Line, Path: b.path, What: waitsWhat, Warning: true})
		}
	}
	return found
}

const waitsWhat = "batches by count or size without a period can wait for ever, because the partitions that they hold " +
	"records of are held back, and no checkpoint that has to wait for them completes; set period, 100ms for example"

func waitsForMore(batching *yaml.Node) bool {
	if p := scalar(batching, "period"); p != "" && p != "0s" {
		return false
	}
	count, _ := strconv.Atoi(scalar(batching, "count"))
	size, _ := strconv.Atoi(scalar(batching, "byte_size"))
	return count > 1 || size > 0
}

// splitBatches: of one batch these processors make several, which the output
// writes at a time. Where it waits for the broker each time that is ten at a time
// if nothing else is said.
func splitBatches(s *stream) []Finding {
	if len(s.inputs) == 0 || len(s.splitting) == 0 {
		return nil
	}
	unchecked := false
	for _, in := range s.inputs {
		if scalar(in.node, "ordering") == "none" {
			return nil
		}
		unchecked = unchecked || equal(scalar(in.node, "checkpoint", "interval"), "0s")
	}
	var found []Finding
	for _, out := range slices.Concat(s.outputs, s.resourceOutputs) {
		waits := unchecked || scalar(out.node, "flush") == "on_ack"
		line, value, remedy := out.node.Line, "unset, which is 10 where the output waits for the brokers", "set it to 1"
		switch n := find(out.node, "max_in_flight"); {
		case scalar(out.node, "delivery") == "none", n == nil && !waits:
			continue
		case n != nil:
			if several, err := strconv.Atoi(n.Value); err != nil || several <= 1 {
				continue
			}
			line, value = n.Line, n.Value
			if !waits {
				remedy += ", or leave it out"
			}
		}
		for _, p := range s.splitting {
			found = append(found, Finding{
				Line: line, Path: out.path + ".max_in_flight", Warning: true,
				What: fmt.Sprintf("is %s, so the batches that %s makes of one can overtake each other and the order within a "+
					"partition is lost; %s", value, p.path, remedy),
			})
		}
	}
	return found
}

// unresolved tells whether a value holds an environment variable that was not
// replaced.
func unresolved(s string) bool { return len(s) > 1 && s[0] == '$' && s[1] == '{' }
