package input

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// timestamp reads RFC 3339 or milliseconds since 1970.
func (p *parser) timestamp(field string) (string, time.Time) {
	text := strings.TrimSpace(p.text(field))
	if text == "" {
		return "", time.Time{}
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 {
		return text, time.UnixMilli(ms)
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.UnixMilli() < 0 {
		p.fault(fmt.Errorf("%s: %q is neither RFC 3339, such as 2026-01-31T12:00:00Z, nor milliseconds since 1970", field, text))
	}
	return text, t
}

// offsets reads {topic: {partition: offset}}; nil if there are none.
func (p *parser) offsets(field string) map[kafka.Partition]int64 {
	if !p.conf.Contains(field) {
		return nil
	}
	topics, err := p.conf.FieldAnyMap(field)
	if err != nil {
		p.fault(fmt.Errorf("%s: %w", field, err))
		return nil
	}
	offsets := make(map[kafka.Partition]int64)
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		v, err := topics[topic].FieldAny()
		if err == nil {
			err = addOffsets(offsets, topic, v)
		}
		if err != nil {
			p.fault(fmt.Errorf("%s.%s: %w", field, topic, err))
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	return offsets
}

func addOffsets(offsets map[kafka.Partition]int64, topic string, v any) error {
	parts := make(map[string]any)
	switch v := v.(type) {
	case map[string]any:
		parts = v
	case map[any]any: // partition numbers that YAML took for numbers
		for k, o := range v {
			parts[fmt.Sprint(k)] = o
		}
	default:
		return fmt.Errorf("is %v: use offsets by partition, such as {0: 100}", v)
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			errs = append(errs, fmt.Errorf("%q is not the number of a partition", key))
			continue
		}
		offset, ok := whole(parts[key])
		if !ok || offset < 0 {
			errs = append(errs, fmt.Errorf("the offset of partition %d is %v: use 0 or more", id, parts[key]))
			continue
		}
		offsets[kafka.Partition{Topic: topic, ID: int32(id)}] = offset
	}
	return errors.Join(errs...)
}

// whole reads a whole number from whatever a parser made of it.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// noMetadata in place of names selects none. An empty list cannot: Benthos does
// not tell it from a list that is not set.
const noMetadata = "none"

// allMetadata in place of names selects all of it.
const allMetadata = "all"

// selectMetadata turns names into a selection; without names that of Redpanda
// Connect. The other two are left out then because Go's maps are built in a
// fraction of the time up to eight entries.
func selectMetadata(names []string) (metadataSelection, error) {
	var m metadataSelection
	targets := map[string]*bool{
		metaKey: &m.key, metaTopic: &m.topic, metaPartition: &m.partition, metaOffset: &m.offset,
		metaTimestampMs: &m.timestampMs, metaTimestampUnix: &m.timestampUnix, metaTombstone: &m.tombstone,
		metaLeaderEpoch: &m.epoch, metaTimestampType: &m.timestampType, "headers": &m.headers,
	}
	switch {
	case len(names) == 1 && names[0] == noMetadata:
		return m, nil
	case len(names) == 0, len(names) == 1 && names[0] == allMetadata:
		for _, target := range targets {
			*target = true
		}
		m.epoch, m.timestampType = len(names) > 0, len(names) > 0
		return m, nil
	}
	for _, name := range names {
		target, ok := targets[name]
		if !ok {
			return m, fmt.Errorf("%s: %q is not metadata of this input: use any of %s, or all, or none", fieldMetadata, name,
				strings.Join(slices.Sorted(maps.Keys(targets)), ", "))
		}
		*target = true
	}
	return m, nil
}
