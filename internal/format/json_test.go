package format_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

func TestJSONRoundTrip(t *testing.T) {
	f := format.NewJSON()
	rapid.Check(t, func(t *rapid.T) {
		doc := documents(scalars(), 4).Draw(t, "document")
		text := encodes(t, f, doc)
		require.True(t, json.Valid([]byte(text)))
		require.Equal(t, doc, decodes(t, f, text))
		// Bytes that are a document already stay as they are.
		padded := " \n" + text + "\t"
		require.Equal(t, padded, encodes(t, f, []byte(padded)))
	})
}

func TestJSONDecode(t *testing.T) {
	f := format.NewJSON()
	assert.Equal(t, map[string]any{
		"n": json.Number("12345678901234567890.10"), "e": json.Number("1E400"), "z": json.Number("-0"), "l": []any{nil, true, "é"},
	}, decodes(t, f, `{"n": 12345678901234567890.10, "e": 1E400, "z": -0, "l": [null, true, "é"]}`+"\r\n"))
	assert.Nil(t, decodes(t, f, "null"))
	assert.Equal(t, json.Number("7"), decodes(t, f, " 7"))
	for data, want := range map[string]string{
		"":                          "no valid JSON: it is empty",
		" \n":                       "no valid JSON: it is empty",
		`{"a":`:                     "no valid JSON: it ends in the middle of a document",
		`{"a" 1}`:                   "no valid JSON: invalid character '1' after object key at byte 5",
		`x`:                         "no valid JSON: invalid character 'x' looking for beginning of value at byte 0",
		`{"a":1} {"a":2}`:           "a record holds one JSON document, and there is something after it at byte 8",
		`{"a":1}x`:                  "a record holds one JSON document, and there is something after it at byte 7",
		"1\n2":                      "a record holds one JSON document, and there is something after it at byte 2",
		"{\"a\":\"b\xff\"}":         "no valid JSON: not UTF-8 at byte 7",
		`{"a":01}`:                  "no valid JSON: invalid character '1' after object key:value pair at byte 6",
		strings.Repeat("[", 100000): "no valid JSON: invalid character '[' exceeded max depth at byte 10000",
	} {
		assert.Equal(t, want, decodeError(f, data), "%.40q", data)
	}
}

func TestJSONEncode(t *testing.T) {
	f := format.NewJSON()
	at := time.Date(2024, 2, 29, 23, 59, 58, 7, time.FixedZone("", 5400))
	for want, content := range map[string]any{
		`null`:    nil,
		`"<a&b>"`: "<a&b>",
		`{"b":"AAH/","t":"2024-02-29T23:59:58.000000007+01:30"}`: map[string]any{"b": []byte{0, 1, 255}, "t": at},
		`[-9223372036854775808,18446744073709551615,0.1]`:        []any{int64(math.MinInt64), uint64(math.MaxUint64), 0.1},
		`"�"`:        "\ufffd",
		`"\\ufffd"`:  `\ufffd`,
		` {"a" : 1}`: []byte(` {"a" : 1}`),
	} {
		assert.Equal(t, want, encodes(t, f, content))
	}
}

func TestJSONEncodeErrors(t *testing.T) {
	f := format.NewJSON()
	cycle := map[string]any{}
	cycle["a"] = []any{cycle}
	for _, c := range []struct {
		content any
		want    string
	}{
		{nan, "the document is NaN, which JSON has no number for"},
		{map[string]any{"a": []any{1.5, infinite}}, `field "a.1" is -Inf, which JSON has no number for`},
		{map[string]any{"a": json.Number("1x")}, `field "a" is the number "1x", which is none in JSON`},
		{map[string]any{"a": map[string]any{"b": "c\xff"}}, `field "a.b" is not UTF-8 at byte 1`},
		{map[string]any{"\xff": 1}, `the name of a field in the document is not UTF-8 at byte 0`},
		{map[string]any{"f": func() {}}, "the document cannot be JSON: json: unsupported type: func()"},
		{[]byte(nil), "no valid JSON: it is empty"},
		{[]byte("abc"), "no valid JSON: invalid character 'a' looking for beginning of value at byte 0"},
		{[]byte(`1 2`), "a record holds one JSON document, and there is something after it at byte 2"},
		{[]byte("\"\xff\""), "no valid JSON: not UTF-8 at byte 1"},
		{cycle, "the document is nested more than 10000 deep"},
	} {
		assert.Equal(t, c.want, encodeError(f, c.content))
	}
}

func FuzzJSON(f *testing.F) {
	fuzzDecode(f, "json", format.NewJSON(), `{"a":[1,2.50,null,"x"],"b":{"c":true}}`, "null", "1 2", "\"\xff\"", `"\ud800"`, strings.Repeat("[", 200), `{"a":1,"a":2}`)
}

// BenchmarkJSON compares with what Benthos does when a document is asked for.
func BenchmarkJSON(b *testing.B) {
	doc := []byte(`{"id":"4711","user":{"name":"someone","tags":["a","b","c"]},"amount":1299.95,"currency":"EUR","at":"2024-02-29T23:59:58Z","ok":true,"n":12345678901234}`)
	b.Run("format", func(b *testing.B) {
		b.ReportAllocs()
		f := format.NewJSON()
		for b.Loop() {
			if _, err := f.Decode(context.Background(), public.Part{}, doc); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("benthos", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := likeBenthos(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
