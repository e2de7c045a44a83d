package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoReader makes documents of messages, as the JSON mapping of Protobuf has it, but with
// numbers as numbers, bytes as bytes and timestamps as times.
type protoReader struct{ *protoCodec }

func (r protoReader) message(m protoreflect.Message) (any, error) {
	if v, ok, err := r.wellKnown(m); ok || err != nil {
		return v, err
	}
	doc := make(map[string]any)
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := r.fieldName(f)
		e, err := r.field(f, v)
		if err != nil {
			failed = at(err, name)
			return false
		}
		doc[name] = e
		return true
	})
	if failed != nil || !r.emit {
		return doc, failed
	}
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		if m.Has(f) || f.ContainingOneof() != nil && !f.HasOptionalKeyword() {
			continue
		}
		if f.HasPresence() {
			doc[r.fieldName(f)] = nil
			continue
		}
		e, err := r.field(f, m.Get(f))
		if err != nil {
			return nil, at(err, r.fieldName(f))
		}
		doc[r.fieldName(f)] = e
	}
	return doc, nil
}

func (r protoReader) fieldName(f protoreflect.FieldDescriptor) string {
	if f.IsExtension() || r.protoNames {
		return f.TextName()
	}
	return f.JSONName()
}

func (r protoReader) field(f protoreflect.FieldDescriptor, v protoreflect.Value) (any, error) {
	switch {
	case f.IsList():
		list := make([]any, v.List().Len())
		for i := range list {
			e, err := r.single(f, v.List().Get(i))
			if err != nil {
				return nil, at(err, "["+strconv.Itoa(i)+"]")
			}
			list[i] = e
		}
		return list, nil
	case f.IsMap():
		doc := make(map[string]any, v.Map().Len())
		var failed error
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			e, err := r.single(f.MapValue(), v)
			if err != nil {
				failed = at(err, k.String())
			}
			doc[k.String()] = e
			return err == nil
		})
		return doc, failed
	}
	return r.single(f, v)
}

func (r protoReader) single(f protoreflect.FieldDescriptor, v protoreflect.Value) (any, error) {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return r.message(v.Message())
	case protoreflect.EnumKind:
		if f.Enum().FullName() == "google.protobuf.NullValue" {
			return nil, nil
		}
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name()), nil
		}
		return int64(v.Enum()), nil
	case protoreflect.BytesKind:
		return append([]byte{}, v.Bytes()...), nil
	case protoreflect.StringKind:
		if !utf8.ValidString(v.String()) {
			return nil, errors.New("a string is not UTF-8: " + strconv.QuoteToASCII(brief(v.String(), 50)))
		}
		return v.String(), nil
	case protoreflect.BoolKind:
		return v.Bool(), nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return v.Float(), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n := v.Uint(); n > math.MaxInt64 {
			return json.Number(strconv.FormatUint(n, 10)), nil
		}
		return int64(v.Uint()), nil
	}
	return v.Int(), nil
}

// protoMapped are messages that the JSON mapping has a form of its own for, which the library
// knows.
var protoMapped = map[protoreflect.FullName]bool{
	"google.protobuf.Any": true, "google.protobuf.Duration": true, "google.protobuf.FieldMask": true,
	"google.protobuf.Struct": true, "google.protobuf.Value": true, "google.protobuf.ListValue": true,
}

// protoTimestamp and wrapper are those that documents can hold as they are.
const protoTimestamp = "google.protobuf.Timestamp"

func wrapper(d protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	name := string(d.FullName())
	if strings.HasPrefix(name, "google.protobuf.") && strings.HasSuffix(name, "Value") && d.Fields().Len() == 1 && !protoMapped[d.FullName()] {
		return d.Fields().ByName("value")
	}
	return nil
}

func (r protoReader) wellKnown(m protoreflect.Message) (v any, ok bool, err error) {
	d := m.Descriptor()
	if f := wrapper(d); f != nil {
		v, err = r.single(f, m.Get(f))
		return v, true, err
	}
	switch {
	case d.FullName() == protoTimestamp && d.Fields().ByNumber(1) != nil && d.Fields().ByNumber(2) != nil:
		seconds, nanos := m.Get(d.Fields().ByNumber(1)).Int(), m.Get(d.Fields().ByNumber(2)).Int()
		t := time.Unix(seconds, nanos).UTC()
		if nanos < 0 || nanos > 999999999 || t.Year() < 1 || t.Year() > 9999 {
			return nil, true, fmt.Errorf("timestamp of %d seconds and %d nanoseconds is out of range", seconds, nanos)
		}
		return t, true, nil
	case protoMapped[d.FullName()]:
		text, err := protojson.MarshalOptions{Resolver: r.types}.Marshal(m.Interface())
		if err != nil {
			return nil, true, errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
		}
		v, err = parseJSON(text)
		return v, true, err
	}
	return nil, false, nil
}

// protoWriter makes messages of documents. It takes what the JSON mapping takes, and bytes and
// times as they are.
type protoWriter struct{ *protoCodec }

func (w protoWriter) message(m protoreflect.Message, v any, depth int) error {
	if depth >= deepestMessage {
		return fmt.Errorf("messages are nested deeper than %d", deepestMessage)
	}
	if ok, err := w.wellKnown(m, v); ok || err != nil {
		return err
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return mismatch("message "+string(m.Descriptor().FullName()), v)
	}
	set := make(map[protoreflect.FieldNumber]string, len(doc))
	for _, k := range sortedKeys(doc) {
		f, err := w.find(m.Descriptor(), k)
		if err != nil {
			return at(err, k)
		}
		if before, ok := set[f.Number()]; ok {
			return at(fmt.Errorf("it is the same field as %s", before), k)
		}
		set[f.Number()] = k
		if doc[k] == nil && !takesNull(f) {
			continue
		}
		if o := f.ContainingOneof(); o != nil && m.WhichOneof(o) != nil {
			return at(fmt.Errorf("%s is set already, and only one field of %s may be", m.WhichOneof(o).Name(), o.Name()), k)
		}
		if err := w.field(m, f, doc[k], depth); err != nil {
			return at(err, k)
		}
	}
	return nil
}

// find returns the field of a name: that of the JSON mapping or of the text, or an extension in
// brackets.
func (w protoWriter) find(d protoreflect.MessageDescriptor, name string) (protoreflect.FieldDescriptor, error) {
	f := d.Fields().ByJSONName(name)
	if f == nil {
		f = d.Fields().ByTextName(name)
	}
	if f == nil && strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		x, err := w.types.FindExtensionByName(protoreflect.FullName(name[1 : len(name)-1]))
		if err == nil && x.TypeDescriptor().ContainingMessage().FullName() == d.FullName() {
			f = x.TypeDescriptor()
		}
	}
	if f == nil {
		return nil, fmt.Errorf("message %s has no such field, so its value would be lost", d.FullName())
	}
	return f, nil
}

// takesNull tells whether null is a value of a field, not its absence.
func takesNull(f protoreflect.FieldDescriptor) bool {
	return !f.IsList() && !f.IsMap() && (f.Message() != nil && f.Message().FullName() == "google.protobuf.Value" ||
		f.Enum() != nil && f.Enum().FullName() == "google.protobuf.NullValue")
}

func (w protoWriter) field(m protoreflect.Message, f protoreflect.FieldDescriptor, v any, depth int) error {
	switch {
	case f.IsList():
		in, ok := v.([]any)
		if !ok {
			return mismatch("array", v)
		}
		list := m.Mutable(f).List()
		for i, e := range in {
			value, err := w.single(f, list.NewElement, e, depth)
			if err != nil {
				return at(err, "["+strconv.Itoa(i)+"]")
			}
			list.Append(value)
		}
	case f.IsMap():
		in, ok := v.(map[string]any)
		if !ok {
			return mismatch("map", v)
		}
		to := m.Mutable(f).Map()
		for _, k := range sortedKeys(in) {
			key, err := mapKey(f.MapKey(), k)
			if err != nil {
				return at(err, k)
			}
			value, err := w.single(f.MapValue(), to.NewValue, in[k], depth)
			if err != nil {
				return at(err, k)
			}
			to.Set(key, value)
		}
	default:
		value, err := w.single(f, func() protoreflect.Value { return m.NewField(f) }, v, depth)
		if err != nil {
			return err
		}
		m.Set(f, value)
	}
	return nil
}

func mapKey(f protoreflect.FieldDescriptor, k string) (protoreflect.MapKey, error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		v, err := scalar(f, k)
		return v.MapKey(), err
	case protoreflect.BoolKind:
		if k == "true" || k == "false" {
			return protoreflect.ValueOfBool(k == "true").MapKey(), nil
		}
		return protoreflect.MapKey{}, mismatch("true or false", k)
	}
	v, err := scalar(f, json.Number(k))
	if err != nil {
		return protoreflect.MapKey{}, err
	}
	return v.MapKey(), nil
}

func (w protoWriter) single(f protoreflect.FieldDescriptor, empty func() protoreflect.Value, v any, depth int) (protoreflect.Value, error) {
	if f.Message() != nil {
		value := empty()
		return value, w.message(value.Message(), v, depth+1)
	}
	return scalar(f, v)
}

// scalar makes a value of a field that is no message.
func scalar(f protoreflect.FieldDescriptor, v any) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch kind := f.Kind(); kind {
	case protoreflect.BoolKind:
		if b, ok := v.(bool); ok {
			return protoreflect.ValueOfBool(b), nil
		}
	case protoreflect.StringKind:
		if s, ok := v.(string); ok && utf8.ValidString(s) {
			return protoreflect.ValueOfString(s), nil
		}
	case protoreflect.BytesKind:
		switch v := v.(type) {
		case []byte:
			return protoreflect.ValueOfBytes(append([]byte{}, v...)), nil
		case string:
			b, err := fromBase64(v)
			if err != nil {
				return none, fmt.Errorf("%w: %w", mismatch("bytes, or their base64", v), err)
			}
			return protoreflect.ValueOfBytes(b), nil
		}
	case protoreflect.EnumKind:
		return enum(f.Enum(), v)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		n, err := toFloat(floatText(v), kind == protoreflect.FloatKind)
		if err != nil {
			return none, fmt.Errorf("%w: %w", mismatch(kind.String(), v), err)
		}
		if kind == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(n)), nil
		}
		return protoreflect.ValueOfFloat64(n), nil
	default:
		n, err := integer(kind, v)
		if err != nil {
			return none, fmt.Errorf("%w: %w", mismatch(kind.String(), v), err)
		}
		return n, nil
	}
	return none, mismatch(f.Kind().String(), v)
}

// integer takes numbers and, as the JSON mapping writes 64 bits, their texts.
func integer(kind protoreflect.Kind, v any) (protoreflect.Value, error) {
	var none protoreflect.Value
	if s, ok := v.(string); ok {
		v = json.Number(s)
	}
	out := errors.New("it is out of the range of the type")
	if kind == protoreflect.Uint64Kind || kind == protoreflect.Fixed64Kind {
		switch v := v.(type) {
		case json.Number:
			if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
				return protoreflect.ValueOfUint64(n), nil
			}
		case uint64:
			return protoreflect.ValueOfUint64(v), nil
		}
	}
	n, err := toInt(v)
	if err != nil {
		return none, err
	}
	switch kind {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if n < 0 {
			return none, out
		}
		return protoreflect.ValueOfUint64(uint64(n)), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		if n < 0 || n > math.MaxUint32 {
			return none, out
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		return none, out
	}
	return protoreflect.ValueOfInt32(int32(n)), nil
}

// floatText lets the texts of the JSON mapping count as floats.
func floatText(v any) any {
	switch v {
	case "NaN":
		return math.NaN()
	case "Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if s, ok := v.(string); ok && s != "" && strings.Trim(s, "0123456789.eE+-") == "" {
		return json.Number(s)
	}
	return v
}

func enum(d protoreflect.EnumDescriptor, v any) (protoreflect.Value, error) {
	if v == nil && d.FullName() == "google.protobuf.NullValue" {
		return protoreflect.ValueOfEnum(0), nil
	}
	if s, ok := v.(string); ok {
		if e := d.Values().ByName(protoreflect.Name(s)); e != nil {
			return protoreflect.ValueOfEnum(e.Number()), nil
		}
	} else if n, err := toInt(v); err == nil && int64(int32(n)) == n {
		// A number that a later schema gave a name is kept, as it is when it is read.
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), nil
	}
	var names []string
	for i := range d.Values().Len() {
		names = append(names, string(d.Values().Get(i).Name()))
	}
	return protoreflect.Value{}, mismatch("one of "+brief(strings.Join(names, ", "), 200), v)
}

// fromBase64 takes the alphabets and paddings that the JSON mapping takes.
func fromBase64(s string) ([]byte, error) {
	enc := base64.StdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.URLEncoding
	}
	if len(s)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	return enc.Strict().DecodeString(s)
}

func (w protoWriter) wellKnown(m protoreflect.Message, v any) (ok bool, err error) {
	d := m.Descriptor()
	if f := wrapper(d); f != nil {
		value, err := scalar(f, v)
		if err == nil {
			m.Set(f, value)
		}
		return true, err
	}
	if !protoMapped[d.FullName()] && d.FullName() != protoTimestamp {
		return false, nil
	}
	text, err := writeJSON(v)
	if err != nil {
		return true, err
	}
	to := m.Interface().(*dynamicpb.Message)
	if err := (protojson.UnmarshalOptions{Resolver: w.types}).Unmarshal(text, to); err != nil {
		return true, mismatch(string(d.FullName()), v)
	}
	return true, nil
}
