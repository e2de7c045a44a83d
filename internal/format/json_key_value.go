package format

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	public "github.com/tidemarkhq/tidemark/format"
)

// Fields of a document that is a whole record.
const (
	fieldKey      = "key"
	fieldValue    = "value"
	fieldMetadata = "metadata"
)

// jsonKeyValue makes one document of a record whose key and value are JSON, each on its own.
type jsonKeyValue struct {
	metadata bool
}

// NewJSONKeyValueReader returns the Reader of the format `json_key_value`. The document has
// key and value, null where there is none, and on request metadata.
func NewJSONKeyValueReader(includeMetadata bool) Reader {
	return &jsonKeyValue{metadata: includeMetadata}
}

// NewJSONKeyValueWriter returns the Writer of the format `json_key_value`.
func NewJSONKeyValueWriter() Writer { return &jsonKeyValue{} }

// Read implements Reader.
func (f *jsonKeyValue) Read(ctx context.Context, r *Record) (Message, error) {
	doc := map[string]any{fieldKey: nil, fieldValue: nil}
	var err error
	if r.Key != nil {
		if doc[fieldKey], err = decode(ctx, &jsonFormat{}, r, true, r.Key); err != nil {
			return Message{}, err
		}
	}
	if r.Value != nil {
		if doc[fieldValue], err = decode(ctx, &jsonFormat{}, r, false, r.Value); err != nil {
			return Message{}, err
		}
	}
	if f.metadata {
		doc[fieldMetadata] = map[string]any{
			"topic": r.Topic, "partition": int64(r.Partition), "offset": r.Offset, "timestamp": r.Timestamp,
		}
	}
	return Message{Content: doc}, nil
}

var errNoValueField = errors.New(`the document has no field "value", of which the record is made: set it, to null for a tombstone`)

// Write implements Writer. The metadata that reading adds are left out; another field is an
// error, because it would be lost.
func (*jsonKeyValue) Write(ctx context.Context, m *Message, r *Record) error {
	if m.Content == nil {
		r.Value = nil
		return nil
	}
	doc, err := object(m.Content)
	if err != nil {
		return fmt.Errorf("taking key and value from the document: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if name != fieldKey && name != fieldValue && name != fieldMetadata {
			return fmt.Errorf("the document has the field %q, and the record is made of key and value only: put it into one of them, or remove it", name)
		}
	}
	if _, ok := doc[fieldValue]; !ok {
		return errNoValueField
	}
	value, err := encode(ctx, &embedded{}, r, false, doc[fieldValue])
	if err != nil {
		return err
	}
	key, err := encode(ctx, &embedded{}, r, true, doc[fieldKey])
	if err != nil {
		return err
	}
	r.Key, r.Value = key, value
	return nil
}

// embedded is JSON in which bytes are a value of their own, as everywhere inside of a document.
type embedded struct{ jsonFormat }

// Encode implements public.Format.
func (*embedded) Encode(_ context.Context, _ public.Part, content any) ([]byte, error) {
	return encodeJSON(content)
}

// NeedsMetadata implements Writer.
func (*jsonKeyValue) NeedsMetadata() bool { return false }
