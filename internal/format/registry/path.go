package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// fieldError is an error about one field of a document.
type fieldError struct {
	path string
	err  error
}

// Error implements error.
func (e *fieldError) Error() string { return "field " + e.path + ": " + e.err.Error() }

// Unwrap returns the error without the field.
func (e *fieldError) Unwrap() error { return e.err }

// at puts a field, or the index of one, before the path of an error.
func at(err error, step string) error {
	var f *fieldError
	if errors.As(err, &f) {
		if strings.HasPrefix(f.path, "[") {
			return &fieldError{step + f.path, f.err}
		}
		return &fieldError{step + "." + f.path, f.err}
	}
	return &fieldError{step, err}
}

// mismatch says what a schema wants instead of v.
func mismatch(want string, v any) error {
	return fmt.Errorf("the schema wants %s, and found is %s", want, describe(v))
}

// describe says what a value of a document is.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool " + strconv.FormatBool(v)
	case string:
		return "string " + strconv.Quote(brief(v, 50))
	case json.Number:
		return "number " + brief(string(v), 50)
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	case []any:
		return fmt.Sprintf("array of %d", len(v))
	case map[string]any:
		return fmt.Sprintf("object of %d fields", len(v))
	case float64:
		return "number " + brief(strconv.FormatFloat(v, 'f', -1, 64), 50)
	case int64, int, int32, uint64, float32:
		return fmt.Sprintf("number %v", v)
	}
	return fmt.Sprintf("%T %v", v, v)
}

// parseJSON reads one document, its numbers as json.Number.
func parseJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the document")
	}
	return v, nil
}
