package registry_test

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tidemarkhq/tidemark/internal/format/registry"
)

const everyProto = `syntax = "proto3";
package acme;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/any.proto";
import "confluent/meta.proto";

message Everything {
  option (confluent.message_meta) = { doc: "all" };
  map<string, Colour> by_name = 1;
  message Inner { int64 order_id = 1; message Deep { string s = 1; } }
  enum Colour { RED = 0; GREEN = 1; }
  bool flag = 2; int32 i32 = 3; sint64 s64 = 4; uint64 u64 = 5; fixed32 f32 = 6; float single = 7; double twice = 8;
  string text = 9; bytes raw = 10; Colour colour = 11; repeated int64 list = 12; Inner inner = 13; optional int32 maybe = 14;
  oneof one { string a = 15; int64 b = 16; }
  google.protobuf.Timestamp at = 17; google.protobuf.Duration span = 18; google.protobuf.Struct free = 19;
  google.protobuf.Int64Value wrapped = 20; google.protobuf.Any any = 21; repeated Inner inners = 22; map<int32, Inner> by_id = 23;
  google.protobuf.Value value = 24;
}
message Second { string s = 1; message Third { int32 n = 1; } }`

func everyMessage() map[string]any {
	return map[string]any{
		"byName": map[string]any{"x": "GREEN"}, "flag": true, "i32": int64(-5), "s64": int64(math.MinInt64), "u64": json.Number("18446744073709551615"),
		"f32": int64(math.MaxUint32), "single": 0.5, "twice": 0.1, "text": "žluť", "raw": []byte{0, 255}, "colour": int64(7),
		"list": []any{int64(1), int64(math.MaxInt64)}, "inner": map[string]any{"orderId": int64(9)}, "maybe": int64(0), "b": int64(3),
		"at": time.Unix(1700000000, 123456789).UTC(), "span": "1.500s", "free": map[string]any{"k": []any{json.Number("1"), nil}},
		"wrapped": int64(math.MaxInt64), "any": map[string]any{"@type": "type.googleapis.com/acme.Second", "s": "x"},
		"inners": []any{map[string]any{}, map[string]any{"orderId": int64(1)}}, "byId": map[string]any{"-4": map[string]any{}}, "value": nil,
	}
}

func TestProtobufKeepsEveryType(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	f := made(t)(registry.Protobuf(c, registry.Options{Writing: true, Schema: everyProto}))
	data := encode(t, f, everyMessage())
	assert.Equal(t, []byte{0, 0, 0, 0, 1, 0}, data[:6], "the first message is a lone 0")
	assert.Equal(t, everyMessage(), decode(t, f, data))
	assert.Equal(t, data, encode(t, f, everyMessage()), "the same bytes each time")

	// As JSON has it.
	text, err := json.Marshal(everyMessage())
	require.NoError(t, err)
	assert.Equal(t, data, encode(t, f, text))

	proto := made(t)(registry.Protobuf(c, registry.Options{ProtoNames: true, EmitUnpopulated: true}))
	got := decode(t, proto, encode(t, f, map[string]any{"u64": "5"})).(map[string]any)
	assert.Equal(t, map[string]any{
		"by_name": map[string]any{}, "flag": false, "i32": int64(0), "s64": int64(0), "u64": int64(5), "f32": int64(0), "single": 0.0, "twice": 0.0,
		"text": "", "raw": []byte{}, "colour": "RED", "list": []any{}, "inner": nil, "maybe": nil, "at": nil, "span": nil, "free": nil, "wrapped": nil,
		"any": nil, "inners": []any{}, "by_id": map[string]any{}, "value": nil,
	}, got)
	delete(got, "value") // null is a value of its own there
	assert.Equal(t, encode(t, f, map[string]any{"u64": "5"}), encode(t, f, got), "what is not set may be null")
}

func TestProtobufFindsMessagesByIndex(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	reader := made(t)(registry.Protobuf(c, registry.Options{}))
	for name, test := range map[string]struct {
		index []byte
		doc   map[string]any
	}{
		"acme.Everything":            {[]byte{0}, map[string]any{"flag": true}},
		"acme.Everything.Inner":      {[]byte{4, 0, 0}, map[string]any{"orderId": int64(1)}},
		"acme.Everything.Inner.Deep": {[]byte{6, 0, 0, 0}, map[string]any{"s": "x"}},
		"acme.Second":                {[]byte{2, 2}, map[string]any{"s": "x"}},
		"acme.Second.Third":          {[]byte{4, 2, 0}, map[string]any{"n": int64(1)}},
	} {
		f := made(t)(registry.Protobuf(c, registry.Options{Writing: true, Schema: everyProto, Message: name, SubjectName: registry.RecordName}))
		data := encode(t, f, test.doc)
		assert.Equal(t, test.index, data[5:5+len(test.index)], name)
		assert.Equal(t, test.doc, decode(t, reader, data), name)
		assert.True(t, reg.SubjectExists(name))
	}
	for want, data := range map[string][]byte{
		"the index of its message":                                              {0, 0, 0, 0, 1},
		"behind the schema's id, is cut off":                                    {0, 0, 0, 0, 1, 255},
		"message 2 of the schema, which has none":                               {0, 0, 0, 0, 1, 2, 4},
		"message -1 of the schema":                                              {0, 0, 0, 0, 1, 2, 1},
		"message 1 of acme.Everything.Inner, which":                             {0, 0, 0, 0, 1, 6, 0, 0, 2},
		"schema 1: no acme.Everything: ":                                        {0, 0, 0, 0, 1, 0, 8},
		"is cut off or damaged":                                                 {0, 0, 0, 0, 1, 127},
		"no acme.Everything: field acme.Everything.text contains invalid UTF-8": {0, 0, 0, 0, 1, 0, 0x4a, 1, 255},
	} {
		_, err := reader.Decode(t.Context(), value, data)
		assert.ErrorContains(t, err, want)
	}
	f := made(t)(registry.Protobuf(c, registry.Options{Writing: true, Schema: everyProto, Message: "acme.None"}))
	_, err := f.Encode(t.Context(), value, map[string]any{})
	assert.EqualError(t, err, `the schema defines no message "acme.None"; it has acme.Everything, acme.Everything.Inner, acme.Everything.Inner.Deep, acme.Second, acme.Second.Third`)
}

func TestProtobufNamesFieldAndType(t *testing.T) {
	reg := newFake(t)
	f := made(t)(registry.Protobuf(reg.client(t), registry.Options{Writing: true, Schema: everyProto}))
	for want, doc := range map[string]any{
		"the schema wants message acme.Everything, and found is number 1":                            1.0,
		"field other: message acme.Everything has no such field, so its value would be lost":         map[string]any{"other": 1.0},
		`field inner.orderId: the schema wants int64, and found is string "x"`:                       map[string]any{"inner": map[string]any{"orderId": "x"}},
		`field inners[1].order_id: the schema wants int64, and found is number 1.5: it is not whole`: map[string]any{"inners": []any{map[string]any{}, map[string]any{"order_id": 1.5}}},
		`field i32: the schema wants int32, and found is number 2147483648: it is out of the range`:  map[string]any{"i32": 2147483648.0},
		`field u64: the schema wants uint64, and found is number -1: it is out of the range`:         map[string]any{"u64": int64(-1)},
		`field colour: the schema wants one of RED, GREEN, and found is string "BLUE"`:               map[string]any{"colour": "BLUE"},
		`field b: a is set already, and only one field of one may be`:                                map[string]any{"a": "x", "b": 1.0},
		`field by_name: it is the same field as byName`:                                              map[string]any{"byName": nil, "by_name": nil},
		`field raw: the schema wants bytes, or their base64, and found is string "?"`:                map[string]any{"raw": "?"},
		`field byId.x: the schema wants int32, and found is number x: it is no number`:               map[string]any{"byId": map[string]any{"x": map[string]any{}}},
		`field at: the schema wants google.protobuf.Timestamp, and found is string "yesterday"`:      map[string]any{"at": "yesterday"},
		`field list: the schema wants array, and found is number 1`:                                  map[string]any{"list": 1.0},
		`field flag: the schema wants bool, and found is string "true"`:                              map[string]any{"flag": "true"},
	} {
		_, err := f.Encode(context.Background(), value, doc)
		assert.ErrorContains(t, err, want)
	}
}

func TestSD08ProtobufIsReadByANewerSchema(t *testing.T) {
	reg := newFake(t)
	c := reg.client(t)
	old := `syntax = "proto3"; package acme; message Other {} message Order { int64 id = 1; string gone = 2; }`
	young := `syntax = "proto3"; package acme; message Order { int64 id = 1; optional string note = 3; string currency = 4; }`
	data := encode(t, made(t)(registry.Protobuf(c, registry.Options{Writing: true, Schema: old, Message: "acme.Order"})), map[string]any{"id": 7.0, "gone": "x"})
	f := made(t)(registry.Protobuf(c, registry.Options{ReaderSchema: young, EmitUnpopulated: true}))
	assert.Equal(t, map[string]any{"id": int64(7), "note": nil, "currency": ""}, decode(t, f, data))
	f = made(t)(registry.Protobuf(c, registry.Options{ReaderSchema: young}))
	assert.Equal(t, map[string]any{"id": int64(7)}, decode(t, f, data))

	f = made(t)(registry.Protobuf(c, registry.Options{ReaderSchema: `syntax = "proto3"; package acme; message Return {}`}))
	_, err := f.Decode(t.Context(), value, data)
	assert.ErrorContains(t, err, `schema 1: the record is a acme.Order: in the reader schema: the schema defines no message "acme.Order"; it has acme.Return`)
}

func TestProtobufImportsFromTheRegistry(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "money", sr.TypeProtobuf, `syntax = "proto3"; package acme; message Money { int64 cents = 1; }`)
	reg.add(t, "line", sr.TypeProtobuf, `syntax = "proto3"; package acme; import "acme/money.proto"; message Line { Money price = 1; }`,
		sr.SchemaReference{Name: "acme/money.proto", Subject: "money", Version: 1})
	text := `syntax = "proto3"; package acme; import "acme/line.proto"; message Order { repeated Line lines = 1; }`
	f := made(t)(registry.Protobuf(reg.client(t), registry.Options{Writing: true, Schema: text,
		References: []registry.Reference{{Name: "acme/line.proto", Subject: "line", Version: 1}}}))
	doc := map[string]any{"lines": []any{map[string]any{"price": map[string]any{"cents": int64(5)}}}}
	data := encode(t, f, doc)
	assert.Equal(t, doc, decode(t, made(t)(registry.Protobuf(reg.client(t), registry.Options{})), data))

	_, err := registry.Protobuf(reg.client(t), registry.Options{Writing: true, Schema: text})
	assert.ErrorContains(t, err, "acme/line.proto is not among the references of the schema")
}

func TestProtobufDemandsRequiredFields(t *testing.T) {
	reg := newFake(t)
	reg.add(t, "base", sr.TypeProtobuf, `syntax = "proto2"; package acme; message Base { required int64 id = 1; optional string note = 2; }`)
	f := made(t)(registry.Protobuf(reg.client(t), registry.Options{Writing: true, References: []registry.Reference{{Name: "base.proto", Subject: "base", Version: 1}},
		Schema: `syntax = "proto3"; package acme; import "base.proto"; message Order { Base base = 1; }`}))
	doc := map[string]any{"base": map[string]any{"id": int64(0)}}
	data := encode(t, f, doc)
	assert.Equal(t, doc, decode(t, f, data))
	_, err := f.Encode(t.Context(), value, map[string]any{"base": map[string]any{"note": "x"}})
	assert.EqualError(t, err, "acme.Order: required field acme.Base.id not set")
	_, err = f.Decode(t.Context(), value, append(data[:6:6], 0x0a, 0))
	assert.EqualError(t, err, "schema 2: no acme.Order: required field acme.Base.id not set")
}
