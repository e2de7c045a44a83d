package format

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	public "github.com/tidemarkhq/tidemark/format"
)

// The formats that every build has.
const (
	Raw          = "raw"
	String       = "string"
	CSV          = "csv"
	JSON         = "json"
	JSONKeyValue = "json_key_value"
	Envelope     = "envelope"
	Avro         = "avro"
	Protobuf     = "protobuf"
	JSONSchema   = "json_schema"
)

// Names lists the formats that every build has.
func Names() []string {
	return []string{Raw, String, CSV, JSON, JSONKeyValue, Envelope, Avro, Protobuf, JSONSchema}
}

// Selection is what a configuration says about formats, before there are any.
type Selection struct {
	// Format and KeyFormat are names; empty means raw.
	Format, KeyFormat string
	// The others are as in Config.
	KeyFields        []string
	KeyPrefix        string
	ValueIncludesKey bool
	// IncludeMetadata is what NewJSONKeyValueReader gets.
	IncludeMetadata bool
	// CSV describes the lines, where one of the formats is csv.
	CSV CSVConfig
}

// Fault is something wrong with a configuration.
type Fault struct {
	// Field is the name of the field.
	Field string
	// What is wrong with its value, and the remedy.
	What string
}

// String is the message of an error.
func (f Fault) String() string { return f.Field + ": " + f.What }

// Check returns everything that is wrong with a selection.
func Check(s Selection) []Fault {
	var c checker
	c.known("format", s.Format)
	c.known("key_format", s.KeyFormat)
	if s.Format == CSV || s.KeyFormat == CSV {
		c.faults = append(c.faults, CheckCSV(s.CSV)...)
	} else if len(s.CSV.Columns) > 0 {
		c.add("csv.columns", "it is set, but neither format nor key_format is csv: set one of them, or remove csv")
	}
	if s.IncludeMetadata && s.Format != JSONKeyValue {
		c.add("include_metadata", "it is true, but format is %s: only the documents of %s have metadata", orRaw(s.Format), JSONKeyValue)
	}
	c.keys(s)
	return c.faults
}

// Err joins faults; nil if there is none.
func Err(faults []Fault) error {
	var errs []error
	for _, f := range faults {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

type checker struct{ faults []Fault }

func (c *checker) add(field, what string, args ...any) {
	c.faults = append(c.faults, Fault{Field: field, What: fmt.Sprintf(what, args...)})
}

// known refuses the name of no format.
func (c *checker) known(field, name string) {
	if name == "" || slices.Contains(Names(), name) {
		return
	}
	if _, ok := public.Registered(name); !ok {
		all := append(Names(), public.Names()...)
		c.add(field, "there is no format %q: use one of %s", name, strings.Join(all, ", "))
	}
}

// keys checks what is said about keys against the formats.
func (c *checker) keys(s Selection) {
	format, keyFormat := orRaw(s.Format), orRaw(s.KeyFormat)
	hasFields := len(s.KeyFields) > 0
	if keyFormat == JSONKeyValue {
		c.add("key_format", "%s is the format of a whole record: use it as format, without a key_format", keyFormat)
		return
	}
	switch {
	case format == JSONKeyValue && keyFormat != Raw:
		c.add("key_format", "it is %s, but format %s has the key in its document: remove key_format", keyFormat, format)
	case hasFields && !structured(format):
		c.add("key_fields", "format %s has no fields that a key could hold: remove key_fields, or use a format such as %s", format, JSON)
	case hasFields && !structured(keyFormat):
		c.add("key_format", "it is %s, which holds no fields, but key_fields is %s: use a format such as %s, or remove key_fields",
			keyFormat, list(s.KeyFields), JSON)
	case !hasFields && (keyFormat == JSON || keyFormat == CSV):
		c.add("key_fields", "it is empty, but key_format is %s: name the fields of the document that the key holds", keyFormat)
	}
	c.fields(s)
	if format == CSV {
		c.columns(s)
	}
}

// columns checks those of a value against the fields of the key.
func (c *checker) columns(s Selection) {
	if len(s.CSV.Columns) == 0 {
		c.add("csv.columns", "it is empty, but format is csv: name the fields of a line, in their order")
		return
	}
	left := len(s.CSV.Columns)
	for _, name := range s.KeyFields {
		if slices.ContainsFunc(s.CSV.Columns, func(c CSVColumn) bool { return c.Name == name }) {
			left--
		} else if s.ValueIncludesKey {
			c.add("csv.columns", "it lacks %q, one of key_fields, and value_includes_key is true: add it, or set value_includes_key to false", name)
		}
	}
	if left <= 0 && !s.ValueIncludesKey {
		c.add("csv.columns", "it has nothing but key_fields, which leaves none for the value: add a column, or set value_includes_key to true")
	}
}

// fields checks the names of the fields of the key.
func (c *checker) fields(s Selection) {
	if s.KeyPrefix != "" {
		if len(s.KeyFields) == 0 {
			c.add("key_prefix", "it is %q, but there are no key_fields: name them, or remove key_prefix", s.KeyPrefix)
		}
		if s.ValueIncludesKey {
			c.add("value_includes_key", "it is true, but key_prefix is %q: set it to false, or remove key_prefix", s.KeyPrefix)
		}
	}
	for i, name := range s.KeyFields {
		switch {
		case name == "":
			c.add("key_fields", "the name of field %d is empty", i+1)
		case !strings.HasPrefix(name, s.KeyPrefix):
			c.add("key_fields", "%q does not begin with key_prefix, %q: all of them have to", name, s.KeyPrefix)
		case name == s.KeyPrefix:
			c.add("key_fields", "%q is key_prefix itself, which leaves no name in the key", name)
		case slices.Contains(s.KeyFields[:i], name):
			c.add("key_fields", "%q is there twice", name)
		}
	}
}

// structured tells whether a format makes objects; one of the build is taken at its word.
func structured(name string) bool {
	switch name {
	case Raw, String, JSONKeyValue, Envelope:
		return false
	}
	return true
}

func orRaw(name string) string {
	if name == "" {
		return Raw
	}
	return name
}

func list(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

// check returns the faults of formats that exist already.
func (c Config) check() error {
	var k checker
	if _, ok := c.Value.(envelopeKey); ok {
		k.add("format", "the format of keys that are envelopes cannot hold the metadata of a message")
	}
	s := Selection{
		Format: nameOf(c.Value), KeyFormat: nameOf(c.Key),
		KeyFields: c.KeyFields, KeyPrefix: c.KeyPrefix, ValueIncludesKey: c.ValueIncludesKey,
	}
	if f, ok := c.Value.(*csvFormat); ok {
		s.CSV = f.CSVConfig
	}
	k.keys(s)
	return Err(k.faults)
}

// nameOf returns the name of a format of this package, or "other".
func nameOf(f public.Format) string {
	switch f.(type) {
	case nil:
		return Raw
	case textFormat:
		return String
	case *jsonFormat:
		return JSON
	case *csvFormat:
		return CSV
	case envelopeKey:
		return Envelope
	}
	return "other"
}
