package format

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	public "github.com/tidemarkhq/tidemark/format"
)

// jsonFormat turns a part that is one JSON document into that document, numbers as they are
// written, and back.
type jsonFormat struct {
	// fields are those of a key that is made of fields, in their order; nil otherwise.
	fields []string
}

// NewJSON returns the format `json`.
func NewJSON() public.Format { return &jsonFormat{} }

// Decode implements public.Format.
func (*jsonFormat) Decode(_ context.Context, _ public.Part, data []byte) (any, error) {
	return decodeJSON(data)
}

// Encode implements public.Format. Bytes must be a document already, and stay as they are.
func (f *jsonFormat) Encode(_ context.Context, _ public.Part, content any) ([]byte, error) {
	switch c := content.(type) {
	case []byte:
		return c, checkJSON(c)
	case map[string]any:
		if f.fields != nil {
			return encodeFields(f.fields, c)
		}
	}
	return encodeJSON(content)
}

var errTwoDocuments = errors.New("a record holds one JSON document")

// decodeJSON does what Benthos does for a message whose document is asked for, and takes
// nothing that is not UTF-8, of which the standard library would make other text.
func decodeJSON(data []byte) (any, error) {
	if err := checkUTF8(data); err != nil {
		return nil, fmt.Errorf("no valid JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, noJSON(err, dec.InputOffset())
	}
	end := dec.InputOffset()
	if rest := bytes.TrimLeft(data[end:], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("%w, and there is something after it at byte %d", errTwoDocuments, len(data)-len(rest))
	}
	return doc, nil
}

// noJSON says what is wrong with data that does not parse.
func noJSON(err error, at int64) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("no valid JSON: it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("no valid JSON: it ends in the middle of a document")
	case errors.As(err, &syntax):
		// The offset counts what was read, the offending byte included.
		return fmt.Errorf("no valid JSON: %w at byte %d", err, max(syntax.Offset-1, 0))
	}
	return fmt.Errorf("no valid JSON: %w at byte %d", err, at)
}

// checkJSON tells whether data is one document, without building it.
func checkJSON(data []byte) error {
	if json.Valid(data) && utf8.Valid(data) {
		return nil
	}
	if _, err := decodeJSON(data); err != nil {
		return err
	}
	return errors.New("no valid JSON")
}

// encodeJSON renders a document as Benthos does, but refuses what it would change in silence.
func encodeJSON(doc any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		if fault := faultInJSON(doc, nil); fault != nil {
			return nil, fault
		}
		return nil, fmt.Errorf("the document cannot be JSON: %w", err)
	}
	b := buf.Bytes()[:buf.Len()-1] // Encode adds a line break
	// What is not UTF-8 in a string becomes this; so does a backslash of the text itself.
	if bytes.Contains(b, []byte(`\ufffd`)) {
		if fault := faultInJSON(doc, nil); fault != nil {
			return nil, fault
		}
	}
	return b, nil
}

// encodeFields renders an object with the fields in the given order.
func encodeFields(fields []string, values map[string]any) ([]byte, error) {
	b := []byte{'{'}
	for i, name := range fields {
		key, err := encodeJSON(name)
		if err != nil {
			return nil, err
		}
		value, err := encodeJSON(values[name])
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, key...), ':')
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// object returns the fields of content, which bytes are parsed for.
func object(content any) (map[string]any, error) {
	if b, ok := content.([]byte); ok {
		doc, err := decodeJSON(b)
		if err != nil {
			return nil, err
		}
		content = doc
	}
	fields, ok := content.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it is %s, and an object is needed", kindOf(content))
	}
	return fields, nil
}
