package registry_test

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

const everything = `{"type": "record", "name": "Everything", "namespace": "acme", "fields": [
	{"name": "flag", "type": "boolean"},
	{"name": "small", "type": "int"},
	{"name": "large", "type": "long"},
	{"name": "single", "type": "float"},
	{"name": "double", "type": "double"},
	{"name": "raw", "type": "bytes"},
	{"name": "text", "type": "string"},
	{"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
	{"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}},
	{"name": "list", "type": {"type": "array", "items": "long"}},
	{"name": "map", "type": {"type": "map", "values": "Colour"}},
	{"name": "maybe", "type": ["null", "long"]},
	{"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
	{"name": "rate", "type": {"type": "fixed", "name": "Rate", "size": 8, "logicalType": "decimal", "precision": 10, "scale": 4}},
	{"name": "day", "type": {"type": "int", "logicalType": "date"}},
	{"name": "noon", "type": {"type": "int", "logicalType": "time-millis"}},
	{"name": "night", "type": {"type": "long", "logicalType": "time-micros"}},
	{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
	{"name": "exactly", "type": {"type": "long", "logicalType": "timestamp-micros"}},
	{"name": "nano", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
	{"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
	{"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
	{"name": "id16", "type": {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}},
	{"name": "span", "type": {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}},
	{"name": "defaulted", "type": "string", "default": "none"}
]}`

func everythingDoc() map[string]any {
	return map[string]any{
		"flag": true, "small": int64(-7), "large": int64(math.MaxInt64), "single": 0.5, "double": 0.1,
		"raw": []byte{0, 255}, "text": "žluť", "hash": []byte("abcd"), "colour": "GREEN",
		"list": []any{int64(1), int64(math.MinInt64)}, "map": map[string]any{"a": "RED", "b": "GREEN"}, "maybe": nil,
		"amount": json.Number("-123456789012345678.90"), "rate": json.Number("0.0100"),
		"day": time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), "noon": "12:00:00.001", "night": "23:59:59.999999",
		"at": time.UnixMilli(-1).UTC(), "exactly": time.UnixMicro(1700000000123456).UTC(), "nano": time.Unix(0, 1700000000123456789).UTC(),
		"local": time.UnixMilli(1700000000123).UTC(),
		"id":    "00112233-4455-6677-8899-aabbccddeeff", "id16": "00112233-4455-6677-8899-aabbccddeeff",
		"span": []byte{1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}, "defaulted": "some",
	}
}

func TestAvroKeepsEveryTypeExactly(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: everything}))
	doc := everythingDoc()
	data := encode(t, f, doc)
	assert.Equal(t, everythingDoc(), doc, "encoding changes nothing")
	assert.Equal(t, everythingDoc(), decode(t, f, data))

	delete(doc, "defaulted")
	got := decode(t, f, encode(t, f, doc))
	assert.Equal(t, "none", got.(map[string]any)["defaulted"])
}

// What a document holds after it went through JSON is understood, too.
func TestAvroTakesWhatJSONHolds(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: everything}))
	doc := everythingDoc()
	for k, v := range map[string]any{
		"small": json.Number("-7"), "large": json.Number("9223372036854775807"), "single": json.Number("0.5"), "double": json.Number("0.1"),
		"list": []any{1.0, json.Number("-9223372036854775808")}, "amount": "-123456789012345678.9", "rate": 0.01,
		"day": "1969-12-31", "at": int64(-1), "exactly": "2023-11-14T22:13:20.123456Z", "nano": json.Number("1700000000123456789"),
		"noon": json.Number("43200001"),
	} {
		doc[k] = v
	}
	assert.Equal(t, everythingDoc(), decode(t, f, encode(t, f, doc)))
}

func TestAvroNamesFieldAndType(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: `{"type": "record", "name": "R", "fields": [
		{"name": "a", "type": {"type": "record", "name": "Inner", "fields": [{"name": "list", "type": {"type": "array", "items": "int"}}]}},
		{"name": "u", "type": ["null", "long", "boolean"], "default": null},
		{"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "default": "\u0000"},
		{"name": "b", "type": "bytes", "default": ""},
		{"name": "f", "type": "double", "default": 0},
		{"name": "t", "type": {"type": "long", "logicalType": "timestamp-nanos"}, "default": 0}
	]}`}))
	list := func(v ...any) map[string]any { return map[string]any{"list": v} }
	for want, doc := range map[string]any{
		`the schema wants record, and found is string "x"`:                                                        "x",
		`field a: it is missing, and the schema has no default for it (record)`:                                   map[string]any{},
		`field a.list[1]: the schema wants int, and found is string "x": it is no number`:                         map[string]any{"a": list(1.0, "x")},
		`field a.list[0]: the schema wants int, and found is number 2.5: it is not whole`:                         map[string]any{"a": list(2.5)},
		`field a.list[0]: the schema wants int, and found is number 2147483648: it is out of`:                     map[string]any{"a": list(int64(1 << 31))},
		`field a.list[0]: the schema wants int, and found is number 100000000000000000: it would`:                 map[string]any{"a": list(1e17)},
		`field t: the schema wants long (timestamp-nanos), and found is number 1.5: it is not`:                    map[string]any{"a": list(), "t": 1.5},
		`field t: the schema wants long (timestamp-nanos), and found is number 1.00000000000000001: it would not`: map[string]any{"a": list(), "t": json.Number("1.00000000000000001")},
		`field f: the schema wants double, and found is number 9007199254740995: it would not`:                    map[string]any{"a": list(), "f": int64(9007199254740995)},
		`field a.more: the schema has no such field, so its value would be lost`:                                  map[string]any{"a": map[string]any{"list": []any{}, "more": 1.0}},
		`field u: the schema wants one of null, long, boolean, and found is string "x"`:                           map[string]any{"a": list(), "u": "x"},
		`field d: the schema wants decimal(4, 2), and found is number 0.125: it has more than 2`:                  map[string]any{"a": list(), "d": 0.125},
		`field d: the schema wants decimal(4, 2), and found is number 123: it has 5 digits`:                       map[string]any{"a": list(), "d": json.Number("123")},
		`field b: the schema wants bytes, and found is string "x": say which bytes are meant`:                     map[string]any{"a": list(), "b": "x"},
		`field f: the schema wants double, and found is number 9007199254740993: it would not`:                    map[string]any{"a": list(), "f": json.Number("9007199254740993")},
		`field t: the schema wants long (timestamp-nanos), and found is time.Time`:                                map[string]any{"a": list(), "t": time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := f.Encode(context.Background(), value, doc)
		assert.ErrorContains(t, err, want)
	}
}

func TestAvroUnionsArePlain(t *testing.T) {
	reg := newFake(t)
	schema := `{"type": "record", "name": "R", "namespace": "acme", "fields": [{"name": "u", "type": ["null", "string", "long", "double", "bytes",
		{"type": "record", "name": "A", "fields": [{"name": "x", "type": "int"}]},
		{"type": "record", "name": "B", "fields": [{"name": "y", "type": "int"}]}, {"type": "array", "items": "string"}]}]}`
	c := reg.client(t)
	f := made(t)(registry.Avro(c, registry.Options{Writing: true, Schema: schema}))
	tagged := made(t)(registry.Avro(c, registry.Options{TaggedUnions: true}))
	b := map[string]any{"y": int64(1)}
	for _, test := range []struct{ in, plain, tagged any }{
		{nil, nil, nil},
		{"s", "s", map[string]any{"string": "s"}},
		{int64(5), int64(5), map[string]any{"long": int64(5)}},
		{json.Number("5"), int64(5), map[string]any{"long": int64(5)}},
		{5.0, 5.0, map[string]any{"double": 5.0}},
		{json.Number("0.5"), 0.5, map[string]any{"double": 0.5}},
		{[]byte("s"), []byte("s"), map[string]any{"bytes": []byte("s")}},
		{b, b, map[string]any{"acme.B": b}},
		{map[string]any{"acme.B": b}, b, map[string]any{"acme.B": b}},
		{map[string]any{"B": b}, b, map[string]any{"acme.B": b}},
		{map[string]any{"long": 7.0}, int64(7), map[string]any{"long": int64(7)}},
		{[]any{"s"}, []any{"s"}, map[string]any{"array": []any{"s"}}},
	} {
		data := encode(t, f, map[string]any{"u": test.in})
		assert.Equal(t, map[string]any{"u": test.plain}, decode(t, f, data))
		got := decode(t, tagged, data)
		assert.Equal(t, map[string]any{"u": test.tagged}, got)
		assert.Equal(t, data, encode(t, f, got), "what is read tagged is written the same")
	}
}

func TestAvroFollowsReferences(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "acme.Money", sr.TypeAvro, `{"type": "record", "name": "Money", "namespace": "acme", "fields": [{"name": "cents", "type": "long"}]}`)
	reg.add(t, "acme.Line", sr.TypeAvro, `{"type": "record", "name": "Line", "namespace": "acme", "fields": [{"name": "price", "type": "acme.Money"}]}`,
		sr.SchemaReference{Name: "acme.Money", Subject: "acme.Money", Version: 1})
	f := made(t)(registry.Avro(reg.client(t), registry.Options{
		Writing: true,
		Schema: `{"type": "record", "name": "Order", "namespace": "acme", "fields": [
			{"name": "lines", "type": {"type": "array", "items": "Line"}}, {"name": "total", "type": "Money"}, {"name": "parent", "type": ["null", "Order"], "default": null}]}`,
		References: []registry.Reference{{Name: "acme.Line", Subject: "acme.Line", Version: 1}, {Name: "acme.Money", Subject: "acme.Money", Version: 1}},
	}))
	money := map[string]any{"cents": int64(5)}
	doc := map[string]any{"lines": []any{map[string]any{"price": money}}, "total": money, "parent": nil}
	doc = map[string]any{"lines": []any{}, "total": money, "parent": doc}
	data := encode(t, f, doc)

	reader := made(t)(registry.Avro(reg.client(t), registry.Options{}))
	assert.Equal(t, doc, decode(t, reader, data))
	assert.Equal(t, 2, reg.asked("GET", "/subjects/acme.Line/versions/1"), "once by each client")
	assert.Equal(t, 2, reg.asked("GET", "/subjects/acme.Money/versions/1"))
}

func TestAvroRefusesRecordsThatAreNot(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Avro(reg.client(t), registry.Options{Writing: true, Schema: `"string"`}))
	good := encode(t, f, "abc")
	for want, data := range map[string][]byte{
		"it is empty":                                {},
		"it has 3 bytes":                             {0, 0, 1},
		`it begins with 0x7b ('{')`:                  []byte(`{"a": 1}`),
		"it begins with 0x01":                        {1, 0, 0, 0, 1},
		"the format is `json`":                       []byte(`{"a": 1}`),
		"no schema has the id 4294967295":            {0, 255, 255, 255, 255, 0},
		"schema 1: 1 bytes are left over":            append(good[:len(good):len(good)], 0),
		"schema 1: ":                                 good[:len(good)-1],
		"schema 1: a string is not UTF-8: \"ab\\xff": append(good[:len(good)-1:len(good)-1], 255),
	} {
		_, err := f.Decode(context.Background(), value, data)
		assert.ErrorContains(t, err, want)
	}
}

// Bytes of a message that is not structured are the value itself where the schema is one.
func TestAvroTakesBytes(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	for schema, want := range map[string]any{
		`"string"`: `{"a":12}`, `"bytes"`: []byte(`{"a":12}`),
		`{"type": "map", "values": "long"}`: map[string]any{"a": int64(12)},
	} {
		f := made(t)(registry.Avro(c, registry.Options{Writing: true, Schema: schema, Subject: "s" + schema}))
		require.NoError(t, reg.SetCompat("s"+schema, sr.CompatNone))
		assert.Equal(t, want, decode(t, f, encode(t, f, []byte(`{"a":12}`))))
	}
}
