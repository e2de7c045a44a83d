package format

import (
	"fmt"
	"maps"
	"strings"

	public "github.com/tidemarkhq/tidemark/format"
)

// keyFields moves fields between a document and the key of its record. The rules are those of
// Flink's table connector for Kafka, but for two: a record without a key has null in them,
// where Flink drops it, and a document that lacks one is an error rather than a null.
type keyFields struct {
	// names are those in the document, and inKey those in the key, at the same places.
	names, inKey []string
	// inValue tells that the value holds them too.
	inValue bool
}

func newKeyFields(c Config) *keyFields {
	f := &keyFields{names: c.KeyFields, inValue: c.ValueIncludesKey}
	for _, name := range c.KeyFields {
		f.inKey = append(f.inKey, strings.TrimPrefix(name, c.KeyPrefix))
	}
	return f
}

// formats returns the formats that know which fields are theirs, where they have to.
func (f *keyFields) formats(value, key public.Format) (newValue, newKey public.Format) {
	if v, ok := value.(*csvFormat); ok && !f.inValue {
		value = v.without(f.names)
	}
	switch k := key.(type) {
	case *jsonFormat:
		key = &jsonFormat{fields: f.inKey}
	case *csvFormat:
		key = k.ofKey(f.names, f.inKey)
	}
	return value, key
}

// merge puts the fields of a key into the document of the value, which it changes. If the
// value may hold them too, its own count.
func (f *keyFields) merge(value, key any, hasKey bool) (any, error) {
	doc, err := object(value)
	if err != nil {
		return nil, fmt.Errorf("putting the fields of the key into the value: %w", err)
	}
	var fields map[string]any
	if hasKey {
		if fields, err = object(key); err != nil {
			return nil, fmt.Errorf("taking the fields of the key: %w", err)
		}
	}
	for i, name := range f.names {
		if _, taken := doc[name]; taken && f.inValue {
			continue
		}
		doc[name] = fields[f.inKey[i]]
	}
	return doc, nil
}

// split returns the contents of the key and the value of a document, which it leaves alone.
func (f *keyFields) split(content any) (key, value any, err error) {
	doc, err := object(content)
	if err != nil {
		return nil, nil, fmt.Errorf("taking the fields of the key from the document: %w", err)
	}
	fields := make(map[string]any, len(f.names))
	for i, name := range f.names {
		v, ok := doc[name]
		if !ok {
			return nil, nil, fmt.Errorf("the document has no field %q, which key_fields lists: set it, to null if the key has none", name)
		}
		fields[f.inKey[i]] = v
	}
	if f.inValue {
		return fields, content, nil
	}
	rest := maps.Clone(doc)
	for _, name := range f.names {
		delete(rest, name)
	}
	return fields, rest, nil
}
