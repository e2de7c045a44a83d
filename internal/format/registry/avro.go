package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/format"
)

// Avro is the format `avro`.
func Avro(c *Client, o Options) (format.Format, error) {
	return newCoded(c, o, sr.TypeAvro, avroLanguage{tagged: o.TaggedUnions})
}

// avroLanguage makes codecs of Avro schemas.
type avroLanguage struct {
	// tagged unions are read as {"type": value}.
	tagged bool
}

// avroCodec decodes with a library, and encodes by a tree of its own: which branch of a union
// a document means, what a number may lose and what a field was called in an error are
// promises of ours.
type avroCodec struct {
	schema *avro.Schema
	root   avroNode
	opts   []avro.Opt
	label  string
}

const (
	// largestScale bounds the digits behind the point of a decimal, which the schema of a
	// stranger may put at two thousand millions.
	largestScale = 1000
	// largestDecimal bounds the bytes of a decimal that is read; turning it into digits
	// takes time that grows with the square.
	largestDecimal = 1024
)

// avroTypes are what logical types are in a document, where that is not what the library makes
// of them.
func avroTypes() []avro.SchemaOpt {
	dayTime := func(unit time.Duration) func(any, *avro.SchemaNode) (any, error) {
		return func(v any, _ *avro.SchemaNode) (any, error) {
			var n int64
			switch v := v.(type) {
			case int32:
				n = int64(v)
			case int64:
				n = v
			}
			if n < 0 || n >= int64(24*time.Hour/unit) {
				return nil, fmt.Errorf("%d is no time of day", n)
			}
			return time.Unix(0, n*int64(unit)).UTC().Format("15:04:05.999999"), nil
		}
	}
	raw := func(typ, logical string) avro.SchemaOpt { return avro.CustomType{AvroType: typ, LogicalType: logical} }
	return []avro.SchemaOpt{
		avro.CustomType{AvroType: "bytes", LogicalType: "decimal", Decode: decimalText},
		avro.CustomType{AvroType: "fixed", LogicalType: "decimal", Decode: decimalText},
		avro.CustomType{AvroType: "int", LogicalType: "time-millis", Decode: dayTime(time.Millisecond)},
		avro.CustomType{AvroType: "long", LogicalType: "time-micros", Decode: dayTime(time.Microsecond)},
		avro.CustomType{AvroType: "fixed", LogicalType: "uuid", Decode: uuidText},
		raw("string", "uuid"), raw("fixed", "duration"), raw("bytes", "big-decimal"),
	}
}

// decimalText writes a decimal with all digits of its scale.
func decimalText(v any, node *avro.SchemaNode) (any, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("decimal of %T", v)
	}
	if len(b) > largestDecimal || node.Scale > largestScale {
		return nil, fmt.Errorf("decimal of %d bytes and scale %d is larger than the %d and %d that are supported", len(b), node.Scale, largestDecimal, largestScale)
	}
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	digits := new(big.Int).Abs(n).String()
	if pad := node.Scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	if node.Scale > 0 {
		digits = digits[:len(digits)-node.Scale] + "." + digits[len(digits)-node.Scale:]
	}
	if n.Sign() < 0 {
		digits = "-" + digits
	}
	return json.Number(digits), nil
}

func uuidText(v any, _ *avro.SchemaNode) (any, error) {
	b, ok := v.([]byte)
	if !ok || len(b) != 16 {
		return nil, fmt.Errorf("uuid of %T", v)
	}
	s := hex.EncodeToString(b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-"), nil
}

func (l avroLanguage) compile(_ context.Context, b *bundle) (codec, error) {
	var types avro.SchemaCache
	opts := avroTypes()
	for _, i := range b.imports {
		if _, err := types.Parse(i.text, opts...); err != nil {
			return nil, fmt.Errorf("reference %q: %w", i.name, err)
		}
	}
	schema, err := types.Parse(b.text, opts...)
	if err != nil {
		return nil, fmt.Errorf("no Avro schema: %w", err)
	}
	root := schema.Root()
	if len(b.imports) > 0 {
		// The tree of a schema that refers to others does not hold them; that of one made
		// of it does.
		whole, err := root.Schema(opts...)
		if err != nil {
			return nil, fmt.Errorf("no Avro schema: %w", err)
		}
		root = whole.Root()
	}
	tree, err := compileAvro(root)
	if err != nil {
		return nil, fmt.Errorf("no Avro schema: %w", err)
	}
	c := &avroCodec{schema: schema, root: tree}
	if root.Name != "" {
		c.label = avroName(root)
	}
	if l.tagged {
		c.opts = append(c.opts, avro.TaggedUnions())
	}
	return c, nil
}

func (avroLanguage) resolve(writer, reader codec) (codec, error) {
	if reader == nil {
		return writer, nil
	}
	w, r := writer.(*avroCodec), reader.(*avroCodec)
	schema, err := avro.Resolve(w.schema, r.schema)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read as the reader schema wants: %w", err)
	}
	c := *r
	c.schema = schema
	return &c, nil
}

func (c *avroCodec) name() string { return c.label }

func (c *avroCodec) decode(data []byte) (any, error) {
	var v any
	rest, err := c.schema.Decode(data, &v, c.opts...)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes are left over behind the value, so it was not written with this schema", len(rest))
	}
	return plain(v)
}

func (c *avroCodec) encode(b []byte, content any) ([]byte, error) {
	if raw, ok := content.([]byte); ok {
		switch c.root.kind() {
		case "bytes", "fixed":
		case "string", "enum":
			content = string(raw)
		default:
			doc, err := parseJSON(raw)
			if err != nil {
				return nil, fmt.Errorf("the message is not structured, and its bytes are no JSON: %w", err)
			}
			content = doc
		}
	}
	return c.root.encode(b, content)
}

// plain turns what the library decodes into what documents hold, in place.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case int32:
		return int64(v), nil
	case float32:
		return float64(v), nil
	case string:
		if !utf8.ValidString(v) {
			return nil, errors.New("a string is not UTF-8: " + strconv.QuoteToASCII(brief(v, 50)))
		}
	case []any:
		for i, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, at(err, "["+strconv.Itoa(i)+"]")
			}
			v[i] = p
		}
	case map[string]any:
		for k, e := range v {
			if !utf8.ValidString(k) {
				return nil, errors.New("a key is not UTF-8: " + strconv.QuoteToASCII(brief(k, 50)))
			}
			switch e.(type) {
			case int64, bool, nil, float64, time.Time, []byte, json.Number:
				continue
			}
			p, err := plain(e)
			if err != nil {
				return nil, at(err, k)
			}
			v[k] = p
		}
	}
	return v, nil
}
