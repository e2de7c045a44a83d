package format_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

// likeBenthos is what Benthos does when a document is asked for.
func likeBenthos(data []byte) (doc any, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err = dec.Decode(&doc); err != nil {
		return nil, err
	}
	var rest json.RawMessage
	if err = dec.Decode(&rest); errors.Is(err, io.EOF) {
		return doc, nil
	}
	return nil, errors.New("more than one document")
}

// own is a format of the build.
type own struct {
	content any
	bytes   []byte
	err     error
	parts   []public.Part
}

func (o *own) Decode(_ context.Context, p public.Part, _ []byte) (any, error) {
	o.parts = append(o.parts, p)
	return o.content, o.err
}

func (o *own) Encode(_ context.Context, p public.Part, _ any) ([]byte, error) {
	o.parts = append(o.parts, p)
	return o.bytes, o.err
}

func TestRawParts(t *testing.T) {
	rd, w := newPair(t, format.Config{})
	m := read(t, rd, []byte("k"), []byte("v\xff"))
	assert.Equal(t, format.Message{Content: []byte("v\xff")}, m)
	assert.Equal(t, format.Message{}, read(t, rd, nil, nil), "a tombstone")
	assert.Equal(t, format.Message{Content: []byte{}}, read(t, rd, []byte{}, []byte{}), "empty is no tombstone")

	r := &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &format.Message{Content: []byte("v\xff"), Key: "x", KeySet: true}, r))
	assert.Equal(t, "its own", string(r.Key))
	assert.Equal(t, "v\xff", string(r.Value))
	assert.Nil(t, write(t, w, format.Message{}).Value)
	assert.NotNil(t, write(t, w, format.Message{Content: []byte(nil)}).Value, "empty content is no tombstone")
	html := `{"a":"<"}`
	assert.Equal(t, html, string(write(t, w, format.Message{Content: map[string]any{"a": "<"}}).Value), "as Benthos does")
}

// The value is as it was, whatever the key is.
func TestSD01_TheValueByteForByte(t *testing.T) {
	rd, w := newPair(t, format.Config{})
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		key := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte())).Draw(t, "key")
		m := read(t, rd, key, value)
		require.Equal(t, format.Message{Content: value}, m)
		require.Equal(t, value, write(t, w, m).Value)
	})
}

func TestSD04_KeyAndValueHaveFormatsOfTheirOwn(t *testing.T) {
	rd, w := newPair(t, format.Config{Value: format.NewJSON(), Key: format.NewString()})
	m := read(t, rd, []byte("k"), []byte(`{"a":1}`))
	assert.Equal(t, format.Message{Content: map[string]any{"a": json.Number("1")}, Key: "k", KeySet: true}, m)
	r := write(t, w, m)
	assert.Equal(t, []string{"k", `{"a":1}`}, []string{string(r.Key), string(r.Value)})

	m = read(t, rd, nil, nil)
	assert.Equal(t, format.Message{KeySet: true}, m)
	r = write(t, w, m)
	assert.Nil(t, r.Key)
	assert.Nil(t, r.Value)
	assert.NotNil(t, write(t, w, format.Message{Content: 1, Key: "", KeySet: true}).Key, "an empty key is one")

	r = &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &format.Message{Content: 1}, r))
	assert.Equal(t, "its own", string(r.Key), "a key that nobody set")

	_, err := rd.Read(context.Background(), &format.Record{Key: []byte("\xff"), Value: []byte("1")})
	assert.EqualError(t, err, "decoding the key: not UTF-8 at byte 0")
	_, err = rd.Read(context.Background(), &format.Record{Key: []byte("k"), Value: []byte("x")})
	assert.EqualError(t, err, "decoding the value: no valid JSON: invalid character 'x' looking for beginning of value at byte 0")
	r = &format.Record{Key: []byte("its own")}
	assert.EqualError(t, w.Write(context.Background(), &format.Message{Content: 1, Key: "\xff", KeySet: true}, r),
		"encoding the key: not UTF-8 at byte 0")
	assert.Equal(t, &format.Record{Key: []byte("its own")}, r, "an error leaves the record alone")
}

func TestSD05_NothingToWrite(t *testing.T) {
	_, w := newPair(t, format.Config{Value: &own{err: public.ErrNothing}})
	assert.ErrorIs(t, w.Write(context.Background(), &format.Message{Content: 1}, &format.Record{}), public.ErrNothing)
}

func TestFormatsOfTheBuild(t *testing.T) {
	value, key := &own{content: map[string]any{"a": 1}}, &own{content: "k", bytes: []byte("k")}
	rd, w := newPair(t, format.Config{Value: value, Key: key})
	m := read(t, rd, []byte("k"), []byte("v"))
	assert.Equal(t, format.Message{Content: map[string]any{"a": 1}, Key: "k", KeySet: true}, m)
	assert.Equal(t, []public.Part{{Topic: "orders", Partition: 3, Offset: 42}}, value.parts)
	assert.Equal(t, []public.Part{{Topic: "orders", Partition: 3, Offset: 42, Key: true}}, key.parts)
	assert.NotNil(t, write(t, w, m).Value, "what a format makes of something is no tombstone")

	value.err = public.Unavailable(errors.New("connection refused"))
	_, err := rd.Read(context.Background(), &format.Record{Value: []byte("v")})
	assert.True(t, public.IsUnavailable(err))
	assert.EqualError(t, err, "decoding the value: connection refused")
}

// Records that wait beside each other do not change each other.
func TestSD06_NothingIsShared(t *testing.T) {
	lines, err := format.NewCSV(csvOf("id", "n:json"))
	require.NoError(t, err)
	pair := func(c format.Config) func() (format.Reader, format.Writer) {
		return func() (format.Reader, format.Writer) { return newPair(t, c) }
	}
	for name, pair := range map[string]func() (format.Reader, format.Writer){
		"raw":        pair(format.Config{}),
		"string":     pair(format.Config{Value: format.NewString(), Key: format.NewString()}),
		"json":       pair(format.Config{Value: format.NewJSON(), Key: format.NewString()}),
		"csv":        pair(format.Config{Value: lines, Key: lines, KeyFields: []string{"id"}}),
		"key fields": pair(format.Config{Value: format.NewJSON(), Key: format.NewJSON(), KeyFields: []string{"id"}}),
		"json_key_value": func() (format.Reader, format.Writer) {
			return format.NewJSONKeyValueReader(true), format.NewJSONKeyValueWriter()
		},
		"envelope": func() (format.Reader, format.Writer) { return envelopes(t, format.NewEnvelopeKey()) },
	} {
		t.Run(name, func(t *testing.T) {
			rd, w := pair()
			var contents []format.Message
			var records []*format.Record
			var want []string
			for i := range 100 {
				var m format.Message
				switch name {
				case "json_key_value":
					m.Content = map[string]any{"key": fmt.Sprint("key", i), "value": []any{fmt.Sprint("value", i)}}
				case "raw", "string":
					m.Content, m.Key, m.KeySet = fmt.Appendf(nil, "value%d", i), fmt.Sprint("key", i), true
				default:
					m.Content = map[string]any{"id": fmt.Sprint("key", i), "n": []any{fmt.Sprint("value", i)}}
					m.Key, m.KeySet, m.Metadata = fmt.Sprint("key", i), true, map[string]any{"m": fmt.Appendf(nil, "m%d", i)}
				}
				r := write(t, w, m)
				want = append(want, string(r.Key)+string(r.Value))
				records, contents = append(records, r), append(contents, read(t, rd, r.Key, r.Value))
			}
			seen := map[string]bool{}
			for i, r := range records {
				assert.Equal(t, want[i], string(r.Key)+string(r.Value))
				again := write(t, w, contents[i])
				assert.Equal(t, want[i], string(again.Key)+string(again.Value))
				assert.False(t, seen[want[i]])
				seen[want[i]] = true
			}
		})
	}
}
