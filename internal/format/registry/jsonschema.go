package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/twmb/franz-go/pkg/sr"
	textlang "golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tidemarkhq/tidemark/format"
)

// JSONSchema is the format `json_schema`.
func JSONSchema(c *Client, o Options) (format.Format, error) {
	return newCoded(c, o, sr.TypeJSON, jsonLanguage{})
}

// jsonLanguage makes codecs of JSON schemas.
type jsonLanguage struct{}

// jsonCodec validates what it decodes and encodes.
type jsonCodec struct {
	schema *jsonschema.Schema
	// reads tells that it is a reader schema, whose defaults stand for what is not there.
	reads bool
}

// jsonBase is where a schema is said to be, so that it can refer to others by relative paths.
const jsonBase = "registry:///"

// jsonLoader finds schemas among the references, and nowhere else.
type jsonLoader struct{ imports []imported }

// Load implements jsonschema.URLLoader.
func (l jsonLoader) Load(url string) (any, error) {
	for _, i := range l.imports {
		if i.name == url || jsonBase+strings.TrimPrefix(i.name, "/") == url || strings.HasSuffix(url, "/"+i.name) {
			return parseJSON([]byte(i.text))
		}
	}
	return nil, fmt.Errorf("%s is not among the references of the schema", strings.TrimPrefix(url, jsonBase))
}

func (jsonLanguage) compile(_ context.Context, b *bundle) (codec, error) {
	doc, err := parseJSON([]byte(b.text))
	if err != nil {
		return nil, fmt.Errorf("no JSON schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	// What Confluent's serializers take a schema for that does not say its draft.
	c.DefaultDraft(jsonschema.Draft7)
	c.UseLoader(jsonLoader{b.imports})
	const self = jsonBase + "this-schema"
	if err := c.AddResource(self, doc); err != nil {
		return nil, fmt.Errorf("no JSON schema: %w", err)
	}
	s, err := c.Compile(self)
	if err != nil {
		return nil, fmt.Errorf("no JSON schema: %s", strings.ReplaceAll(err.Error(), jsonBase, ""))
	}
	return &jsonCodec{schema: s}, nil
}

// resolve reads by the reader schema alone: a JSON document says itself what it holds.
func (jsonLanguage) resolve(writer, reader codec) (codec, error) {
	if reader == nil {
		return writer, nil
	}
	return &jsonCodec{schema: reader.(*jsonCodec).schema, reads: true}, nil
}

func (c *jsonCodec) name() string { return c.schema.Title }

func (c *jsonCodec) decode(data []byte) (any, error) {
	doc, err := parseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	if c.reads {
		if doc, err = fillDefaults(c.schema, doc, 0); err != nil {
			return nil, err
		}
	}
	return doc, c.validate(doc)
}

func (c *jsonCodec) encode(b []byte, content any) ([]byte, error) {
	data, ok := content.([]byte)
	if !ok {
		var err error
		if data, err = writeJSON(content); err != nil {
			return nil, err
		}
	}
	// What was written is validated, since times and bytes are strings there.
	doc, err := parseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("the message is not structured, and its bytes are no JSON: %w", err)
	}
	if err := c.validate(doc); err != nil {
		return nil, err
	}
	return append(b, data...), nil
}

// writeJSON writes a document, its characters as they are.
func writeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("the message cannot be written as JSON: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

var english = message.NewPrinter(textlang.English)

func (c *jsonCodec) validate(doc any) error {
	err := c.schema.Validate(doc)
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return err
	}
	// The first leaf is what a reader can act on; what is above it only says where.
	n := 0
	for len(v.Causes) > 0 {
		n += len(v.Causes) - 1
		v = v.Causes[0]
	}
	text := v.ErrorKind.LocalizedString(english)
	if _, ok := v.ErrorKind.(*kind.FalseSchema); ok {
		text = "the schema does not allow it"
	}
	if n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	path := ""
	for _, step := range v.InstanceLocation {
		path += "." + step
	}
	if path = strings.TrimPrefix(path, "."); path == "" {
		return errors.New("it does not fit the schema: " + brief(text, 500))
	}
	return &fieldError{path, errors.New("it does not fit the schema: " + brief(text, 500))}
}

// deepest bounds the defaults of defaults.
const deepest = 64

// fillDefaults gives properties that are not there their default.
func fillDefaults(s *jsonschema.Schema, v any, depth int) (any, error) {
	for s.Ref != nil && depth < deepest {
		s = s.Ref
		depth++
	}
	if depth >= deepest {
		return v, nil
	}
	switch v := v.(type) {
	case map[string]any:
		for name, p := range s.Properties {
			value, ok := v[name]
			if !ok {
				d := defaultOf(p)
				if d == nil {
					continue
				}
				// A copy of its own: the pipeline may change it.
				text, err := json.Marshal(*d)
				if err != nil {
					return nil, at(err, name)
				}
				if value, err = parseJSON(text); err != nil {
					return nil, at(err, name)
				}
			}
			filled, err := fillDefaults(p, value, depth+1)
			if err != nil {
				return nil, at(err, name)
			}
			v[name] = filled
		}
	case []any:
		items := s.Items2020
		if items == nil {
			items, _ = s.Items.(*jsonschema.Schema)
		}
		for i := range v {
			if items == nil {
				break
			}
			filled, err := fillDefaults(items, v[i], depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = filled
		}
	}
	return v, nil
}

// defaultOf looks through references.
func defaultOf(s *jsonschema.Schema) *any {
	for i := 0; s != nil && i < deepest; i++ {
		if s.Default != nil {
			return s.Default
		}
		s = s.Ref
	}
	return nil
}
