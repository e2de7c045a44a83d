package buffer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
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
//	   content have their length in front.
const packVersion = 1

// The tags of metadata.
const (
	tagString = iota
	tagInt
	tagFloat
	tagTrue
	tagFalse
	tagJSON // whatever else there is, null too
)

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
		b, err = appendMetadata(appendText(b, k), v)
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
	return append(b, content...), nil
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

func appendMetadata(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendText(append(b, tagString), v), nil
	case int:
		return binary.AppendVarint(append(b, tagInt), int64(v)), nil
	case int64:
		return binary.AppendVarint(append(b, tagInt), v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat), math.Float64bits(v)), nil
	case bool:
		if v {
			return append(b, tagTrue), nil
		}
		return append(b, tagFalse), nil
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

var errCutOff = errors.New("a kept message was cut off")

// unpacker reads until something is missing.
type unpacker struct {
	b   []byte
	err error
}

func (u *unpacker) take(n uint64) []byte {
	if n > uint64(len(u.b)) {
		u.b, u.err = nil, errCutOff
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
		u.b, u.err = nil, errCutOff
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) varint() int64 {
	n, size := binary.Varint(u.b)
	if size <= 0 {
		u.b, u.err = nil, errCutOff
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
		meta = append(meta, pair{string(u.text()), u.metadata()})
	}
	o := u.origin()
	if u.err != nil {
		return nil, u.err
	}
	m := service.NewMessage(u.b)
	if o != nil {
		o.Context = m.Context()
		m = m.WithContext(o)
	}
	for _, p := range meta {
		m.MetaSetMut(p.k, p.v)
	}
	return m, nil
}

func (u *unpacker) metadata() (v any) {
	switch tag := u.byte(); tag {
	case tagString:
		return string(u.text())
	case tagInt:
		return u.varint()
	case tagFloat:
		if b := u.take(8); b != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case tagTrue, tagFalse:
		return tag == tagTrue
	case tagJSON:
		if b := u.text(); u.err == nil {
			u.err = json.Unmarshal(b, &v)
		}
		return v
	default:
		u.err = fmt.Errorf("a kept message has metadata of the unknown kind %d", tag)
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
