package format_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

func TestStringRoundTrip(t *testing.T) {
	f := format.NewString()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		require.Equal(t, []byte(s), decodes(t, f, encodes(t, f, []byte(s))))
		key, err := f.Decode(context.Background(), public.Part{Key: true}, []byte(s))
		require.NoError(t, err)
		require.Equal(t, s, key)
		require.Equal(t, s, encodes(t, f, key))
	})
}

func TestStringIsUTF8(t *testing.T) {
	f := format.NewString()
	for data, want := range map[string]string{
		"":                     "",
		"\x00 é \U0001F600":    "",
		"\ufffd":               "",
		"abc\xff":              "not UTF-8 at byte 3",
		"é\xc3":                "not UTF-8 at byte 2",
		"\xed\xa0\x80":         "not UTF-8 at byte 0", // half of a surrogate pair
		"\xc0\x80":             "not UTF-8 at byte 0", // a longer form than needed
		"1234567\xf5\x80\x80a": "not UTF-8 at byte 7",
	} {
		assert.Equal(t, want, decodeError(f, data), "%q", data)
		assert.Equal(t, want, encodeError(f, []byte(data)), "%q", data)
		assert.Equal(t, want, encodeError(f, data), "%q", data)
	}
	html := `{"<":[1]}`
	assert.Equal(t, html, encodes(t, f, map[string]any{"<": []any{1}}), "a document is written as Benthos does")
	assert.Equal(t, "the document is NaN, which JSON has no number for", encodeError(f, nan))
}

func FuzzString(f *testing.F) {
	fuzzDecode(f, "string", format.NewString(), "abc", "é\xc3", "\xed\xa0\x80", "")
}
