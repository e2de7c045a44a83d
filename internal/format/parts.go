package format

import (
	"context"
	"fmt"

	public "github.com/tidemarkhq/tidemark/format"
)

// Config says how the parts of a record are read or written.
type Config struct {
	// Value is the format of values, and Key that of keys; nil means bytes as they are. With
	// Key nil a Reader decodes no key and a Writer leaves it alone.
	Value, Key public.Format
	// KeyFields are the fields of the document, at its top level, that the key holds, in the
	// order in which it holds them. nil: the key is Message.Key.
	KeyFields []string
	// KeyPrefix is what the names of KeyFields begin with, and those in the key do not.
	KeyPrefix string
	// ValueIncludesKey tells that the value holds the KeyFields too.
	ValueIncludesKey bool
}

// NewReader returns the Reader of records whose key and value have formats of their own.
func NewReader(c Config) (Reader, error) {
	p, err := newParts(c)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// NewWriter returns the Writer of records whose key and value have formats of their own.
func NewWriter(c Config) (Writer, error) {
	p, err := newParts(c)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// parts implements Reader and Writer with a format for each part.
type parts struct {
	value, key public.Format
	// fields is nil unless the key is made of fields.
	fields *keyFields
}

func newParts(c Config) (*parts, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &parts{value: c.Value, key: c.Key}
	if len(c.KeyFields) > 0 {
		p.fields = newKeyFields(c)
		p.value, p.key = p.fields.formats(c.Value, c.Key)
	}
	return p, nil
}

// Read implements Reader. A tombstone has no document for the fields of its key.
func (p *parts) Read(ctx context.Context, r *Record) (Message, error) {
	var m Message
	if r.Value != nil {
		content, err := decode(ctx, p.value, r, false, r.Value)
		if err != nil {
			return Message{}, err
		}
		m.Content = content
	}
	if p.key == nil || p.fields != nil && r.Value == nil {
		return m, nil
	}
	var key any
	if r.Key != nil {
		var err error
		if key, err = decode(ctx, p.key, r, true, r.Key); err != nil {
			return Message{}, err
		}
	}
	if p.fields == nil {
		m.Key, m.KeySet = key, true
		return m, nil
	}
	var err error
	m.Content, err = p.fields.merge(m.Content, key, r.Key != nil)
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// Write implements Writer. The content nil is a tombstone, and keeps the key that it has
// where that is made of fields.
func (p *parts) Write(ctx context.Context, m *Message, r *Record) error {
	content, keyContent, keySet := m.Content, m.Key, p.key != nil && m.KeySet
	if p.fields != nil {
		keySet = m.Content != nil
		if keySet {
			var err error
			if keyContent, content, err = p.fields.split(m.Content); err != nil {
				return err
			}
		}
	}
	value, err := encode(ctx, p.value, r, false, content)
	if err != nil {
		return err
	}
	if keySet {
		key, err := encode(ctx, p.key, r, true, keyContent)
		if err != nil {
			return err
		}
		r.Key = key
	}
	r.Value = value
	return nil
}

// NeedsMetadata implements Writer.
func (*parts) NeedsMetadata() bool { return false }

// decode returns the content of one part, which is there.
func decode(ctx context.Context, f public.Format, r *Record, key bool, data []byte) (any, error) {
	if f == nil {
		return data, nil
	}
	content, err := f.Decode(ctx, r.part(key), data)
	if err != nil {
		return nil, fmt.Errorf("decoding the %s: %w", partName(key), err)
	}
	return content, nil
}

// encode returns the bytes of one part, nil for the content nil only: what a format makes of
// something is never a tombstone or a missing key.
func encode(ctx context.Context, f public.Format, r *Record, key bool, content any) ([]byte, error) {
	if content == nil {
		return nil, nil
	}
	var b []byte
	var err error
	if f == nil {
		b, err = rawBytes(content)
	} else {
		b, err = f.Encode(ctx, r.part(key), content)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the %s: %w", partName(key), err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

func (r *Record) part(key bool) public.Part {
	return public.Part{Topic: r.Topic, Key: key, Partition: r.Partition, Offset: r.Offset}
}

func partName(key bool) string {
	if key {
		return "key"
	}
	return "value"
}
