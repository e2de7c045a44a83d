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

func jsonKeys(prefix string, inValue bool, fields ...string) format.Config {
	return format.Config{Value: format.NewJSON(), Key: format.NewJSON(), KeyFields: fields, KeyPrefix: prefix, ValueIncludesKey: inValue}
}

func TestSD07_KeyFieldsInJSON(t *testing.T) {
	const doc = `{"a":1,"id":"x","k_id":7,"region":null}`
	for _, c := range []struct {
		name       string
		config     format.Config
		key, value string
	}{
		{"declared order", jsonKeys("", false, "region", "id"), `{"region":null,"id":"x"}`, `{"a":1,"k_id":7}`},
		{"in the value too", jsonKeys("", true, "region", "id"), `{"region":null,"id":"x"}`, doc},
		{"same name, other type", jsonKeys("k_", false, "k_id"), `{"id":7}`, `{"a":1,"id":"x","region":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			rd, w := newPair(t, c.config)
			want := decodes(t, format.NewJSON(), doc)
			for _, content := range []any{[]byte(doc), want} {
				r := write(t, w, format.Message{Content: content})
				assert.Equal(t, []string{c.key, c.value}, []string{string(r.Key), string(r.Value)})
				m := read(t, rd, r.Key, r.Value)
				assert.Equal(t, format.Message{Content: want}, m)
			}
			assert.Equal(t, want, decodes(t, format.NewJSON(), doc), "writing changes no message")
		})
	}
}

func TestKeyFieldsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfNDistinct(names.Filter(func(s string) bool { return s != "" }), 1, 4, rapid.ID[string]).Draw(t, "fields")
		inValue := rapid.Bool().Draw(t, "in the value")
		prefix := ""
		if !inValue {
			prefix = rapid.SampledFrom([]string{"", "k_"}).Draw(t, "prefix")
		}
		doc := objects(scalars()).Draw(t, "document")
		for i, f := range fields {
			fields[i] = prefix + f
			doc[fields[i]] = documents(scalars(), 1).Draw(t, "key")
		}
		rd, w := newPair(t, jsonKeys(prefix, inValue, fields...))
		r := write(t, w, format.Message{Content: doc})
		require.Equal(t, format.Message{Content: doc}, read(t, rd, r.Key, r.Value))
		value := decodes(t, format.NewJSON(), string(r.Value)).(map[string]any)
		for _, f := range fields {
			_, there := value[f]
			require.Equal(t, inValue, there, f)
		}
	})
}

func TestReadKeyFields(t *testing.T) {
	for _, c := range []struct {
		name       string
		config     format.Config
		key, value string
		want       map[string]any
	}{
		{"the key's field instead of the value's", jsonKeys("", false, "id"), `{"id":"k","x":1}`, `{"id":"v"}`, map[string]any{"id": "k"}},
		{"the value's own field", jsonKeys("", true, "id"), `{"id":"k"}`, `{"id":null}`, map[string]any{"id": nil}},
		{"what the value lacks", jsonKeys("", true, "id"), `{"id":"k"}`, `{}`, map[string]any{"id": "k"}},
		{"missing in the key", jsonKeys("", false, "id"), `{}`, `{"id":"v"}`, map[string]any{"id": nil}},
		{"no key", jsonKeys("k_", false, "k_id"), "", `{"id":"v"}`, map[string]any{"id": "v", "k_id": nil}},
		{"no key, but in the value", jsonKeys("", true, "id", "b"), "", `{"id":"v"}`, map[string]any{"id": "v", "b": nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rd, _ := newPair(t, c.config)
			var key []byte
			if c.key != "" {
				key = []byte(c.key)
			}
			assert.Equal(t, format.Message{Content: c.want}, read(t, rd, key, []byte(c.value)))
			assert.Equal(t, format.Message{}, read(t, rd, key, nil), "a tombstone")
		})
	}
}

func TestKeyFieldErrors(t *testing.T) {
	rd, w := newPair(t, jsonKeys("", false, "id"))
	for _, c := range []struct{ key, value, want string }{
		{`{"id":1}`, `[1]`, "putting the fields of the key into the value: it is an array, and an object is needed"},
		{`{"id":1}`, `null`, "putting the fields of the key into the value: it is null, and an object is needed"},
		{`7`, `{}`, "taking the fields of the key: it is a number, and an object is needed"},
		{``, `{}`, "decoding the key: no valid JSON: it is empty"},
	} {
		_, err := rd.Read(context.Background(), &format.Record{Key: []byte(c.key), Value: []byte(c.value)})
		assert.EqualError(t, err, c.want)
	}
	for _, c := range []struct {
		content any
		want    string
	}{
		{map[string]any{"a": 1}, `the document has no field "id", which key_fields lists: set it, to null if the key has none`},
		{"text", "taking the fields of the key from the document: it is a string, and an object is needed"},
		{[]byte("text"), "taking the fields of the key from the document: no valid JSON: invalid character 'e' in literal true (expecting 'r') at byte 1"},
		{map[string]any{"id": nan}, `encoding the key: field "id": the document is NaN, which JSON has no number for`},
	} {
		r := &format.Record{Key: []byte("its own")}
		assert.EqualError(t, w.Write(context.Background(), &format.Message{Content: c.content}, r), c.want)
		assert.Equal(t, &format.Record{Key: []byte("its own")}, r)
	}
	r := &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &format.Message{}, r))
	assert.Equal(t, &format.Record{Key: []byte("its own")}, r, "a tombstone keeps its key")
}

func TestKeyFieldsWithAFormatOfTheBuild(t *testing.T) {
	key := &own{content: map[string]any{"id": json.Number("1")}, bytes: []byte("k")}
	rd, w := newPair(t, format.Config{Value: format.NewJSON(), Key: key, KeyFields: []string{"id"}})
	m := read(t, rd, []byte("k"), []byte(`{"a":2}`))
	assert.Equal(t, map[string]any{"id": json.Number("1"), "a": json.Number("2")}, m.Content)
	r := write(t, w, m)
	assert.Equal(t, []string{"k", `{"a":2}`}, []string{string(r.Key), string(r.Value)})
}
