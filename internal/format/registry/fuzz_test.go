package registry

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/format"
)

// stocked is a client that knows schemas, the first with id 1, and has nobody to ask.
func stocked(tb testing.TB, typ sr.SchemaType, texts ...string) *Client {
	tb.Helper()
	c, err := NewClient(Config{URLs: []string{"http://127.0.0.1:1"}, Retries: -1})
	require.NoError(tb, err)
	for i, text := range texts {
		c.byID.mu.Lock()
		c.byID.learnLocked(i+1, sr.Schema{Schema: text, Type: typ}, 0)
		c.byID.mu.Unlock()
	}
	return c
}

// fuzzFormat has records of any bytes decoded. What can be read can be written, and reads the
// same then.
func fuzzFormat(f *testing.F, schemas int, of func(Options) (format.Format, error)) {
	f.Helper()
	reader, err := of(Options{})
	require.NoError(f, err)
	var writers []format.Format
	for id := range schemas {
		w, err := of(Options{SchemaID: id + 1})
		require.NoError(f, err)
		writers = append(writers, w)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 && data[0] == 0 && (data[1] != 0 || data[2] != 0 || data[3] != 0 || int(data[4]) > schemas) {
			t.Skip() // an id that nobody knows
		}
		content, err := reader.Decode(ctx, format.Part{}, data)
		if err != nil {
			return
		}
		if typed, ok := reader.(*coded); ok && typed.typ == sr.TypeProtobuf && data[5] != 0 {
			return // not the message that is written
		}
		writer := writers[data[4]-1]
		again, err := writer.Encode(ctx, format.Part{}, content)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v: %#v", err, content)
		}
		content, err = reader.Decode(ctx, format.Part{}, again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		// By their bytes, since NaN is not what it is.
		third, err := writer.Encode(ctx, format.Part{}, content)
		require.NoError(t, err)
		require.Equal(t, again, third)
	})
}

var fuzzAvroSchemas = []string{
	`{"type": "record", "name": "acme.Tree", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}, {"name": "f", "type": "float"},
		{"name": "next", "type": ["null", "Tree"]}, {"name": "all", "type": {"type": "array", "items": "Tree"}}, {"name": "map", "type": {"type": "map", "values": "Tree"}}]}`,
	`{"type": "array", "items": ["null", "boolean", "int", "long", "double", "bytes", "string", {"type": "enum", "name": "E", "symbols": ["A", "B"]},
		{"type": "fixed", "name": "F", "size": 3}, {"type": "map", "values": "string"}, {"type": "array", "items": "null"}]}`,
	`{"type": "record", "name": "L", "fields": [{"name": "a", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4000, "scale": 2}},
		{"name": "b", "type": {"type": "int", "logicalType": "date"}}, {"name": "c", "type": {"type": "long", "logicalType": "time-micros"}},
		{"name": "d", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "e", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
		{"name": "f", "type": {"type": "long", "logicalType": "timestamp-micros"}}, {"name": "g", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}},
		{"name": "h", "type": {"type": "int", "logicalType": "time-millis"}}, {"name": "i", "type": {"type": "bytes", "logicalType": "big-decimal"}}]}`,
	`"long"`, `"bytes"`,
}

func FuzzAvro(f *testing.F) {
	c := stocked(f, sr.TypeAvro, fuzzAvroSchemas...)
	f.Add([]byte("\x00\x00\x00\x00\x01\x02\x02a\x00\x00\x80?\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x02\x02a\x00\x00\x80?\x02\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x04\x00\x02\x01\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x06\x06\x08\x0c\x02a\x0e\x02\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x02\x14\x80\x80\x80\x80\x80\x20\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x03\x04\x01\x02\x02\x02\x02\x02\x02aaaaaaaaaaaaaaaa\x02\x04\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x04\x02"))
	f.Add([]byte("\x00\x00\x00\x00\x05\x02a"))
	f.Add([]byte("{}"))
	fuzzFormat(f, len(fuzzAvroSchemas), func(o Options) (format.Format, error) { return Avro(c, o) })
}

var fuzzProtoSchemas = []string{
	`syntax = "proto3"; package acme; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";
		import "google/protobuf/any.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto"; import "google/protobuf/field_mask.proto";
		message Tree { int64 n = 1; Tree next = 2; repeated Tree all = 3; map<string, Tree> map = 4; oneof o { string s = 5; bytes b = 6; }
			google.protobuf.Timestamp at = 7; google.protobuf.Value value = 8; google.protobuf.Any any = 9; google.protobuf.Duration span = 10;
			repeated google.protobuf.UInt64Value wrapped = 11; google.protobuf.FieldMask mask = 12; enum E { A = 0; B = 1; } repeated E e = 13;
			map<int32, float> f = 14; map<bool, E> m = 15; optional uint64 u = 16; google.protobuf.NullValue null = 17; message In { double d = 1; } }`,
	`syntax = "proto2"; message Old { required int32 id = 1; optional group G = 2 { optional string s = 1; } enum C { X = 3; } optional C c = 4;
		repeated C cs = 5 [packed = true]; optional string t = 6 [default = "t"]; extensions 100 to 200; } extend Old { optional string more = 100; }`,
}

func FuzzProtobuf(f *testing.F) {
	c := stocked(f, sr.TypeProtobuf, fuzzProtoSchemas...)
	f.Add([]byte("\x00\x00\x00\x00\x01\x00\x08\x01\x12\x02\x08\x02\x2a\x01a"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x04\x00\x00\x09\x00\x00\x00\x00\x00\x00\xf0?"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x00\x3a\x02\x08\x01\x42\x03\x1a\x01a\x22\x05\x0a\x01k\x12\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x00\x4a\x23\x0a\x1dtype.googleapis.com/acme.Tree\x12\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x00\x52\x02\x08\x01\x5a\x02\x08\x01\x62\x03\x0a\x01a\x6a\x02\x00\x07\x72\x07\x08\x01\x15\x00\x00\x80?\x7a\x04\x08\x01\x10\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x00\x08\x01\x13\x0a\x01a\x14\x20\x03\x2a\x01\x03\xa2\x06\x01x"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x02\x02"))
	fuzzFormat(f, len(fuzzProtoSchemas), func(o Options) (format.Format, error) { return Protobuf(c, o) })
}

var fuzzJSONSchemas = []string{
	`true`,
	`{"type": "object", "required": ["id"], "additionalProperties": false, "properties": {"id": {"type": "integer", "multipleOf": 3}, "tree": {"$ref": "#"},
		"s": {"type": "string", "pattern": "^a+b*$", "format": "date-time"}, "list": {"uniqueItems": true, "maxItems": 5, "items": {"type": ["number", "null"]}}}}`,
}

func FuzzJSONSchema(f *testing.F) {
	c := stocked(f, sr.TypeJSON, fuzzJSONSchemas...)
	for _, doc := range []string{`{"id": 3, "tree": {"id": 6}}`, `{"id": 1e2}`, `{"id": 3, "list": [1, 1.0]}`, `[1e999999999]`, `{"id":3,"s":"ab"}`, `null`, `"\ud800"`} {
		f.Add([]byte("\x00\x00\x00\x00\x01" + doc))
		f.Add([]byte("\x00\x00\x00\x00\x02" + doc))
	}
	fuzzFormat(f, len(fuzzJSONSchemas), func(o Options) (format.Format, error) { return JSONSchema(c, o) })
}

// Schemas come from the registry, where others put them.
func FuzzAvroSchema(f *testing.F) {
	for _, s := range fuzzAvroSchemas {
		f.Add(s, []byte("\x02\x02a\x00\x00\x80?\x00\x00\x00"))
	}
	f.Add(`{"type": "record", "name": "N", "fields": [{"name": "n", "type": ["N", "null"], "default": {}}]}`, []byte{2})
	f.Add(`{"type": "record", "name": "N", "fields": [{"name": "n", "type": {"type": "array", "items": "N"}, "default": [{}]}]}`, []byte{0})
	f.Add(`{"type": "bytes", "logicalType": "decimal", "precision": 2000000000, "scale": 1999999999}`, []byte{2, 1})
	f.Fuzz(func(t *testing.T, schema string, data []byte) {
		c, err := avroLanguage{}.compile(t.Context(), &bundle{text: schema, typ: sr.TypeAvro})
		if err != nil {
			return
		}
		content, err := c.decode(data)
		if err != nil {
			return
		}
		_, _ = c.encode(nil, content)
	})
}
