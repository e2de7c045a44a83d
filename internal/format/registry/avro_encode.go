package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/avro"
)

// avroNode encodes the values of one type of a schema.
type avroNode interface {
	// kind is the Avro type.
	kind() string
	// encode appends v, or says why it is none of this type; then b is of no use.
	encode(b []byte, v any) ([]byte, error)
}

// compileAvro makes the tree that encodes by a schema, which the library has found valid.
func compileAvro(root *avro.SchemaNode) (avroNode, error) {
	c := avroCompiler{named: make(map[string]*avroNamed)}
	tree, err := c.node(root)
	if err != nil {
		return nil, err
	}
	// Defaults are encoded last, since they may be of types that come later.
	for _, f := range c.defaults {
		if err := f.prepare(); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

type avroCompiler struct {
	named    map[string]*avroNamed
	defaults []*avroField
	// space is the namespace around the type that is being compiled.
	space string
}

// avroNamed is a type that others refer to by name, itself included.
type avroNamed struct{ avroNode }

// avroName is the full name of a named type.
func avroName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

func (c *avroCompiler) node(n *avro.SchemaNode) (avroNode, error) {
	switch n.Type {
	case "null", "boolean", "float", "double", "string":
		return avroPrimitive(n.Type), nil
	case "int", "long":
		return avroInt{typ: n.Type, logical: n.LogicalType}, nil
	case "bytes":
		return newAvroBytes(n, "bytes")
	case "array":
		items, err := c.node(n.Items)
		return avroArray{items}, err
	case "map":
		values, err := c.node(n.Values)
		return avroMap{values}, err
	case "union":
		return c.union(n)
	case "record", "error", "enum", "fixed":
		return c.define(n)
	}
	if named, ok := c.named[c.space+"."+n.Type]; ok {
		return named, nil
	}
	if named, ok := c.named[n.Type]; ok {
		return named, nil
	}
	return nil, fmt.Errorf("type %q is not defined", n.Type)
}

func (c *avroCompiler) define(n *avro.SchemaNode) (avroNode, error) {
	named, name, around := &avroNamed{}, avroName(n), c.space
	c.named[name] = named
	defer func() { c.space = around }()
	c.space = name[:max(strings.LastIndexByte(name, '.'), 0)]
	var err error
	switch n.Type {
	case "enum":
		e := avroEnum{symbols: make(map[string]int, len(n.Symbols)), names: n.Symbols}
		for i, s := range n.Symbols {
			e.symbols[s] = i
		}
		named.avroNode = e
	case "fixed":
		named.avroNode, err = newAvroBytes(n, "fixed")
	default:
		r := &avroRecord{byName: make(map[string]int, len(n.Fields))}
		named.avroNode = r
		for i := range n.Fields {
			f := &avroField{name: n.Fields[i].Name, fallback: n.Fields[i].Default, has: n.Fields[i].HasDefault}
			if f.node, err = c.node(&n.Fields[i].Type); err != nil {
				return nil, at(err, f.name)
			}
			if f.has {
				c.defaults = append(c.defaults, f)
			}
			r.byName[f.name] = i
			r.fields = append(r.fields, f)
		}
	}
	return named, err
}

// avroPrimitive is a type that is encoded as it is.
type avroPrimitive string

func (p avroPrimitive) kind() string { return string(p) }

func (p avroPrimitive) encode(b []byte, v any) ([]byte, error) {
	switch p {
	case "null":
		if v == nil {
			return b, nil
		}
	case "boolean":
		if t, ok := v.(bool); ok {
			if t {
				return append(b, 1), nil
			}
			return append(b, 0), nil
		}
	case "string":
		if s, ok := v.(string); ok {
			if !utf8.ValidString(s) {
				return nil, mismatch("string of UTF-8", v)
			}
			return append(binary.AppendVarint(b, int64(len(s))), s...), nil
		}
	default:
		f, err := toFloat(v, p == "float")
		if err != nil {
			return nil, fmt.Errorf("%w: %w", mismatch(string(p), v), err)
		}
		if p == "float" {
			return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(f))), nil
		}
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(f)), nil
	}
	return nil, mismatch(string(p), v)
}

// avroInt is an int or a long, and the times that are made of them.
type avroInt struct{ typ, logical string }

func (i avroInt) kind() string { return i.typ }

func (i avroInt) encode(b []byte, v any) ([]byte, error) {
	n, err := i.number(v)
	if err != nil {
		want := i.typ
		if i.logical != "" {
			want += " (" + i.logical + ")"
		}
		return nil, fmt.Errorf("%w: %w", mismatch(want, v), err)
	}
	return binary.AppendVarint(b, n), nil
}

func (i avroInt) number(v any) (int64, error) {
	n, isTime, err := avroTime(i.logical, v)
	if !isTime {
		n, err = toInt(v)
	}
	if err == nil && i.typ == "int" && int64(int32(n)) != n {
		err = errors.New("it is out of the range of 32 bits")
	}
	return n, err
}

// avroEnum is encoded as the index of its symbol.
type avroEnum struct {
	symbols map[string]int
	names   []string
}

func (avroEnum) kind() string { return "enum" }

func (e avroEnum) encode(b []byte, v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		if i, ok := e.symbols[s]; ok {
			return binary.AppendVarint(b, int64(i)), nil
		}
	}
	return nil, mismatch("one of "+brief(strings.Join(e.names, ", "), 200), v)
}

// avroArray is written as one block.
type avroArray struct{ items avroNode }

func (avroArray) kind() string { return "array" }

func (a avroArray) encode(b []byte, v any) ([]byte, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, mismatch("array", v)
	}
	if len(list) > 0 {
		b = binary.AppendVarint(b, int64(len(list)))
	}
	for i, e := range list {
		var err error
		if b, err = a.items.encode(b, e); err != nil {
			return nil, at(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return append(b, 0), nil
}

// avroMap is written as one block, in the order of its keys, so that the same document gives
// the same bytes.
type avroMap struct{ values avroNode }

func (avroMap) kind() string { return "map" }

func (m avroMap) encode(b []byte, v any) ([]byte, error) {
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, mismatch("map", v)
	}
	if len(doc) > 0 {
		b = binary.AppendVarint(b, int64(len(doc)))
	}
	for _, k := range sortedKeys(doc) {
		var err error
		if b, err = avroPrimitive("string").encode(b, k); err != nil {
			return nil, at(err, strconv.QuoteToASCII(k))
		}
		if b, err = m.values.encode(b, doc[k]); err != nil {
			return nil, at(err, k)
		}
	}
	return append(b, 0), nil
}

// avroRecord is written field by field.
type avroRecord struct {
	fields []*avroField
	byName map[string]int
}

// avroField is one of them; encoded is its default, if it has one.
type avroField struct {
	name     string
	node     avroNode
	fallback any
	has      bool
	encoded  []byte // nil until it is prepared
	busy     bool
}

// prepare encodes the default. All are prepared before the tree is used; that of a record
// prepares those that it is filled with.
func (f *avroField) prepare() error {
	if f.encoded != nil {
		return nil
	}
	if f.busy {
		return fmt.Errorf("default of field %s holds itself without end", f.name)
	}
	f.busy = true
	d, err := f.node.encode([]byte{}, f.fallback)
	if err != nil {
		return fmt.Errorf("default of field %s: %w", f.name, err)
	}
	f.encoded = d
	return nil
}

func (*avroRecord) kind() string { return "record" }

func (r *avroRecord) encode(b []byte, v any) ([]byte, error) {
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, mismatch("record", v)
	}
	found := 0
	for _, f := range r.fields {
		e, ok := doc[f.name]
		switch {
		case ok:
			found++
			var err error
			if b, err = f.node.encode(b, e); err != nil {
				return nil, at(err, f.name)
			}
		case f.has:
			if err := f.prepare(); err != nil {
				return nil, err
			}
			b = append(b, f.encoded...)
		default:
			return nil, at(fmt.Errorf("it is missing, and the schema has no default for it (%s)", f.node.kind()), f.name)
		}
	}
	if found < len(doc) {
		for _, k := range sortedKeys(doc) {
			if _, ok := r.byName[k]; !ok {
				return nil, at(errors.New("the schema has no such field, so its value would be lost"), k)
			}
		}
	}
	return b, nil
}
