package format_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	public "github.com/tidemarkhq/tidemark/format"
	"github.com/tidemarkhq/tidemark/internal/format"
)

// anything is all that a message can be made of, NaN aside, which is not equal to itself.
func anything() *rapid.Generator[any] {
	odd := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) any { return string(b) })
	return rapid.OneOf(
		scalars(),
		odd,
		rapid.Map(rapid.SliceOf(rapid.Byte()), toAny),
		rapid.Map(rapid.Int(), toAny), rapid.Map(rapid.Int8(), toAny), rapid.Map(rapid.Int16(), toAny),
		rapid.Map(rapid.Int32(), toAny), rapid.Map(rapid.Int64(), toAny),
		rapid.Map(rapid.Uint(), toAny), rapid.Map(rapid.Uint8(), toAny), rapid.Map(rapid.Uint16(), toAny),
		rapid.Map(rapid.Uint32(), toAny), rapid.Map(rapid.Uint64(), toAny),
		rapid.Map(rapid.Float32(), toAny), rapid.Map(rapid.Float64(), toAny),
		rapid.SampledFrom([]any{infinite, math.Inf(1), math.Copysign(0, -1), json.Number("1.50"), json.Number("no number")}),
		rapid.Map(times(), toAny),
	)
}

func times() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		offset := rapid.IntRange(-86399, 86399).Draw(t, "zone")
		if offset == 0 {
			return at.UTC()
		}
		return at.In(time.FixedZone("", offset))
	})
}

func envelopes(t require.TestingT, key public.Format) (format.Reader, format.Writer) {
	rd, err := format.NewEnvelopeReader(key)
	require.NoError(t, err)
	w, err := format.NewEnvelopeWriter(key)
	require.NoError(t, err)
	require.True(t, w.NeedsMetadata())
	return rd, w
}

func TestEnvelopeRoundTrip(t *testing.T) {
	rd, w := envelopes(t, format.NewEnvelopeKey())
	rapid.Check(t, func(t *rapid.T) {
		m := format.Message{
			Content:  documents(anything(), 3).Draw(t, "content"),
			Key:      documents(anything(), 1).Draw(t, "key"),
			KeySet:   true,
			Metadata: rapid.MapOfN(rapid.OneOf(names, rapid.Just("h\xff")), documents(anything(), 1), 0, 4).Draw(t, "metadata"),
		}
		before := fmt.Sprintf("%#v", m)
		r := write(t, w, m)
		require.Equal(t, before, fmt.Sprintf("%#v", m), "writing changes no message")
		require.Equal(t, m.Key == nil, r.Key == nil)
		again := write(t, w, m)
		require.Equal(t, r, again, "equal messages are equal bytes")
		want := m
		if m.Content == nil || len(m.Metadata) == 0 {
			want.Metadata = nil
		}
		got := read(t, rd, r.Key, r.Value)
		require.Equal(t, want, got)
		require.Equal(t, r, write(t, w, got))
	})
}

func TestEnvelopeKeepsWhatIsNotEqual(t *testing.T) {
	rd, w := envelopes(t, nil)
	for _, c := range []struct{ a, b any }{
		{[]byte("x"), "x"}, {[]byte(`{"a":1}`), map[string]any{"a": int64(1)}}, {int64(1), 1}, {int64(1), 1.0},
		{json.Number("1"), int64(1)}, {json.Number("1"), json.Number("1.0")}, {uint64(1), int64(1)}, {[]byte{}, ""},
		{time.Unix(0, 0).UTC(), time.Unix(0, 0).In(time.FixedZone("", 3600))}, {float32(1), 1.0},
	} {
		a, b := write(t, w, format.Message{Content: c.a}), write(t, w, format.Message{Content: c.b})
		assert.NotEqual(t, a.Value, b.Value, "%#v", c)
		assert.Equal(t, c.a, read(t, rd, nil, a.Value).Content)
		assert.Equal(t, c.b, read(t, rd, nil, b.Value).Content)
	}
	got := read(t, rd, nil, write(t, w, format.Message{Content: nan}).Value)
	assert.True(t, math.IsNaN(got.Content.(float64)))
	local := time.Date(2024, 7, 1, 12, 0, 0, 1, time.FixedZone("CEST", 7200))
	at := read(t, rd, nil, write(t, w, format.Message{Content: local}).Value).Content.(time.Time)
	assert.True(t, local.Equal(at))
	assert.Equal(t, local.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano))
}

func TestEnvelopeParts(t *testing.T) {
	rd, w := envelopes(t, nil)
	m := format.Message{Content: []byte{}, Key: "not asked for", KeySet: true, Metadata: map[string]any{"a": 1}}
	r := &format.Record{Key: []byte("its own")}
	require.NoError(t, w.Write(context.Background(), &m, r))
	assert.Equal(t, "its own", string(r.Key))
	assert.Equal(t, format.Message{Content: []byte{}, Metadata: map[string]any{"a": 1}}, read(t, rd, []byte("k"), r.Value))
	r = write(t, w, format.Message{Metadata: m.Metadata})
	assert.Nil(t, r.Value, "a tombstone")
	assert.Equal(t, format.Message{}, read(t, rd, nil, nil))

	rd, w = envelopes(t, format.NewString())
	r = write(t, w, m)
	assert.Equal(t, "not asked for", string(r.Key))
	assert.Equal(t, m, read(t, rd, r.Key, r.Value))
	r = &format.Record{Key: []byte("its own")}
	assert.EqualError(t, w.Write(context.Background(), &format.Message{Content: 1, Key: "\xff", KeySet: true}, r), "encoding the key: not UTF-8 at byte 0")
	assert.Equal(t, &format.Record{Key: []byte("its own")}, r)
	_, err := rd.Read(context.Background(), &format.Record{Key: []byte("\xff")})
	assert.EqualError(t, err, "decoding the key: not UTF-8 at byte 0")

	_, err = format.NewEnvelopeReader(format.NewJSON())
	assert.EqualError(t, err, "key_fields: it is empty, but key_format is json: name the fields of the document that the key holds")
	_, err = format.NewWriter(format.Config{Value: format.NewEnvelopeKey()})
	assert.EqualError(t, err, "format: the format of keys that are envelopes cannot hold the metadata of a message")
}

// golden are messages whose bytes are a contract: pipelines of other versions read them.
func golden() map[string]format.Message {
	return map[string]format.Message{
		"bytes":    {Content: []byte("raw \xff")},
		"empty":    {Content: []byte{}},
		"document": {Content: map[string]any{"b": []any{nil, true, false, "é"}, "a": map[string]any{}, "aa": json.Number("1.50")}},
		"metadata": {Content: "text", Metadata: map[string]any{
			"kafka_partition": 3, "kafka_offset": 42, "kafka_timestamp_ms": int64(1700000000123), "kafka_key": []byte("k"), "h\xff": "v\xff", "late": false, "none": nil,
		}},
		"numbers": {Content: []any{int64(math.MinInt64), int64(0), int64(math.MaxInt64), uint64(math.MaxUint64), -1, 0.1, math.Inf(1), infinite,
			int8(-8), int16(-16), int32(-32), uint(1), uint8(8), uint16(16), uint32(32), float32(0.5), json.Number("-12345678901234567890.000")}},
		"times": {Content: []any{
			time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC),
			time.Date(1883, 11, 18, 12, 3, 58, 1, time.FixedZone("", -17762)),
		}},
	}
}

func TestEnvelopeGolden(t *testing.T) {
	rd, w := envelopes(t, nil)
	text, err := os.ReadFile("testdata/envelope-v1.txt")
	require.NoError(t, err)
	want := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		name, b, ok := strings.Cut(line, " ")
		require.True(t, ok, line)
		want[name] = b
	}
	require.Len(t, want, len(golden()))
	for name, m := range golden() {
		assert.Equal(t, want[name], hex.EncodeToString(write(t, w, m).Value), name)
		b, err := hex.DecodeString(want[name])
		require.NoError(t, err)
		assert.Equal(t, m, read(t, rd, nil, b), name)
	}
}

func TestEnvelopeDecodeErrors(t *testing.T) {
	key := format.NewEnvelopeKey()
	whole := encodes(t, key, map[string]any{"a": int64(1)})
	const noEnvelope, damaged = "no envelope: it does not begin as one does, and only format envelope writes them", "the envelope is damaged: its checksum does not match"
	for i := range len(whole) {
		assert.Equal(t, map[bool]string{true: noEnvelope, false: damaged}[i < 9], decodeError(key, whole[:i]), "cut off after %d bytes", i)
		altered := []byte(whole)
		altered[i] ^= 0x10
		assert.Equal(t, map[bool]string{true: noEnvelope, false: damaged}[i < 4], decodeError(key, string(altered)), "byte %d altered", i)
	}
	assert.Equal(t, damaged, decodeError(key, whole+"x"))
	assert.Equal(t, noEnvelope, decodeError(key, `{"a":1,"b":2}`))

	_, w := envelopes(t, nil)
	assert.Equal(t, "the envelope has metadata, which a key has no place for",
		decodeError(key, string(write(t, w, format.Message{Content: 1, Metadata: map[string]any{"a": 1}}).Value)))
	newer := []byte(whole)
	newer[4] = 9
	assert.Equal(t, "the envelope has version 9, and this build knows version 1: use the build that wrote it", decodeError(key, sealed(newer)))

	deep := strings.Repeat("\x81", 10011) + "\x00"
	for payload, want := range map[string]string{
		"":                               "the envelope cannot be decoded: EOF",
		"\x81\x00":                       "the envelope cannot be decoded: cbor: cannot unmarshal array",
		"\x82\x00\xa0\x00":               "the envelope cannot be decoded: cbor: 1 bytes of extraneous data",
		"\x82\x00\xa2\x61a\x00\x61a\x01": "found duplicate map key",
		"\x82\xa1\x00\x00\xa0":           "the envelope cannot be decoded: cbor: cannot unmarshal positive integer",
		"\x82\x9f\xff\xa0":               "the envelope cannot be decoded: cbor: indefinite-length array isn't allowed",
		"\x82\x9b\x00\x00\x00\x00\x7f\xff\xff\xff\x00\xa0":     "the envelope cannot be decoded: unexpected EOF",
		"\x82\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\xa0":         "exceeded max number of elements",
		"\x82\xd9\x30\x39\x00\xa0":                             "the envelope holds a cbor.Tag, which this build does not know",
		"\x82\xc1\x00\xa0":                                     "the envelope holds a time.Time, which this build does not know",
		"\x82\xc2\x41\x01\xa0":                                 "bignum",
		"\x82\x1b\xff\xff\xff\xff\xff\xff\xff\xff\xa0":         "the envelope cannot be decoded: cbor: cannot unmarshal positive integer",
		"\x82\xd9\xeb\x04\x18\x80\xa0":                         "the envelope cannot be decoded: cbor: cannot unmarshal positive integer",
		"\x82\xd9\xeb\x03\x83\x00\x1a\x3b\x9a\xca\x00\x00\xa0": "the envelope holds a time of 1000000000 ns and 0 s from UTC",
		"\x82\xd9\xeb\x03\x83\x00\x00\x1a\x00\x01\x51\x80\xa0": "the envelope holds a time of 0 ns and 86400 s from UTC",
		"\x82\x00\xa1\x61m\xf7":                                "",
		"\x82\x00\xa1\x61m\xe0":                                `metadata "m": the envelope holds a cbor.SimpleValue, which this build does not know`,
		"\x82" + deep + "\xa0":                                 "exceeded max nested level",
	} {
		got := decodeError(key, string(format.Frame([]byte(payload))))
		if want == "" {
			want = "the envelope has metadata"
		}
		assert.Contains(t, got, want, "%x", payload[:min(len(payload), 20)])
	}
}

// sealed renews the checksum of an envelope.
func sealed(b []byte) string {
	b = b[:len(b)-4]
	return string(binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}

func TestEnvelopeEncodeErrors(t *testing.T) {
	_, w := envelopes(t, nil)
	cycle := map[string]any{}
	cycle["a"] = []any{cycle}
	deep := any(1)
	for range 10000 {
		deep = []any{deep}
	}
	for _, c := range []struct {
		m    format.Message
		want string
	}{
		{format.Message{Content: map[string]any{"a": []any{struct{}{}}}}, `encoding the value: field "a.0" is a struct {}, which an envelope cannot hold: make it one of the types that mappings have`},
		{format.Message{Content: 1, Metadata: map[string]any{"m": map[string]string{}}}, `encoding the value: metadata "m": the document is a map[string]string, which an envelope cannot hold: make it one of the types that mappings have`},
		{format.Message{Content: time.Unix(0, 0).In(time.FixedZone("", 86400))}, "encoding the value: the document is a time that is 86400 s from UTC, and an envelope holds less than a day"},
		{format.Message{Content: cycle}, "encoding the value: the document is nested more than 10000 deep"},
		{format.Message{Content: deep}, ""},
		{format.Message{Content: []any{deep}}, "encoding the value: the document is nested more than 10000 deep"},
	} {
		r := &format.Record{Key: []byte("its own")}
		err := w.Write(context.Background(), &c.m, r)
		assert.Equal(t, c.want, text(err))
		if err != nil {
			assert.Equal(t, &format.Record{Key: []byte("its own")}, r)
		} else {
			rd, _ := envelopes(t, nil)
			assert.Equal(t, c.m, read(t, rd, nil, r.Value), "what is written can be read")
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	rd, w := envelopes(f, nil)
	for _, m := range golden() {
		b := write(f, w, m).Value
		f.Add(b)
		f.Add(b[5 : len(b)-4])
	}
	f.Add([]byte("\x82\x9b\x00\x00\x00\x00\x7f\xff\xff\xff\x00\xa0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, b := range [][]byte{data, format.Frame(data)} {
			kept := bytes.Clone(b)
			m, err := rd.Read(context.Background(), &format.Record{Value: b})
			require.Equal(t, kept, b)
			if err != nil || m.Content == nil {
				continue
			}
			// NaN is not equal to itself, but its bytes are.
			once := write(t, w, m).Value
			require.Equal(t, once, write(t, w, read(t, rd, nil, once)).Value)
		}
	})
}
