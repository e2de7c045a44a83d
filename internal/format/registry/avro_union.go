package registry

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/avro"
)

// avroUnion is encoded as the index of a branch and its value.
type avroUnion struct {
	branches []avroNode
	names    []string
	null     int // index of the null branch, -1 if there is none
	only     int // index of the one branch that is not null, -1 if there are more
}

func (c *avroCompiler) union(n *avro.SchemaNode) (avroNode, error) {
	u := &avroUnion{null: -1, only: -1}
	for i := range n.Branches {
		b := &n.Branches[i]
		node, err := c.node(b)
		if err != nil {
			return nil, err
		}
		name := b.Type
		if b.Name != "" {
			name = avroName(b)
		} else if _, ok := c.named[c.space+"."+name]; ok {
			name = c.space + "." + name
		}
		if name == "null" {
			u.null = i
		}
		u.branches, u.names = append(u.branches, node), append(u.names, name)
	}
	switch {
	case len(u.branches) == 1 && u.null < 0:
		u.only = 0
	case len(u.branches) == 2 && u.null >= 0:
		u.only = 1 - u.null
	}
	return u, nil
}

func (*avroUnion) kind() string { return "union" }

// encode finds the branch: the first whose type is the value's own, else the first that can
// hold it all the same, such as an int64 for a timestamp. Only then an object of one field that
// is named after a branch is taken as Avro's JSON for that branch, so that a document that fits
// as it is never loses a level.
func (u *avroUnion) encode(b []byte, v any) ([]byte, error) {
	if v == nil {
		if u.null < 0 {
			return nil, mismatch("one of "+strings.Join(u.names, ", "), v)
		}
		return binary.AppendVarint(b, int64(u.null)), nil
	}
	start := len(b)
	var first error
	for _, own := range []bool{true, false} {
		for i, branch := range u.branches {
			if i == u.null || ofItsOwn(branch, v) != own {
				continue
			}
			out, err := branch.encode(binary.AppendVarint(b[:start], int64(i)), v)
			if err == nil {
				return out, nil
			}
			if first == nil && (own || i == u.only) {
				first = err
			}
		}
	}
	if doc, ok := v.(map[string]any); ok && len(doc) == 1 {
		for name, inner := range doc {
			if i := u.named(name); i >= 0 {
				out, err := u.branches[i].encode(binary.AppendVarint(b[:start], int64(i)), inner)
				if err != nil {
					return nil, at(err, name)
				}
				return out, nil
			}
		}
	}
	if first != nil {
		return nil, first
	}
	return nil, mismatch("one of "+strings.Join(u.names, ", "), v)
}

// named returns the branch of a name, which may lack the namespace; -1 if there is none.
func (u *avroUnion) named(name string) int {
	short := -1
	for i, n := range u.names {
		if n == name {
			return i
		}
		if strings.HasSuffix(n, "."+name) {
			short = i
		}
	}
	return short
}

// ofItsOwn tells whether a type is the one that a value would be read from.
func ofItsOwn(node avroNode, v any) bool {
	if named, ok := node.(*avroNamed); ok {
		node = named.avroNode
	}
	switch n := node.(type) {
	case avroPrimitive:
		switch v := v.(type) {
		case bool:
			return n == "boolean"
		case string:
			return n == "string"
		case json.Number:
			return n == "double" && strings.ContainsAny(string(v), ".eE")
		case float32:
			return n == "float"
		case float64:
			// A float is read as float64, too; one that is none loses digits in it.
			return n == "double" || n == "float" && float64(float32(v)) == v
		}
	case avroInt:
		switch v := v.(type) {
		case int64, int, int32, uint64, uint32:
			return n.logical == ""
		case json.Number:
			return n.logical == "" && !strings.ContainsAny(string(v), ".eE")
		case time.Time:
			return n.logical != ""
		}
	case avroEnum:
		_, ok := v.(string)
		return ok
	case *avroBytes:
		switch v := v.(type) {
		case []byte:
			return n.logical != "decimal" && n.logical != "uuid"
		case json.Number:
			return n.logical == "decimal"
		case string:
			return n.logical == "uuid" && len(v) == 36
		}
	case avroArray:
		_, ok := v.([]any)
		return ok
	case avroMap, *avroRecord:
		_, ok := v.(map[string]any)
		return ok
	}
	return false
}

var errNotExact = errors.New("it would not be exact")

// avroBytes is a bytes or a fixed, and the decimals and identifiers that are made of them.
type avroBytes struct {
	typ       string
	logical   string
	size      int // of a fixed
	precision int
	scale     int
}

func newAvroBytes(n *avro.SchemaNode, typ string) (avroNode, error) {
	if n.LogicalType == "decimal" && n.Scale > largestScale {
		return nil, fmt.Errorf("a decimal has the scale %d; the largest that is supported is %d", n.Scale, largestScale)
	}
	return &avroBytes{typ: typ, logical: n.LogicalType, size: n.Size, precision: n.Precision, scale: n.Scale}, nil
}

func (f *avroBytes) kind() string { return f.typ }

func (f *avroBytes) encode(b []byte, v any) ([]byte, error) {
	raw, isBytes := v.([]byte)
	switch {
	case isBytes:
	case f.logical == "decimal":
		var err error
		if raw, err = f.decimal(v); err != nil {
			return nil, fmt.Errorf("%w: %w", mismatch(fmt.Sprintf("decimal(%d, %d)", f.precision, f.scale), v), err)
		}
	case f.logical == "uuid":
		var err error
		if raw, err = uuidBytes(v); err != nil {
			return nil, mismatch("uuid", v)
		}
	default:
		if _, ok := v.(string); ok {
			return nil, fmt.Errorf("%w: say which bytes are meant, such as with .bytes() or .decode(\"base64\")", mismatch(f.typ, v))
		}
		return nil, mismatch(f.typ, v)
	}
	if f.typ == "fixed" {
		if len(raw) != f.size {
			return nil, mismatch(fmt.Sprintf("fixed of %d bytes", f.size), v)
		}
		return append(b, raw...), nil
	}
	return append(binary.AppendVarint(b, int64(len(raw))), raw...), nil
}
