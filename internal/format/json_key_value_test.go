package format_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tidemarkhq/tidemark/internal/format"
)

func TestSD02_KeyAndValueInOneDocument(t *testing.T) {
	bare, full := format.NewJSONKeyValueReader(false), format.NewJSONKeyValueReader(true)
	w := format.NewJSONKeyValueWriter()
	require.False(t, w.NeedsMetadata())
	for _, c := range []struct {
		name       string
		key, value []byte
		want       map[string]any
	}{
		{"both", []byte(`{"id":1}`), []byte(`[1.50]`), map[string]any{"key": map[string]any{"id": json.Number("1")}, "value": []any{json.Number("1.50")}}},
		{"no key", nil, []byte(`"v"`), map[string]any{"key": nil, "value": "v"}},
		{"a tombstone", []byte(`7`), nil, map[string]any{"key": json.Number("7"), "value": nil}},
		{"nothing", nil, nil, map[string]any{"key": nil, "value": nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := read(t, bare, c.key, c.value)
			assert.Equal(t, format.Message{Content: c.want}, m)
			with := read(t, full, c.key, c.value).Content.(map[string]any)
			assert.Equal(t, map[string]any{"topic": "orders", "partition": int64(3), "offset": int64(42), "timestamp": int64(1700000000123)}, with["metadata"])
			for _, doc := range []any{c.want, with} {
				r := write(t, w, format.Message{Content: doc})
				assert.Equal(t, c.key, r.Key)
				assert.Equal(t, c.value, r.Value)
			}
			delete(with, "metadata")
			assert.Equal(t, c.want, with)
		})
	}
}

func TestJSONKeyValueRoundTrip(t *testing.T) {
	rd, w := format.NewJSONKeyValueReader(false), format.NewJSONKeyValueWriter()
	rapid.Check(t, func(t *rapid.T) {
		doc := map[string]any{"key": documents(scalars(), 3).Draw(t, "key"), "value": documents(scalars(), 3).Draw(t, "value")}
		r := write(t, w, format.Message{Content: doc})
		require.Equal(t, doc["key"] == nil, r.Key == nil)
		require.Equal(t, doc["value"] == nil, r.Value == nil)
		require.Equal(t, format.Message{Content: doc}, read(t, rd, r.Key, r.Value))
	})
}

func TestJSONKeyValueWrites(t *testing.T) {
	w := format.NewJSONKeyValueWriter()
	r := &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &format.Message{Content: []byte(`{"value":{"a":1}}`)}, r))
	assert.Nil(t, r.Key, "an absent key is none")
	assert.Equal(t, []byte(`{"a":1}`), r.Value)
	r = write(t, w, format.Message{Content: map[string]any{"key": "", "value": []byte{1}}})
	assert.Equal(t, []string{`""`, `"AQ=="`}, []string{string(r.Key), string(r.Value)})
	r = &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &format.Message{}, r))
	assert.Equal(t, &format.Record{Key: []byte("its own")}, r, "a tombstone")
}

func TestJSONKeyValueErrors(t *testing.T) {
	rd, w := format.NewJSONKeyValueReader(true), format.NewJSONKeyValueWriter()
	for _, c := range []struct{ key, value, want string }{
		{"k", "1", "decoding the key: no valid JSON: invalid character 'k' looking for beginning of value at byte 0"},
		{"1", "1 2", "decoding the value: a record holds one JSON document, and there is something after it at byte 2"},
		{"1", "", "decoding the value: no valid JSON: it is empty"},
	} {
		_, err := rd.Read(context.Background(), &format.Record{Key: []byte(c.key), Value: []byte(c.value)})
		assert.EqualError(t, err, c.want)
	}
	for _, c := range []struct {
		content any
		want    string
	}{
		{[]any{}, "taking key and value from the document: it is an array, and an object is needed"},
		{[]byte("null"), "taking key and value from the document: it is null, and an object is needed"},
		{map[string]any{"key": 1}, `the document has no field "value", of which the record is made: set it, to null for a tombstone`},
		{map[string]any{"value": 1, "vlaue": 2}, `the document has the field "vlaue", and the record is made of key and value only: put it into one of them, or remove it`},
		{map[string]any{"value": 1, "key": nan}, "encoding the key: the document is NaN, which JSON has no number for"},
		{map[string]any{"value": []any{"\xff"}}, `encoding the value: field "0" is not UTF-8 at byte 0`},
	} {
		r := &format.Record{Key: []byte("its own")}
		assert.EqualError(t, w.Write(context.Background(), &format.Message{Content: c.content}, r), c.want)
		assert.Equal(t, &format.Record{Key: []byte("its own")}, r)
	}
}

func FuzzJSONKeyValue(f *testing.F) {
	f.Add([]byte(`{"id":1}`), []byte(`[1.50]`), true)
	f.Add([]byte(`null`), []byte(`1 2`), false)
	rd, w := format.NewJSONKeyValueReader(true), format.NewJSONKeyValueWriter()
	f.Fuzz(func(t *testing.T, key, value []byte, hasKey bool) {
		r := &format.Record{Value: value}
		if hasKey {
			r.Key = append([]byte{}, key...)
		}
		m, err := rd.Read(context.Background(), r)
		if err != nil {
			return
		}
		again := write(t, w, m)
		require.Equal(t, m.Content.(map[string]any)["key"], read(t, rd, again.Key, again.Value).Content.(map[string]any)["key"])
		require.Equal(t, m.Content.(map[string]any)["value"], read(t, rd, again.Key, again.Value).Content.(map[string]any)["value"])
	})
}
