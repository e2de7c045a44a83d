package lintrule

import (
	"fmt"
	"strings"
)

// The names of our components that follow event time, or keep state.
const (
	windowBuffer      = "event_time_window"
	checkpointedCache = "checkpointed"
)

// watermarks are the processors that assign event times.
var watermarks = map[string]bool{"watermark_periodic": true, "watermark_punctuated": true}

// windows: what a window needs of the inputs of its stream.
func windows(s *stream) []Finding {
	var found []Finding
	for _, w := range s.windows {
		found = append(found, s.needsInput(w, "its windows would be in no checkpoint; use system_window, or read from Kafka")...)
		found = append(found, s.keepsState(w)...)
		for _, in := range s.inputs {
			if !s.assigned(in) {
				found = append(found, Finding{
					Line: in.node.Line, Path: in.path,
					What: fmt.Sprintf("its records get no event time, which %s needs: put watermark_periodic or watermark_punctuated under the "+
						"processors of the input; under pipeline they come too late", w.path),
				})
			}
			if strings.Contains(in.path, ".sequence.") {
				found = append(found, Finding{
					Line: in.node.Line, Path: in.path,
					What: fmt.Sprintf("is in a sequence, and inputs in sequence cannot share the windows of %s: read all topics with one input, or run one job after the other", w.path),
				})
			}
			found = append(found, cutOff(in, w)...)
			if why := partial(in); scalar(w.node, "scope") == "process" && why != "" {
				found = append(found, Finding{
					Line: w.node.Line, Path: w.path + ".scope",
					What: fmt.Sprintf("is process, but %s %s: set it to partition, or read all partitions in one process", in.path, why),
				})
			}
		}
	}
	return found
}

// caches: what a cache that is part of checkpoints needs.
func caches(s *stream) []Finding {
	if !s.streams {
		return nil // A file of resources says nothing of the streams that use them.
	}
	var found []Finding
	for _, c := range s.caches {
		found = append(found, s.needsInput(c, "its contents would be in no checkpoint; use another cache, or read from Kafka")...)
		found = append(found, s.keepsState(c)...)
		for _, in := range s.inputs {
			found = append(found, cutOff(in, c)...)
			if why := partial(in); why != "" {
				found = append(found, Finding{
					Line: c.node.Line, Path: c.path,
					What: fmt.Sprintf("needs all partitions to be read in one process, but %s %s", in.path, why),
				})
			}
		}
	}
	return found
}

// cutOff finds an input that is ended without regard to what the pipeline has of it: the
// checkpoint that it ends with cannot be kept.
func cutOff(in, state part) []Finding {
	if !strings.Contains(in.path, ".read_until.") {
		return nil
	}
	return []Finding{{
		Line: in.node.Line, Path: in.path,
		What: fmt.Sprintf("is in read_until, which cuts off what is under way, and the state of %s may know of it already: use stop_at instead", state.path),
	}}
}

func (s *stream) needsInput(p part, what string) []Finding {
	if len(s.inputs) > 0 {
		return nil
	}
	return []Finding{{Line: p.node.Line, Path: p.path, What: "the stream has no input kafka_checkpointed: " + what}}
}

// keepsState finds inputs that take no checkpoints, and whether there is a store.
func (s *stream) keepsState(p part) []Finding {
	if len(s.inputs) == 0 {
		return nil
	}
	stored := false
	var found []Finding
	for _, in := range s.inputs {
		stored = stored || find(in.node, "checkpoint", "store", "directory") != nil || find(in.node, "checkpoint", "store", "topic") != nil
		if n := find(in.node, "checkpoint", "interval"); n != nil && equal(n.Value, "0s") {
			found = append(found, Finding{
				Line: n.Line, Path: in.path + ".checkpoint.interval",
				What: fmt.Sprintf("is 0s, but %s keeps state in checkpoints; set it to 1s, for example", p.path),
			})
		}
	}
	if !stored {
		found = append(found, Finding{
			Line: p.node.Line, Path: p.path,
			What: fmt.Sprintf("keeps state, and there is no store for it: set checkpoint.store.directory or checkpoint.store.topic of %s", s.inputs[0].path),
		})
	}
	return found
}

// assigned tells whether records of an input pass a watermark processor below it, or below
// a broker that it is in.
func (s *stream) assigned(in part) bool {
	for _, w := range s.watermarks {
		base, _, below := strings.Cut(w.path, ".processors.")
		if below && strings.HasPrefix(in.path, base+".") {
			return true
		}
	}
	return false
}

// partial says why an input reads only some of its partitions; empty if it reads all, as
// far as can be seen.
func partial(in part) string {
	switch {
	case find(in.node, "shard", "count") != nil && scalar(in.node, "shard", "count") != "1" && !unresolved(scalar(in.node, "shard", "count")):
		return "reads a shard"
	case scalar(in.node, "assignment") == "group":
		return "shares partitions out by a consumer group"
	}
	return ""
}
