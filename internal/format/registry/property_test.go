package registry_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"
	"pgregory.net/rapid"

	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

// shape is a type of a schema at random, and how to make values of it as they are read.
type shape struct {
	schema any
	value  *rapid.Generator[any]
}

func anyOf[T any](g *rapid.Generator[T]) *rapid.Generator[any] {
	return rapid.Map(g, func(v T) any { return v })
}

func decimals(precision, scale int) *rapid.Generator[any] {
	return documents(func(t *rapid.T) any {
		digits := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789")), 1, precision, -1).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		digits = n.String()
		if pad := scale + 1 - len(digits); pad > 0 {
			digits = strings.Repeat("0", pad) + digits
		}
		if scale > 0 {
			digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
		}
		if n.Sign() != 0 && rapid.Bool().Draw(t, "negative") {
			digits = "-" + digits
		}
		return json.Number(digits)
	})
}

func times(unit time.Duration) *rapid.Generator[any] {
	return rapid.Map(rapid.Int64Range(math.MinInt64/int64(unit)+1, math.MaxInt64/int64(unit)-1), func(n int64) any { return time.Unix(0, 0).UTC().Add(time.Duration(n) * unit) })
}

func dayTimes(unit time.Duration) *rapid.Generator[any] {
	return rapid.Map(rapid.Int64Range(0, int64(24*time.Hour/unit)-1), func(n int64) any {
		return time.Unix(0, n*int64(unit)).UTC().Format("15:04:05.999999")
	})
}

// documents makes values by a function, which need not draw anything itself.
func documents(draw func(*rapid.T) any) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		rapid.Bool().Draw(t, "any")
		return draw(t)
	})
}

func logical(typ, name string) map[string]any {
	return map[string]any{"type": typ, "logicalType": name}
}

// avroShape makes types of Avro; named counts the named ones.
func avroShape(t *rapid.T, depth int, named *int) shape {
	name := func() string { *named++; return "T" + strconv.Itoa(*named) }
	kinds := 19
	if depth > 0 {
		kinds += 5
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return shape{"boolean", anyOf(rapid.Bool())}
	case 1:
		return shape{"int", rapid.Map(rapid.Int32(), func(n int32) any { return int64(n) })}
	case 2:
		return shape{"long", anyOf(rapid.Int64())}
	case 3:
		return shape{"float", rapid.Map(rapid.Float32(), func(f float32) any { return float64(f) })}
	case 4:
		return shape{"double", anyOf(rapid.Float64())}
	case 5:
		return shape{"string", anyOf(rapid.String())}
	case 6:
		return shape{"bytes", anyOf(rapid.SliceOf(rapid.Byte()))}
	case 7:
		size := rapid.IntRange(1, 20).Draw(t, "size")
		return shape{map[string]any{"type": "fixed", "name": name(), "size": size}, anyOf(rapid.SliceOfN(rapid.Byte(), size, size))}
	case 8:
		symbols := []string{"A", "B", "C"}
		return shape{map[string]any{"type": "enum", "name": name(), "symbols": symbols}, anyOf(rapid.SampledFrom(symbols))}
	case 9, 10:
		precision := rapid.IntRange(1, 30).Draw(t, "precision")
		scale := rapid.IntRange(0, precision).Draw(t, "scale")
		s := map[string]any{"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
		if rapid.Bool().Draw(t, "fixed") {
			s["type"], s["name"], s["size"] = "fixed", name(), 13
		}
		return shape{s, decimals(precision, scale)}
	case 11:
		return shape{logical("int", "date"), rapid.Map(rapid.Int32(), func(n int32) any { return time.Unix(int64(n)*86400, 0).UTC() })}
	case 12:
		return shape{logical("int", "time-millis"), dayTimes(time.Millisecond)}
	case 13:
		return shape{logical("long", "time-micros"), dayTimes(time.Microsecond)}
	case 14:
		return shape{logical("long", "timestamp-millis"), times(time.Millisecond)}
	case 15:
		return shape{logical("long", "timestamp-micros"), times(time.Microsecond)}
	case 16:
		return shape{logical("long", "timestamp-nanos"), times(time.Nanosecond)}
	case 17:
		return shape{logical("long", "local-timestamp-micros"), times(time.Microsecond)}
	case 18:
		return shape{logical("string", "uuid"), anyOf(rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`))}
	case 19:
		in := avroShape(t, depth-1, named)
		return shape{map[string]any{"type": "array", "items": in.schema}, anyOf(rapid.SliceOfN(in.value, 0, 3))}
	case 20:
		in := avroShape(t, depth-1, named)
		return shape{map[string]any{"type": "map", "values": in.schema}, anyOf(rapid.MapOfN(rapid.String(), in.value, 0, 3))}
	case 21:
		in := avroShape(t, depth-1, named)
		if list, ok := in.schema.([]any); ok {
			return shape{list, in.value}
		}
		null := anyOf(rapid.Just[any](nil))
		return shape{[]any{"null", in.schema}, rapid.OneOf(null, in.value)}
	case 22:
		// Branches of which each value is of one only.
		return shape{[]any{"string", "boolean", "long", "double", "bytes", map[string]any{"type": "map", "values": "long"}}, rapid.OneOf(
			anyOf(rapid.String()), anyOf(rapid.Bool()), anyOf(rapid.Int64()), anyOf(rapid.Float64()), anyOf(rapid.SliceOf(rapid.Byte())),
			rapid.Map(rapid.MapOf(rapid.String(), rapid.Int64()), func(m map[string]int64) any {
				doc := map[string]any{}
				for k, v := range m {
					doc[k] = v
				}
				return doc
			}))}
	}
	return avroRecord(t, depth, named, name())
}

func avroRecord(t *rapid.T, depth int, named *int, name string) shape {
	fields := []any{}
	values := map[string]*rapid.Generator[any]{}
	for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
		f, in := fmt.Sprintf("f%d", i), avroShape(t, depth-1, named)
		fields = append(fields, map[string]any{"name": f, "type": in.schema})
		values[f] = in.value
	}
	return shape{map[string]any{"type": "record", "name": name, "fields": fields}, documents(func(t *rapid.T) any {
		doc := map[string]any{}
		for i := range len(values) {
			f := fmt.Sprintf("f%d", i)
			doc[f] = values[f].Draw(t, f)
		}
		return doc
	})}
}

func text(t require.TestingT, v any) string {
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out)
}

// Whatever the schema, what is written is read, also by a schema that has a field more.
func TestAvroRoundTrips(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		named := 0
		s := avroRecord(rt, 3, &named, "Root")
		w, err := registry.Avro(c, registry.Options{Writing: true, Schema: text(rt, s.schema), Subject: strconv.Itoa(n)})
		require.NoError(rt, err)
		newer := s.schema.(map[string]any)
		newer = map[string]any{"type": "record", "name": "Root", "fields": append([]any{
			map[string]any{"name": "more", "type": []any{"null", "string"}, "default": nil},
			map[string]any{"name": "with", "type": "long", "default": 42}}, newer["fields"].([]any)...)}
		r, err := registry.Avro(c, registry.Options{ReaderSchema: text(rt, newer)})
		require.NoError(rt, err)
		for range 3 {
			doc := s.value.Draw(rt, "doc")
			data, err := w.Encode(t.Context(), value, doc)
			require.NoError(rt, err)
			got, err := w.Decode(t.Context(), value, data)
			require.NoError(rt, err)
			require.Equal(rt, doc, got)
			got, err = r.Decode(t.Context(), value, data)
			require.NoError(rt, err)
			doc.(map[string]any)["more"], doc.(map[string]any)["with"] = nil, int64(42)
			require.Equal(rt, doc, got)
		}
	})
}

// protoMessage writes a message of a .proto text, and makes documents of it as they are read.
func protoMessage(t *rapid.T, out *strings.Builder, depth int, name string) *rapid.Generator[any] {
	out.WriteString("message " + name + " {\n")
	values := map[string]*rapid.Generator[any]{}
	types := []struct {
		name  string
		value *rapid.Generator[any]
	}{
		{"bool", anyOf(rapid.Bool())}, {"string", anyOf(rapid.String())}, {"bytes", anyOf(rapid.SliceOf(rapid.Byte()))},
		{"int32", rapid.Map(rapid.Int32(), func(n int32) any { return int64(n) })}, {"sint32", rapid.Map(rapid.Int32(), func(n int32) any { return int64(n) })},
		{"uint32", rapid.Map(rapid.Uint32(), func(n uint32) any { return int64(n) })}, {"sfixed64", anyOf(rapid.Int64())}, {"int64", anyOf(rapid.Int64())},
		{"uint64", rapid.Map(rapid.Uint64(), func(n uint64) any {
			if n > math.MaxInt64 {
				return json.Number(strconv.FormatUint(n, 10))
			}
			return int64(n)
		})},
		{"float", rapid.Map(rapid.Float32(), func(f float32) any { return float64(f) })}, {"double", anyOf(rapid.Float64())},
		{"google.protobuf.Timestamp", rapid.Map(rapid.Int64Range(-62135596800, 253402300799), func(n int64) any { return time.Unix(n, n&0xffff).UTC() })},
		{"Kind", anyOf(rapid.SampledFrom([]string{"NONE", "SOME"}))},
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		f := fmt.Sprintf("f%d", i)
		k := rapid.IntRange(0, len(types)).Draw(t, "type")
		var typ string
		var v *rapid.Generator[any]
		switch {
		case k < len(types):
			typ, v = types[k].name, types[k].value
		case depth == 0:
			continue
		default:
			typ = "In" + name + strconv.Itoa(i)
			v = protoMessage(t, out, depth-1, typ)
		}
		switch rapid.IntRange(0, 3).Draw(t, "label") {
		case 0:
			fmt.Fprintf(out, "  repeated %s %s = %d;\n", typ, f, i+1)
			v = anyOf(rapid.SliceOfN(v, 1, 3))
		case 1:
			fmt.Fprintf(out, "  map<string, %s> %s = %d;\n", typ, f, i+1)
			v = anyOf(rapid.MapOfN(rapid.String(), v, 1, 3))
		default:
			fmt.Fprintf(out, "  optional %s %s = %d;\n", typ, f, i+1)
		}
		values[f] = v
	}
	out.WriteString("}\n")
	return documents(func(t *rapid.T) any {
		doc := map[string]any{}
		for i := range 5 {
			f := fmt.Sprintf("f%d", i)
			if v := values[f]; v != nil && rapid.Bool().Draw(t, "set") {
				doc[f] = v.Draw(t, f)
			}
		}
		return doc
	})
}

func TestProtobufRoundTrips(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		out := &strings.Builder{}
		out.WriteString("syntax = \"proto3\";\nimport \"google/protobuf/timestamp.proto\";\nenum Kind { NONE = 0; SOME = 1; }\nmessage First { message Nested {} }\n")
		docs := protoMessage(rt, out, 2, "Root")
		w, err := registry.Protobuf(c, registry.Options{Writing: true, Schema: out.String(), Subject: strconv.Itoa(n), Message: "Root"})
		require.NoError(rt, err, out.String())
		for range 3 {
			doc := docs.Draw(rt, "doc")
			data, err := w.Encode(t.Context(), value, doc)
			require.NoError(rt, err)
			got, err := w.Decode(t.Context(), value, data)
			require.NoError(rt, err)
			require.Equal(rt, doc, got)
		}
	})
}

// jsonShape makes JSON schemas.
func jsonShape(t *rapid.T, depth int) shape {
	kinds := 5
	if depth > 0 {
		kinds += 2
	}
	numbers := rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?(e[+-]?[0-9]{1,2})?`)
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return shape{map[string]any{"type": "boolean"}, anyOf(rapid.Bool())}
	case 1:
		return shape{map[string]any{"type": "integer"}, rapid.Map(rapid.StringMatching(`0|-?[1-9][0-9]{0,40}`), func(s string) any { return json.Number(s) })}
	case 2:
		return shape{map[string]any{"type": "number"}, rapid.Map(numbers, func(s string) any { return json.Number(s) })}
	case 3:
		return shape{map[string]any{"type": "string"}, anyOf(rapid.String())}
	case 4:
		return shape{map[string]any{"type": []any{"null", "string"}}, rapid.OneOf(anyOf(rapid.Just[any](nil)), anyOf(rapid.String()))}
	case 5:
		in := jsonShape(t, depth-1)
		return shape{map[string]any{"type": "array", "items": in.schema}, anyOf(rapid.SliceOfN(in.value, 0, 3))}
	}
	properties, values := map[string]any{}, map[string]*rapid.Generator[any]{}
	names := []any{}
	for i := range rapid.IntRange(0, 4).Draw(t, "properties") {
		name, in := fmt.Sprintf("p%d", i), jsonShape(t, depth-1)
		properties[name], values[name] = in.schema, in.value
		names = append(names, name)
	}
	return shape{map[string]any{"type": "object", "properties": properties, "required": names, "additionalProperties": false}, documents(func(t *rapid.T) any {
		doc := map[string]any{}
		for i := range len(values) {
			name := fmt.Sprintf("p%d", i)
			doc[name] = values[name].Draw(t, name)
		}
		return doc
	})}
}

func TestJSONSchemaRoundTrips(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		s := jsonShape(rt, 3)
		subject := strconv.Itoa(n)
		require.NoError(rt, reg.SetCompat(subject, sr.CompatNone))
		w, err := registry.JSONSchema(c, registry.Options{Writing: true, Schema: text(rt, s.schema), Subject: subject})
		require.NoError(rt, err)
		doc := s.value.Draw(rt, "doc")
		data, err := w.Encode(t.Context(), value, doc)
		require.NoError(rt, err)
		got, err := w.Decode(t.Context(), value, data)
		require.NoError(rt, err)
		require.Equal(rt, doc, got)
		_, err = w.Encode(t.Context(), value, map[string]any{"none": []any{s.schema}})
		require.Error(rt, err)
	})
}
