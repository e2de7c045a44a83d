package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/format"
)

// encode fills the value of a record, and its key if the format says what it is. The topic
// and the key that the record has otherwise are set.
func (s *shaper) encode(ctx context.Context, r *kgo.Record, m *service.Message, from *kgo.Record) error {
	if s.format.JSON {
		return encodeJSON(r, m, from)
	}
	msg, err := s.message(m, r, from)
	if err != nil {
		return err
	}
	rec := format.Record{Topic: r.Topic, Partition: -1, Offset: -1, Key: r.Key}
	if err := s.format.Writer.Write(ctx, &msg, &rec); err != nil {
		return err
	}
	r.Key, r.Value = rec.Key, rec.Value
	return nil
}

// encodeJSON checks that the message is one JSON document, which the pipeline may have made
// sure of already.
func encodeJSON(r *kgo.Record, m *service.Message, from *kgo.Record) (err error) {
	checked := m.HasStructured()
	if r.Value, err = m.AsBytes(); err != nil {
		return fmt.Errorf("reading the message: %w", err)
	}
	switch {
	case len(r.Value) == 0 && emptyValue(m, from) == nil:
		r.Value = nil
	case len(r.Value) == 0:
		return errors.New("encoding the value: format is json, and the message is empty, which is no document")
	case !checked && !(json.Valid(r.Value) && utf8.Valid(r.Value)):
		return errors.New("encoding the value: format is json, and the message is no JSON document")
	}
	return nil
}

// message returns what a Writer gets of a message.
func (s *shaper) message(m *service.Message, r, from *kgo.Record) (msg format.Message, err error) {
	if msg.Content, err = s.content(m, from); err != nil {
		return msg, fmt.Errorf("encoding the value: %w", err)
	}
	if s.format.Keys {
		msg.Key, msg.KeySet = s.keyContent(m, r)
	}
	if s.format.Writer.NeedsMetadata() {
		msg.Metadata = make(map[string]any)
		err = m.MetaWalkMut(func(name string, v any) error {
			msg.Metadata[name] = v
			return nil
		})
	}
	return msg, err
}

// content returns a message's document or bytes, whichever the format is about; nil is a
// tombstone.
func (s *shaper) content(m *service.Message, from *kgo.Record) (any, error) {
	if !m.HasStructured() || !s.format.Documents && m.HasBytes() {
		b, err := m.AsBytes()
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			if b = emptyValue(m, from); b == nil {
				return nil, nil
			}
		}
		if !s.format.Documents {
			return b, nil
		}
	}
	doc, err := m.AsStructured()
	if err != nil {
		return nil, fmt.Errorf("the format needs a document, and the message is none: %w", err)
	}
	if doc == nil {
		return []byte("null"), nil
	}
	return doc, nil
}

// keyContent returns what the key is made of: what `key` yields, or the metadata kafka_key,
// which may be a document, or the key that was read.
func (s *shaper) keyContent(m *service.Message, r *kgo.Record) (any, bool) {
	if s.keyFromInput {
		if v, ok := m.MetaGetMut(metaKey); ok {
			return v, v != nil
		}
	}
	if r.Key == nil {
		return nil, false
	}
	return string(r.Key), true
}
