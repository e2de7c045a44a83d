package formats

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"

	public "github.com/tidemarkhq/tidemark/format"

	"github.com/tidemarkhq/tidemark/internal/format"
	"github.com/tidemarkhq/tidemark/internal/format/registry"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Reading is how an input reads records. The zero value takes values for bytes.
type Reading struct {
	// Reader reads records; nil if there is nothing to do.
	Reader format.Reader
	// JSON tells that values are JSON documents and keys are bytes: then there is no Reader,
	// because the pipeline's own parser is the better one.
	JSON bool
	// Keys tells that keys are decoded.
	Keys bool
}

// Reads tells whether records are looked into.
func (r *Reading) Reads() bool { return r.JSON || r.Reader != nil }

// Writing is how an output writes records. The zero value writes bytes as they are.
type Writing struct {
	// Writer writes records; nil if there is nothing to do.
	Writer format.Writer
	// JSON is as in Reading.
	JSON bool
	// Documents tells that the format needs a document, so that text is parsed.
	Documents bool
	// Keys tells that Message.Key is what the key is made of.
	Keys bool
	// WholeKey tells that the format says what the key is.
	WholeKey bool
}

// Writes tells whether messages are looked into.
func (w *Writing) Writes() bool { return w.JSON || w.Writer != nil }

// settings are the fields as they are set.
type settings struct {
	format.Selection
	includeMetadata bool
	registry        registrySettings
	client          *registry.Client
	// writing tells an output from an input.
	writing             bool
	options, keyOptions map[string]any
}

// ParseReading reads the fields of an input, whose credentials a registry can have, too. It
// reports all faults together.
func ParseReading(conf *service.ParsedConfig, creds []kafka.Credentials) (Reading, error) {
	s, err := parse(conf, creds, false)
	if err != nil {
		return Reading{}, err
	}
	switch {
	case s.plain():
		return Reading{}, nil
	case s.Format == format.JSON && s.KeyFormat == "":
		return Reading{JSON: true}, nil
	}
	if s.Format == format.JSONKeyValue {
		return Reading{Reader: format.NewJSONKeyValueReader(s.includeMetadata)}, nil
	}
	c, err := s.config()
	if err != nil {
		return Reading{}, err
	}
	r, err := format.NewReader(c)
	if s.Format == format.Envelope {
		r, err = format.NewEnvelopeReader(c.Key)
	}
	return Reading{Reader: r, Keys: c.Key != nil && len(c.KeyFields) == 0}, err
}

// ParseWriting reads the fields of an output, whose credentials a registry can have, too. It
// reports all faults together.
func ParseWriting(conf *service.ParsedConfig, creds []kafka.Credentials) (Writing, error) {
	s, err := parse(conf, creds, true)
	if err != nil {
		return Writing{}, err
	}
	switch {
	case s.plain():
		return Writing{}, nil
	case s.Format == format.JSON && s.KeyFormat == "":
		return Writing{JSON: true}, nil
	}
	if s.Format == format.JSONKeyValue {
		return Writing{Writer: format.NewJSONKeyValueWriter(), Documents: true, WholeKey: true}, nil
	}
	c, err := s.config()
	if err != nil {
		return Writing{}, err
	}
	w, err := format.NewWriter(c)
	if s.Format == format.Envelope {
		w, err = format.NewEnvelopeWriter(c.Key)
	}
	return Writing{
		Writer: w, Documents: documents(s.Format) || len(c.KeyFields) > 0,
		Keys: c.Key != nil && len(c.KeyFields) == 0, WholeKey: len(c.KeyFields) > 0,
	}, err
}

// plain tells that everything is bytes.
func (s *settings) plain() bool { return s.Format == format.Raw && s.KeyFormat == "" }

// documents tells formats whose content is a document.
func documents(name string) bool {
	switch name {
	case format.JSON, format.CSV, format.Avro, format.Protobuf, format.JSONSchema:
		return true
	}
	return false
}

func parse(conf *service.ParsedConfig, creds []kafka.Credentials, writing bool) (*settings, error) {
	s := &settings{writing: writing}
	var errs []error
	read := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	s.Format, err = conf.FieldString(FieldFormat)
	read(err)
	if conf.Contains(FieldKeyFormat) {
		s.KeyFormat, err = conf.FieldString(FieldKeyFormat)
		read(err)
	}
	s.KeyFields, err = conf.FieldStringList(FieldKeyFields)
	read(err)
	s.KeyPrefix, err = conf.FieldString(FieldKeyPrefix)
	read(err)
	s.ValueIncludesKey, err = conf.FieldBool(FieldValueIncludesKey)
	read(err)
	if conf.Contains(FieldIncludeMetadata) {
		s.includeMetadata, err = conf.FieldBool(FieldIncludeMetadata)
		read(err)
	}
	s.CSV, err = csvConfig(conf.Namespace(FieldCSV))
	read(err)
	s.registry, err = parseRegistry(conf, creds)
	read(err)
	s.options, err = options(conf, FieldOptions)
	read(err)
	s.keyOptions, err = options(conf, FieldKeyOptions)
	read(err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, errors.Join(append(s.optionFaults(), format.Err(format.Check(s.Selection)))...)
}

func csvConfig(conf *service.ParsedConfig) (c format.CSVConfig, err error) {
	columns, err := conf.FieldObjectList(fieldColumns)
	errs := []error{err}
	for _, column := range columns {
		var is format.CSVColumn
		is.Name, err = column.FieldString(fieldColumnName)
		errs = append(errs, err)
		is.Type, err = column.FieldString(fieldColumnType)
		errs = append(errs, err)
		c.Columns = append(c.Columns, is)
	}
	for field, to := range map[string]*string{fieldDelimiter: &c.Delimiter, fieldQuote: &c.Quote, fieldNullLiteral: &c.NullLiteral} {
		*to, err = conf.FieldString(field)
		errs = append(errs, err)
	}
	for field, to := range map[string]*bool{fieldAllowMissing: &c.AllowMissing, fieldAllowExtra: &c.AllowExtra} {
		*to, err = conf.FieldBool(field)
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

func options(conf *service.ParsedConfig, field string) (map[string]any, error) {
	if !conf.Contains(field) {
		return nil, nil
	}
	v, err := conf.FieldAny(field)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is %v: list options by name", field, v)
	}
	if len(m) == 0 {
		return nil, nil // Benthos does not tell it from one that is not set
	}
	return m, nil
}

// optionFaults refuses options of formats that have none.
func (s *settings) optionFaults() (errs []error) {
	check := func(field, of, name string, set bool) {
		if _, own := public.Registered(name); set && !own {
			errs = append(errs, fmt.Errorf("%s is set, but %s is %q, which has no options there: remove it", field, of, name))
		}
	}
	check(FieldOptions, FieldFormat, s.Format, s.options != nil)
	check(FieldKeyOptions, FieldKeyFormat, s.KeyFormat, s.keyOptions != nil)
	byRegistry := schematic(s.Format) || schematic(s.KeyFormat)
	if byRegistry && len(s.registry.URLs) == 0 {
		errs = append(errs, fmt.Errorf("%s.%s is empty, but a format is by schemas of a registry: set it, for example to http://localhost:8081", FieldRegistry, fieldURL))
	}
	if !byRegistry && len(s.registry.URLs) > 0 {
		errs = append(errs, fmt.Errorf("%s is set, but neither %s nor %s is by schemas: use avro, protobuf or json_schema, or remove it", FieldRegistry, FieldFormat, FieldKeyFormat))
	}
	if s.includeMetadata && s.Format != format.JSONKeyValue {
		errs = append(errs, fmt.Errorf("%s is true, but %s is %s: set it to %s, or remove %s; messages carry what they need as metadata",
			FieldIncludeMetadata, FieldFormat, s.Format, format.JSONKeyValue, FieldIncludeMetadata))
	}
	return errs
}

// config makes the formats.
func (s *settings) config() (format.Config, error) {
	if len(s.registry.URLs) > 0 {
		var err error
		if s.client, err = registry.NewClient(s.registry.Config); err != nil {
			return format.Config{}, fmt.Errorf("%s: %w", FieldRegistry, err)
		}
	}
	c := format.Config{KeyFields: s.KeyFields, KeyPrefix: s.KeyPrefix, ValueIncludesKey: s.ValueIncludesKey}
	var valueErr, keyErr error
	c.Value, valueErr = s.build(s.Format, false)
	c.Key, keyErr = s.build(s.KeyFormat, true)
	return c, errors.Join(valueErr, keyErr)
}

// build makes one format; nil for bytes.
func (s *settings) build(name string, key bool) (public.Format, error) {
	switch name {
	case "", format.Raw:
		return nil, nil
	case format.String:
		return format.NewString(), nil
	case format.JSON:
		return format.NewJSON(), nil
	case format.CSV:
		return format.NewCSV(s.CSV)
	case format.Envelope:
		if key {
			return format.NewEnvelopeKey(), nil
		}
		return nil, nil // it is of the whole message
	}
	if schematic(name) {
		return s.schematic(name, key)
	}
	construct, _ := public.Registered(name)
	with := public.Settings{Key: key, Options: s.options}
	field := FieldFormat
	if key {
		with.Options, field = s.keyOptions, FieldKeyFormat
	}
	f, err := construct(with)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", field, name, err)
	}
	return isolated{f}, nil
}

// schematic tells the formats that need a registry.
func schematic(name string) bool {
	return name == format.Avro || name == format.Protobuf || name == format.JSONSchema
}

// schematic makes a format by schemas.
func (s *settings) schematic(name string, key bool) (f public.Format, err error) {
	o, of := s.registry.value, FieldRegistry
	if key {
		o, of = s.registry.key, FieldRegistry+"."+fieldOfKeys
	}
	o.Writing = s.writing
	switch name {
	case format.Avro:
		f, err = registry.Avro(s.client, o)
	case format.Protobuf:
		f, err = registry.Protobuf(s.client, o)
	default:
		f, err = registry.JSONSchema(s.client, o)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", of, err)
	}
	return f, nil
}

// isolated is a format of the build that need not take care of who holds what it returns: it
// may use the same memory again.
type isolated struct{ public.Format }

// Decode implements public.Format.
func (i isolated) Decode(ctx context.Context, p public.Part, data []byte) (any, error) {
	content, err := i.Format.Decode(ctx, p, data)
	return clone(content), err
}

// Encode implements public.Format.
func (i isolated) Encode(ctx context.Context, p public.Part, content any) ([]byte, error) {
	b, err := i.Format.Encode(ctx, p, content)
	return bytes.Clone(b), err
}

// clone copies a document as deep as it can be changed.
func clone(v any) any {
	switch v := v.(type) {
	case []byte:
		return bytes.Clone(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = clone(v[i])
		}
		return all
	case map[string]any:
		all := make(map[string]any, len(v))
		for name, e := range v {
			all[name] = clone(e)
		}
		return all
	}
	return v
}
