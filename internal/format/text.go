package format

import (
	"context"

	public "github.com/tidemarkhq/tidemark/format"
)

// textFormat takes parts that are text and nothing else.
type textFormat struct{}

// NewString returns the format `string`.
func NewString() public.Format { return textFormat{} }

// Decode implements public.Format. The content of a message that is text is its bytes; a key
// is a string.
func (textFormat) Decode(_ context.Context, p public.Part, data []byte) (any, error) {
	if err := checkUTF8(data); err != nil {
		return nil, err
	}
	if p.Key {
		return string(data), nil
	}
	return data, nil
}

// Encode implements public.Format. A document that is a string is its text; any other is
// written as JSON, as Benthos does.
func (textFormat) Encode(_ context.Context, _ public.Part, content any) ([]byte, error) {
	var b []byte
	switch c := content.(type) {
	case []byte:
		b = c
	case string:
		b = []byte(c)
	default:
		return encodeJSON(content)
	}
	return b, checkUTF8(b)
}

// rawBytes returns content as it is, a document as the JSON that Benthos makes of it.
func rawBytes(content any) ([]byte, error) {
	if b, ok := content.([]byte); ok {
		return b, nil
	}
	return encodeJSON(content)
}
