package lintrule

import "fmt"

// exactlyOnce: what exactly-once delivery needs of the inputs of its stream, and of other
// outputs.
func exactlyOnce(s *stream) []Finding {
	var found []Finding
	for _, out := range s.resourceOutputs {
		if scalar(out.node, "delivery") == "exactly_once" {
			found = append(found, Finding{
				Line: out.node.Line, Path: out.path + ".delivery",
				What: "is exactly_once, but a resource does not belong to one stream; put the output into the stream's own, or set it to at_least_once",
			})
		}
	}
	for _, out := range s.outputs {
		if scalar(out.node, "delivery") != "exactly_once" {
			continue
		}
		if s.streams && len(s.inputs) == 0 {
			found = append(found, Finding{
				Line: out.node.Line, Path: out.path + ".delivery",
				What: "is exactly_once, but the stream has no input kafka_checkpointed, so that nothing could be read again; set it to at_least_once",
			})
		}
		for _, in := range s.inputs {
			found = append(found, s.inTransaction(in, out)...)
		}
	}
	return found
}

// inTransaction finds what keeps the positions of an input, and state, out of transactions.
func (s *stream) inTransaction(in, out part) (found []Finding) {
	refuse := func(at, why, remedy string) {
		found = append(found, Finding{
			Line: in.node.Line, Path: in.path + at,
			What: fmt.Sprintf("%s, and delivery of %s is exactly_once; %s", why, out.path, remedy),
		})
	}
	topic := s.storeTopic()
	if n := find(in.node, "checkpoint", "interval"); n != nil && equal(n.Value, "0s") {
		refuse(".checkpoint.interval", "is 0s, so that there are no checkpoints", "set it to 1s, for example")
	}
	if scalar(in.node, "checkpoint", "store", "directory") != "" {
		refuse(".checkpoint.store.directory", "is set, and no transaction covers a folder", "set checkpoint.store.topic instead")
	}
	if scalar(in.node, "group_protocol") == "consumer" {
		refuse(".group_protocol", "is consumer, whose members brokers cannot fence in a transaction", "set it to classic")
	}
	if scalar(in.node, "auto_replay_nacks") == "false" {
		refuse(".auto_replay_nacks", "is false, which drops messages", "remove it")
	}
	if topic {
		return found
	}
	if why := unassigned(in); why != "" {
		refuse("", why+", so that no group keeps its positions", "set checkpoint.store.topic, or consumer_group with assignment group")
	}
	for _, state := range append(append([]part{}, s.windows...), s.caches...) {
		refuse("", fmt.Sprintf("has no checkpoint.store.topic for the state of %s", state.path), "set checkpoint.store.topic")
	}
	return found
}

// storeTopic tells whether any input keeps the stream's checkpoints in a topic.
func (s *stream) storeTopic() bool {
	for _, in := range s.inputs {
		if scalar(in.node, "checkpoint", "store", "topic") != "" {
			return true
		}
	}
	return false
}

// unassigned says why an input is no member of a group; empty if it is, as far as can be
// seen.
func unassigned(in part) string {
	switch {
	case scalar(in.node, "assignment") == "static":
		return "assignment is static"
	case find(in.node, "shard", "count") != nil:
		return "reads a shard"
	case scalar(in.node, "consumer_group") == "" && scalar(in.node, "properties", "group.id") == "":
		return "has no consumer_group"
	}
	return ""
}
