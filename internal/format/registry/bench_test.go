package registry_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

// An order as pipelines have it: a dozen of fields, two lines.
func BenchmarkFormats(b *testing.B) {
	const (
		avroText = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "long"}, {"name": "customer", "type": "string"},
			{"name": "note", "type": ["null", "string"], "default": null}, {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}},
			{"name": "paid", "type": "boolean"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
			{"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}, {"name": "n", "type": "int"}]}}}]}`
		protoText = `syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Order { int64 id = 1; string customer = 2; optional string note = 3; string amount = 4;
			bool paid = 5; google.protobuf.Timestamp at = 6; repeated Line lines = 7; message Line { string sku = 1; int32 n = 2; } }`
		jsonText = `{"type": "object", "properties": {"id": {"type": "integer"}, "customer": {"type": "string"}, "amount": {"type": "string"}, "paid": {"type": "boolean"},
			"lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}}}}}}`
	)
	doc := func(amount any) map[string]any {
		return map[string]any{"id": int64(123456), "customer": "c-0815", "note": "by hand", "amount": amount, "paid": true, "at": time.UnixMilli(1700000000123).UTC(),
			"lines": []any{map[string]any{"sku": "a-1", "n": int64(2)}, map[string]any{"sku": "b-2", "n": int64(1)}}}
	}
	c := newFake(b).client(b)
	for _, test := range []struct {
		name string
		text string
		of   func(*registry.Client, registry.Options) (format.Format, error)
		doc  map[string]any
	}{
		{"avro", avroText, registry.Avro, doc(json.Number("99.50"))},
		{"protobuf", protoText, registry.Protobuf, doc("99.50")},
		{"json_schema", jsonText, registry.JSONSchema, doc("99.50")},
	} {
		f := made(b)(test.of(c, registry.Options{Writing: true, Schema: test.text, Subject: test.name}))
		data := encode(b, f, test.doc)
		b.Run(test.name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := f.Decode(b.Context(), value, data)
				require.NoError(b, err)
			}
		})
		b.Run(test.name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := f.Encode(b.Context(), value, test.doc)
				require.NoError(b, err)
			}
		})
	}
}
