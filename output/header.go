package output

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

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
	slices.SortFunc(hs, func(a, b kgo.RecordHeader) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	return hs
}

// keptHeaders returns the headers of the source record as their metadata say they
// are now. Where nothing has changed it returns them as they are, and costs one
// look into the metadata for each.
//
// A source that puts headers into the metadata puts the last one of a name there,
// so that is the one to compare with. A header that has changed replaces all of
// its name: a reader that takes the first one must not find the old value.
func keptHeaders(hs []kgo.RecordHeader, m *service.Message) []kgo.RecordHeader {
	var changed []kgo.RecordHeader
	for i := range hs {
		if !lastOfName(hs, i) {
			continue
		}
		v, ok := m.MetaGetMut(hs[i].Key)
		if !ok || metaEqual(v, hs[i].Value) {
			continue
		}
		if changed == nil {
			changed = slices.Clone(hs)
		}
		changed = replaceHeader(changed, hs[i].Key, metaBytes(v))
	}
	if changed == nil {
		return hs
	}
	return changed
}

func lastOfName(hs []kgo.RecordHeader, i int) bool {
	for j := i + 1; j < len(hs); j++ {
		if hs[j].Key == hs[i].Key {
			return false
		}
	}
	return true
}

// replaceHeader leaves one header of a name, where the first one was.
func replaceHeader(hs []kgo.RecordHeader, name string, value []byte) []kgo.RecordHeader {
	kept, placed := hs[:0], false
	for _, h := range hs {
		if h.Key == name {
			if placed {
				continue
			}
			placed, h.Value = true, value
		}
		kept = append(kept, h)
	}
	return kept
}

// metaEqual compares a metadata value with a header's. Null is not empty.
func metaEqual(v any, value []byte) bool {
	switch t := v.(type) {
	case nil:
		return value == nil
	case string:
		return value != nil && t == string(value)
	case []byte:
		return (t == nil) == (value == nil) && bytes.Equal(t, value)
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
