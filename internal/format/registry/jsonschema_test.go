package registry_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

const jsonOrder = `{"title": "Order", "type": "object", "additionalProperties": false, "required": ["id"],
	"properties": {"id": {"type": "integer"}, "price": {"type": "number", "multipleOf": 0.01}, "at": {"type": "string", "format": "date-time"},
		"lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}}}}`

func TestJSONSchemaKeepsNumbersExact(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.JSONSchema(reg.client(t), registry.Options{Writing: true, Schema: jsonOrder, SubjectName: registry.TopicRecordName}))
	data := encode(t, f, map[string]any{"id": json.Number("12345678901234567890"), "price": json.Number("0.10"), "at": time.Unix(0, 0).UTC()})
	assert.Equal(t, "\x00\x00\x00\x00\x01"+`{"at":"1970-01-01T00:00:00Z","id":12345678901234567890,"price":0.10}`, string(data))
	assert.Equal(t, map[string]any{"id": json.Number("12345678901234567890"), "price": json.Number("0.10"), "at": "1970-01-01T00:00:00Z"}, decode(t, f, data))
	assert.True(t, reg.SubjectExists("orders-Order"))
	assert.Equal(t, `{"id" : 1}`, string(encode(t, f, []byte(`{"id" : 1}`))[5:]), "bytes stay as they are")
}

func TestJSONSchemaNamesTheField(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.JSONSchema(reg.client(t), registry.Options{Writing: true, Schema: jsonOrder}))
	for want, doc := range map[string]any{
		"it does not fit the schema: missing property 'id'":                    map[string]any{},
		"field id: it does not fit the schema: got number, want integer":       map[string]any{"id": json.Number("1.5")},
		"field price: it does not fit the schema: ":                            map[string]any{"id": 1.0, "price": json.Number("0.001")},
		"field lines.1.n: it does not fit the schema: minimum: got 0, want 1":  map[string]any{"id": 1.0, "lines": []any{map[string]any{}, map[string]any{"n": 0.0}}},
		"it does not fit the schema: additional properties 'more' not allowed": map[string]any{"id": 1.0, "more": 1.0},
		"the message is not structured, and its bytes are no JSON":             []byte("{"),
	} {
		_, err := f.Encode(t.Context(), value, doc)
		assert.ErrorContains(t, err, want)
		if raw, err := json.Marshal(doc); err == nil {
			encode(t, f, map[string]any{"id": 1.0})
			_, err = f.Decode(t.Context(), value, append([]byte{0, 0, 0, 0, 1}, raw...))
			assert.Error(t, err)
		}
	}
	_, err := f.Decode(t.Context(), value, []byte("\x00\x00\x00\x00\x01{\"id\": 1} x"))
	assert.ErrorContains(t, err, "schema 1: no JSON: there is more behind the document")
}

func TestSD08JSONIsReadByANewerSchema(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	data := encode(t, made(t)(registry.JSONSchema(c, registry.Options{Writing: true, Schema: jsonOrder})), map[string]any{"id": 1.0, "lines": []any{map[string]any{}}})
	f := made(t)(registry.JSONSchema(c, registry.Options{ReaderSchema: `{"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": ["null", "string"], "default": null},
		"currency": {"$ref": "#/definitions/currency"}, "lines": {"items": {"properties": {"n": {"default": {"deep": [12345678901234567890]}}}}}},
		"required": ["currency"], "definitions": {"currency": {"type": "string", "default": "EUR"}}}`}))
	want := map[string]any{"id": json.Number("1"), "note": nil, "currency": "EUR",
		"lines": []any{map[string]any{"n": map[string]any{"deep": []any{json.Number("12345678901234567890")}}}}}
	got := decode(t, f, data)
	assert.Equal(t, want, got)
	got.(map[string]any)["lines"].([]any)[0].(map[string]any)["n"].(map[string]any)["deep"] = "changed"
	assert.Equal(t, want, decode(t, f, data), "each record has its own")
}

func TestJSONSchemaReferences(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "money", sr.TypeJSON, `{"type": "object", "properties": {"cents": {"type": "integer"}}}`)
	c := reg.client(t)
	refs := []registry.Reference{{Name: "money.json", Subject: "money", Version: 1}}
	for _, text := range []string{
		`{"type": "object", "properties": {"total": {"$ref": "money.json"}}}`,
		`{"$id": "http://acme.example/schemas/order.json", "type": "object", "properties": {"total": {"$ref": "money.json"}}}`,
	} {
		f := made(t)(registry.JSONSchema(c, registry.Options{Writing: true, Schema: text, References: refs, Subject: "s"}))
		require.NoError(t, reg.SetCompat("s", sr.CompatNone))
		data := encode(t, f, map[string]any{"total": map[string]any{"cents": 1.0}})
		decode(t, f, data)
		_, err := f.Encode(t.Context(), value, map[string]any{"total": map[string]any{"cents": "x"}})
		assert.ErrorContains(t, err, "field total.cents: it does not fit the schema: got string, want integer")
	}
	_, err := registry.JSONSchema(c, registry.Options{Writing: true, Schema: `{"$ref": "money.json"}`})
	assert.ErrorContains(t, err, "money.json is not among the references of the schema")
	_, err = registry.JSONSchema(c, registry.Options{Writing: true, Schema: `{"$ref": "file:///etc/passwd"}`})
	assert.ErrorContains(t, err, "is not among the references of the schema")
}
