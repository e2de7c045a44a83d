package format

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	public "github.com/tidemarkhq/tidemark/format"
)

// What a configuration that says nothing means.
const (
	DefaultDelimiter = ","
	DefaultQuote     = `"`
)

// CSVConfig describes records that are one line of CSV each.
type CSVConfig struct {
	// Columns are the fields of the document, in the order of the line. A key that is made of
	// fields takes their types from here, and a value without them leaves them out.
	Columns []CSVColumn
	// Delimiter is the one character between two fields.
	Delimiter string
	// Quote is the one character around fields that hold what would end them, and is doubled
	// inside of them. Empty: there is none, and such a field cannot be written.
	Quote string
	// NullLiteral is what stands for null when it is not quoted. Empty: nothing between the
	// delimiters; an empty text is quoted then.
	NullLiteral string
	// AllowMissing reads null for fields that a line ends before; else it is an error.
	AllowMissing bool
	// AllowExtra leaves out what is in a line or a document beyond the columns; else it is an
	// error.
	AllowExtra bool
}

// CSVColumn is a column of a line.
type CSVColumn struct {
	Name string
	// Type is one of CSVTypes; empty means string.
	Type string
}

// CheckCSV returns everything that is wrong with a description of lines.
func CheckCSV(conf CSVConfig) []Fault {
	var c checker
	c.character("csv.delimiter", conf.Delimiter)
	if conf.Quote != "" {
		c.character("csv.quote", conf.Quote)
		if conf.Quote == conf.Delimiter {
			c.add("csv.quote", "it is %q, which is csv.delimiter too: use another one, or none", conf.Quote)
		}
	}
	for _, s := range []string{conf.Delimiter, conf.Quote, "\n", "\r"} {
		if s != "" && strings.Contains(conf.NullLiteral, s) {
			c.add("csv.null_literal", "%q holds %q, which has a meaning of its own in a line: use another text", conf.NullLiteral, s)
			break
		}
	}
	if !utf8.ValidString(conf.NullLiteral) {
		c.add("csv.null_literal", "%q is not UTF-8", conf.NullLiteral)
	}
	var names []string
	for i, column := range conf.Columns {
		switch {
		case column.Name == "":
			c.add("csv.columns", "the name of column %d is empty", i+1)
		case slices.Contains(names, column.Name):
			c.add("csv.columns", "%q is there twice", column.Name)
		}
		if _, ok := csvTypes[orString(column.Type)]; !ok {
			c.add("csv.columns", "%q has the type %q: use one of %s", column.Name, column.Type, strings.Join(CSVTypes(), ", "))
		}
		names = append(names, column.Name)
	}
	return c.faults
}

// character refuses what is not one character of a line.
func (c *checker) character(field, s string) {
	r, n := utf8.DecodeRuneInString(s)
	if s == "" || n != len(s) || r == utf8.RuneError || r == '\n' || r == '\r' {
		c.add(field, `it is %q, and must be one character, such as "," or ";" or "\t", that is no line break`, s)
	}
}

// csvFormat turns a line into an object, and back.
type csvFormat struct {
	CSVConfig
	columns []csvColumn
	known   map[string]bool // names of columns
}

type csvColumn struct {
	name string
	csvType
}

// NewCSV returns the format `csv`. As the format of keys it needs no columns: they are the
// fields of the key.
func NewCSV(conf CSVConfig) (public.Format, error) {
	if err := Err(CheckCSV(conf)); err != nil {
		return nil, err
	}
	return newCSV(conf), nil
}

func newCSV(conf CSVConfig) *csvFormat {
	f := &csvFormat{CSVConfig: conf, known: make(map[string]bool, len(conf.Columns))}
	for _, c := range conf.Columns {
		f.columns = append(f.columns, csvColumn{name: c.Name, csvType: csvTypes[orString(c.Type)]})
		f.known[c.Name] = true
	}
	return f
}

// ofKey returns the format of a key made of fields, named as in the document and in the key.
func (f *csvFormat) ofKey(names, inKey []string) *csvFormat {
	conf := f.CSVConfig
	conf.Columns = nil
	for i, name := range names {
		column := CSVColumn{Name: inKey[i]}
		for _, c := range f.Columns {
			if c.Name == name {
				column.Type = c.Type
			}
		}
		conf.Columns = append(conf.Columns, column)
	}
	return newCSV(conf)
}

// without returns the format of a value that lacks some fields.
func (f *csvFormat) without(names []string) *csvFormat {
	conf := f.CSVConfig
	conf.Columns = slices.DeleteFunc(slices.Clone(f.Columns), func(c CSVColumn) bool { return slices.Contains(names, c.Name) })
	return newCSV(conf)
}

// Decode implements public.Format.
func (f *csvFormat) Decode(_ context.Context, _ public.Part, data []byte) (any, error) {
	if err := checkUTF8(data); err != nil {
		return nil, err
	}
	cells, n, err := f.split(string(data))
	if err != nil {
		return nil, err
	}
	switch {
	case n < len(f.columns) && !f.AllowMissing:
		return nil, fmt.Errorf("the line has %s, and there are %d columns: csv.allow_missing would read null for the others", count(n), len(f.columns))
	case n > len(f.columns) && !f.AllowExtra:
		return nil, fmt.Errorf("the line has %s, and there are %d columns: csv.allow_extra would leave the others out", count(n), len(f.columns))
	}
	doc := make(map[string]any, len(f.columns))
	for i, c := range f.columns {
		doc[c.name] = nil
		if i >= len(cells) || cells[i].text == f.NullLiteral && !cells[i].quoted {
			continue
		}
		if doc[c.name], err = c.parse(cells[i].text); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return doc, nil
}

// Encode implements public.Format. Bytes are parsed as JSON, as Benthos does when a document
// is asked for. A field that the document lacks is null.
func (f *csvFormat) Encode(_ context.Context, _ public.Part, content any) ([]byte, error) {
	doc, err := object(content)
	if err != nil {
		return nil, err
	}
	if !f.AllowExtra {
		for _, name := range slices.Sorted(maps.Keys(doc)) {
			if !f.known[name] {
				return nil, fmt.Errorf("the document has the field %q, which is no column: csv.allow_extra would leave it out", name)
			}
		}
	}
	line := make([]byte, 0, 16*len(f.columns))
	for i, c := range f.columns {
		if i > 0 {
			line = append(line, f.Delimiter...)
		}
		v := doc[c.name]
		if v == nil {
			line = append(line, f.NullLiteral...)
			continue
		}
		text, err := c.render(v)
		if err == nil {
			line, err = f.appendCell(line, text)
		}
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return line, nil
}

func count(fields int) string {
	if fields == 1 {
		return "1 field"
	}
	return fmt.Sprintf("%d fields", fields)
}

func orString(typ string) string {
	if typ == "" {
		return "string"
	}
	return typ
}

var errNeedsQuotes = errors.New("the text cannot be written without quotes: set csv.quote")
