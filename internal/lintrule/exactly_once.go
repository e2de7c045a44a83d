package lintrule

import (
	"fmt"
	"time"
)

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
		found = append(found, s.transactionTimeout(out)...)
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

// storeWritten: records of an output among those of the store would be compacted away.
func storeWritten(s *stream) []Finding {
	var found []Finding
	for _, in := range s.inputs {
		topic := scalar(in.node, "checkpoint", "store", "topic")
		for _, out := range s.outputs {
			if n := find(out.node, "topic"); n != nil && topic != "" && n.Value == topic {
				found = append(found, Finding{
					Line: n.Line, Path: out.path + ".topic",
					What: fmt.Sprintf("is %s, which is checkpoint.store.topic of %s; use a topic of its own for the store", topic, in.path),
				})
			}
		}
	}
	return found
}

// transactionTimeout: the brokers abort a transaction that takes longer, and one lasts from one
// checkpoint to the next.
func (s *stream) transactionTimeout(out part) []Finding {
	limit, ok := durationOr(find(out.node, "transaction_timeout"), defaultTransactionTimeout)
	interval, seen := s.setting("interval", defaultInterval)
	timeout, known := s.setting("timeout", defaultCheckpointTimeout)
	least := interval + timeout
	if !ok || !seen || !known || limit > least {
		return nil
	}
	return []Finding{{
		Line: out.node.Line, Path: out.path + ".transaction_timeout",
		What: fmt.Sprintf("is %v, but a checkpoint may begin %v after the one before and take %v; set it above %v, or shorten checkpoint.timeout of the input",
			limit, interval, timeout, least),
	}}
}

// setting is a duration of the checkpoints that the inputs of the stream share; false if it
// cannot be seen.
func (s *stream) setting(name string, or time.Duration) (time.Duration, bool) {
	for _, in := range s.inputs {
		if n := find(in.node, "checkpoint", name); n != nil {
			return durationOr(n, or)
		}
	}
	return or, true
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
