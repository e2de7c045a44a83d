package buffer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// packVersion is the version that messages are kept with. The store adds a checksum.
//
//	1  version (1 byte); number of metadata, then for each its name, a tag and its value;
//	   1 and the record it was made of, or 0; content. Numbers are varints, text and
//	   content have their length in front, lists and objects the number of what is in them.
const packVersion = 1

// The tags of metadata. Values come back with the type they had, and text with its bytes,
// inside of lists and objects too: JSON would spoil large numbers and what is not UTF-8.
const (
	tagNull = iota
	tagString
	tagBytes
	tagInt
	tagInt64
	tagFloat
	tagTrue
	tagFalse
	tagList
	tagObject
	tagJSON // whatever else there is
)

// mostNested is how deep lists and objects may be nested in each other.
const mostNested = 1000

// pack makes bytes of a message, with its metadata and what is known of its record.
func pack(m *service.Message) ([]byte, error) {
	content, err := m.AsBytes()
	if err != nil {
		return nil, aboutMessage(err)
	}
	b := append(make([]byte, 0, 128+len(content)), packVersion)
	n := 0
	if err := m.MetaWalkMut(func(string, any) error { n++; return nil }); err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, uint64(n))
	err = m.MetaWalkMut(func(k string, v any) (err error) {
		b, err = appendMetadata(appendText(b, k), v, mostNested)
		return err
	})
	if err != nil {
		return nil, aboutMessage(fmt.Errorf("keeping its metadata: %w", err))
	}
	var r *kgo.Record
	var headers bool
	if o := checkpoint.OriginOf(m.Context()); o != nil {
		r, _ = o.Record.(*kgo.Record)
		headers = o.Headers
	}
	b = appendRecord(b, r, headers)
	return appendText(b, content), nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendNilable tells nothing from empty.
func appendNilable(b, s []byte) []byte {
	if s == nil {
		return append(b, 0)
	}
	return appendText(append(b, 1), s)
}

func appendMetadata(b []byte, v any, depth int) (_ []byte, err error) {
	if depth == 0 {
		return nil, errNested
	}
	switch v := v.(type) {
	case nil:
		return append(b, tagNull), nil
	case string:
		return appendText(append(b, tagString), v), nil
	case []byte:
		return appendText(append(b, tagBytes), v), nil
	case int:
		return binary.AppendVarint(append(b, tagInt), int64(v)), nil
	case int64:
		return binary.AppendVarint(append(b, tagInt64), v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat), math.Float64bits(v)), nil
	case bool:
		if v {
			return append(b, tagTrue), nil
		}
		return append(b, tagFalse), nil
	case []any:
		b = binary.AppendUvarint(append(b, tagList), uint64(len(v)))
		for i := 0; i < len(v) && err == nil; i++ {
			b, err = appendMetadata(b, v[i], depth-1)
		}
		return b, err
	case map[string]any:
		b = binary.AppendUvarint(append(b, tagObject), uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if b, err = appendMetadata(appendText(b, k), v[k], depth-1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	j, err := json.Marshal(v)
	return appendText(append(b, tagJSON), j), err
}

// The flags of a record.
const (
	recordThere = 1 << iota
	recordHeaders
	recordTombstone
)

func appendRecord(b []byte, r *kgo.Record, headers bool) []byte {
	if r == nil {
		return append(b, 0)
	}
	flags := byte(recordThere)
	if headers {
		flags |= recordHeaders
	}
	if r.Value == nil {
		flags |= recordTombstone
	}
	b = appendText(append(b, flags), r.Topic)
	b = binary.AppendVarint(b, int64(r.Partition))
	b = binary.AppendVarint(b, r.Offset)
	b = binary.AppendVarint(b, r.Timestamp.UnixMilli())
	b = appendNilable(b, r.Key)
	b = binary.AppendUvarint(b, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		b = appendNilable(appendText(b, h.Key), h.Value)
	}
	return b
}

var (
	errCutOff = errors.New("a kept message was cut off")
	errNested = fmt.Errorf("lists and objects are nested more than %d deep", mostNested)
)

// unpacker reads until something is missing.
type unpacker struct {
	b   []byte
	err error
}

// fail notes the first error; nothing is read after it.
func (u *unpacker) fail(err error) {
	if u.b = nil; u.err == nil {
		u.err = err
	}
}

func (u *unpacker) take(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.fail(errCutOff)
		return nil
	}
	taken := u.b[:n:n]
	u.b = u.b[n:]
	return taken
}

func (u *unpacker) byte() byte {
	if b := u.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (u *unpacker) uvarint() uint64 {
	n, size := binary.Uvarint(u.b)
	if size <= 0 {
		u.fail(errCutOff)
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) varint() int64 {
	n, size := binary.Varint(u.b)
	if size <= 0 {
		u.fail(errCutOff)
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) text() []byte { return u.take(u.uvarint()) }

func (u *unpacker) nilable() []byte {
	if u.byte() == 0 {
		return nil
	}
	return append([]byte{}, u.text()...)
}

// unpack is the inverse of pack. The bytes must not be changed afterwards.
func unpack(b []byte) (*service.Message, error) {
	if len(b) == 0 || b[0] != packVersion {
		return nil, fmt.Errorf("a kept message has another version than %d: use the build that wrote it, or a newer one", packVersion)
	}
	u := &unpacker{b: b[1:]}
	type pair struct {
		k string
		v any
	}
	var meta []pair
	for n := u.uvarint(); n > 0 && u.err == nil; n-- {
		meta = append(meta, pair{string(u.text()), u.metadata(mostNested)})
	}
	o, content := u.origin(), u.text()
	switch {
	case u.err != nil:
		return nil, u.err
	case len(u.b) > 0:
		return nil, fmt.Errorf("%d bytes follow a kept message", len(u.b))
	}
	m := service.NewMessage(content)
	if o != nil {
		o.Context = m.Context()
		m = m.WithContext(o)
	}
	for _, p := range meta {
		m.MetaSetMut(p.k, p.v)
	}
	return m, nil
}

func (u *unpacker) metadata(depth int) (v any) {
	if depth == 0 {
		u.fail(errNested)
	}
	if u.err != nil {
		return nil
	}
	switch tag := u.byte(); tag {
	case tagNull:
	case tagString:
		return string(u.text())
	case tagBytes:
		return append([]byte{}, u.text()...)
	case tagInt:
		return int(u.varint())
	case tagInt64:
		return u.varint()
	case tagFloat:
		if b := u.take(8); b != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case tagTrue, tagFalse:
		return tag == tagTrue
	case tagList:
		list := []any{}
		for n := u.uvarint(); n > 0 && u.err == nil; n-- {
			list = append(list, u.metadata(depth-1))
		}
		return list
	case tagObject:
		object := map[string]any{}
		for n := u.uvarint(); n > 0 && u.err == nil; n-- {
			object[string(u.text())] = u.metadata(depth - 1)
		}
		return object
	case tagJSON:
		if d := json.NewDecoder(bytes.NewReader(u.text())); u.err == nil {
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				u.fail(fmt.Errorf("reading metadata of a kept message: %w", err))
			}
		}
		return v
	default:
		u.fail(fmt.Errorf("a kept message has metadata of the unknown kind %d", tag))
	}
	return nil
}

// origin returns what is known of the record that the message was made of.
func (u *unpacker) origin() *checkpoint.Origin {
	flags := u.byte()
	if flags&recordThere == 0 {
		return nil
	}
	r := &kgo.Record{Topic: string(u.text()), Partition: int32(u.varint()), Offset: u.varint()}
	r.Timestamp = time.UnixMilli(u.varint())
	r.Key = u.nilable()
	for n := u.uvarint(); n > 0 && u.err == nil; n-- {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(u.text()), Value: u.nilable()})
	}
	if flags&recordTombstone == 0 {
		r.Value = []byte{}
	}
	r.Headers = slices.Clip(r.Headers)
	return &checkpoint.Origin{Record: r, Headers: flags&recordHeaders != 0}
}
