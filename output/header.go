package output

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// filteredHeaders makes headers of the metadata that a filter lets through, in
// the order of their names.
func filteredHeaders(f *service.MetadataFilter, m *service.Message) []kgo.RecordHeader {
	var hs []kgo.RecordHeader
	_ = f.WalkMut(m, func(name string, v any) error {
		hs = append(hs, kgo.RecordHeader{Key: name, Value: metaBytes(v)})
		return nil
	})
	slices.SortFunc(hs, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	return hs
}

// keptHeaders returns the headers of the source record as their metadata say they
// are now. Where nothing has changed it returns them as they are, and costs one
// look into the metadata for each. inMetadata tells that the source put them all
// there, so that one that is missing was deleted.
//
// A source that puts headers into the metadata puts the last one of a name there,
// or a list of all. A header that has changed replaces all of its name: a reader
// that takes the first one must not find the old value.
func keptHeaders(hs []kgo.RecordHeader, m *service.Message, inMetadata bool) []kgo.RecordHeader {
	var changed []kgo.RecordHeader
	for i := range hs {
		if reserved(hs[i].Key) || !lastOfName(hs, i) {
			continue
		}
		v, ok := m.MetaGetMut(hs[i].Key)
		if !ok && !inMetadata {
			continue
		}
		if !ok { // the pipeline deleted it
			if changed == nil {
				changed = slices.Clone(hs)
			}
			changed = replaceHeader(changed, hs[i].Key, nil)
			continue
		}
		list, all := v.([]any)
		switch {
		case all && listEqual(list, hs, hs[i].Key), !all && metaEqual(v, hs[i].Value):
			continue
		case !all:
			list = []any{v}
		}
		if changed == nil {
			changed = slices.Clone(hs)
		}
		changed = replaceHeader(changed, hs[i].Key, list)
	}
	if changed == nil {
		return hs
	}
	return changed
}

// reserved tells metadata that say something else than the header of that name.
func reserved(name string) bool {
	return strings.HasPrefix(name, "kafka_") || name == metaEventTime || name == "watermark_ms" || name == "late"
}

func lastOfName(hs []kgo.RecordHeader, i int) bool {
	for j := i + 1; j < len(hs); j++ {
		if hs[j].Key == hs[i].Key {
			return false
		}
	}
	return true
}

// replaceHeader puts values in the place of the first header of a name, and takes
// the others of that name out.
func replaceHeader(hs []kgo.RecordHeader, name string, values []any) []kgo.RecordHeader {
	kept := make([]kgo.RecordHeader, 0, len(hs)+len(values))
	placed := false
	for _, h := range hs {
		if h.Key != name {
			kept = append(kept, h)
			continue
		}
		if placed {
			continue
		}
		placed = true
		for _, v := range values {
			kept = append(kept, kgo.RecordHeader{Key: name, Value: metaBytes(v)})
		}
	}
	return kept
}

// listEqual compares a list with all headers of a name.
func listEqual(list []any, hs []kgo.RecordHeader, name string) bool {
	n := 0
	for i := range hs {
		if hs[i].Key != name {
			continue
		}
		if n == len(list) || !metaEqual(list[n], hs[i].Value) {
			return false
		}
		n++
	}
	return n == len(list)
}

// metaEqual compares a metadata value with a header's. An empty text stands for a
// null header too, because a source cannot say it otherwise.
func metaEqual(v any, value []byte) bool {
	switch t := v.(type) {
	case nil:
		return value == nil
	case string:
		return t == string(value)
	case []byte:
		return bytes.Equal(t, value)
	}
	return value != nil && string(metaBytes(v)) == string(value)
}

// metaBytes gives a metadata value the bytes that Benthos itself gives it as
// text; null stays null.
func metaBytes(v any) []byte {
	switch t := v.(type) {
	case nil:
		return nil
	case string:
		return append([]byte{}, t...)
	case []byte:
		return t
	case int64:
		return strconv.AppendInt(nil, t, 10)
	case int:
		return strconv.AppendInt(nil, int64(t), 10)
	case int32:
		return strconv.AppendInt(nil, int64(t), 10)
	case bool:
		return strconv.AppendBool(nil, t)
	}
	m := service.NewMessage(nil)
	m.MetaSetMut("v", v)
	text, ok := m.MetaGet("v")
	if !ok {
		text = fmt.Sprint(v)
	}
	return []byte(text)
}

// metaInt reads a whole number.
func metaInt(v any) (int64, bool) {
	switch t := v.(type) {
	case int64:
		return t, true
	case int:
		return int64(t), true
	case float64:
		return int64(t), float64(int64(t)) == t
	}
	n, err := strconv.ParseInt(string(metaBytes(v)), 10, 64)
	return n, err == nil
}

func metaBool(v any) bool {
	if b, ok := v.(bool); ok {
		return b
	}
	return string(metaBytes(v)) == "true"
}
