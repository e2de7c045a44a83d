package buffer

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// noise is text of any bytes, nil now and then.
func noise(r *rand.Rand) []byte {
	if r.IntN(4) == 0 {
		return nil
	}
	b := make([]byte, r.IntN(20))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// anything is a value of metadata.
func anything(r *rand.Rand, depth int) any {
	switch n := r.IntN(12); {
	case n < 2:
		return string(noise(r))
	case n == 2:
		return int(r.Uint64())
	case n == 3:
		return int64(r.Uint64())
	case n == 4:
		return r.NormFloat64()
	case n == 5:
		return []float64{math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat64}[r.IntN(4)]
	case n == 6:
		return r.IntN(2) == 0
	case n == 7:
		return nil
	case n == 8:
		return append([]byte{}, noise(r)...)
	case depth == 0:
		return "deep"
	case n < 10:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = anything(r, depth-1)
		}
		return list
	}
	object := map[string]any{}
	for range r.IntN(4) {
		object[string(noise(r))] = anything(r, depth-1)
	}
	return object
}

func randomMessage(r *rand.Rand) *service.Message {
	m := service.NewMessage(noise(r))
	if r.IntN(4) > 0 {
		rec := &kgo.Record{
			Topic: string(noise(r)), Partition: r.Int32(), Offset: int64(r.Uint64()), Timestamp: time.UnixMilli(r.Int64N(1 << 45)),
			Key: noise(r), Value: noise(r),
		}
		for range r.IntN(4) {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: string(noise(r)), Value: noise(r)})
		}
		m = m.WithContext(&checkpoint.Origin{Context: m.Context(), Record: rec, Headers: r.IntN(2) == 0})
	}
	for range r.IntN(6) {
		m.MetaSetMut(string(noise(r)), anything(r, 3))
	}
	return m
}

// same compares all of a message that is kept. Of a record's value, which is the content
// before the pipeline changed it, only whether it was a tombstone is.
func same(t testing.TB, want, got *service.Message) {
	t.Helper()
	meta := func(m *service.Message) map[string]any {
		all := map[string]any{}
		require.NoError(t, m.MetaWalkMut(func(k string, v any) error { all[k] = v; return nil }))
		return all
	}
	require.Equal(t, meta(want), meta(got))
	content, err := want.AsBytes()
	require.NoError(t, err)
	unpacked, err := got.AsBytes()
	require.NoError(t, err)
	require.Equal(t, string(content), string(unpacked))
	o, p := checkpoint.OriginOf(want.Context()), checkpoint.OriginOf(got.Context())
	if o == nil {
		require.Nil(t, p)
		return
	}
	require.Equal(t, o.Headers, p.Headers)
	require.Nil(t, p.Entry, "it is in no ledger yet")
	a, b := *o.Record.(*kgo.Record), *p.Record.(*kgo.Record)
	require.Equal(t, a.Value == nil, b.Value == nil, "a tombstone stays one")
	a.Value, b.Value = nil, nil
	require.Equal(t, a, b)
}

func TestPackedMessagesComeBack(t *testing.T) {
	r := kafkatest.Random(t)
	for range 2000 {
		m := randomMessage(r)
		b, err := pack(m)
		require.NoError(t, err)
		got, err := unpack(b)
		require.NoError(t, err)
		same(t, m, got)
		again, err := pack(got)
		require.NoError(t, err)
		require.Len(t, again, len(b), "and once more")
	}
}

// An origin without a record is of a message that a processor made.
func TestPackWithoutARecord(t *testing.T) {
	m := service.NewMessage([]byte("x"))
	m = m.WithContext(&checkpoint.Origin{Context: m.Context()})
	b, err := pack(m)
	require.NoError(t, err)
	got, err := unpack(b)
	require.NoError(t, err)
	require.Nil(t, checkpoint.OriginOf(got.Context()))
}

// Structured content is kept as its JSON; what JSON cannot hold is said of the message.
func TestPackOfStructuredMessages(t *testing.T) {
	m := service.NewMessage(nil)
	m.SetStructured(map[string]any{"n": 1})
	b, err := pack(m)
	require.NoError(t, err)
	got, err := unpack(b)
	require.NoError(t, err)
	content, err := got.AsBytes()
	require.NoError(t, err)
	require.JSONEq(t, `{"n":1}`, string(content))

	for name, v := range map[string]any{"a channel": make(chan int), "a large number": json.Number("nonsense")} {
		m := service.NewMessage([]byte("x"))
		m.MetaSetMut("m", []any{v})
		_, err = pack(m)
		var own *messageError
		require.ErrorAs(t, err, &own, name)
		require.ErrorContains(t, err, "keeping its metadata")
	}
	var deep any = "bottom"
	for range mostNested + 1 {
		deep = []any{deep}
	}
	m.MetaSetMut("deep", deep)
	_, err = pack(m)
	require.ErrorIs(t, err, errNested)
}

// Metadata of other kinds come back as JSON has them, with all of their digits.
func TestPackOfOtherMetadata(t *testing.T) {
	m := service.NewMessage(nil)
	m.MetaSetMut("n", json.Number("12345678901234567890"))
	m.MetaSetMut("t", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	b, err := pack(m)
	require.NoError(t, err)
	got, err := unpack(b)
	require.NoError(t, err)
	n, _ := got.MetaGetMut("n")
	require.Equal(t, json.Number("12345678901234567890"), n)
	at, _ := got.MetaGetMut("t")
	require.Equal(t, "2026-01-02T03:04:05.000006Z", at)
}

// one has one of everything that version 1 knows, but one metadatum only, because a
// message has them in no order.
func one() *service.Message {
	m := service.NewMessage([]byte("content"))
	m = m.WithContext(&checkpoint.Origin{Context: m.Context(), Headers: true, Record: &kgo.Record{
		Topic: "in", Partition: 3, Offset: 1000, Timestamp: time.UnixMilli(1_700_000_000_000), Key: []byte("k"),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "nil"}},
	}})
	m.MetaSetMut("m", []any{nil, "s", []byte("b"), 1, int64(-1), 0.5, true, false, map[string]any{"k": []any{}}, json.Number("7")})
	return m
}

// What version 1 looks like must not change: it is on users' disks.
func TestPackVersion1(t *testing.T) {
	b, err := pack(one())
	require.NoError(t, err)
	const golden = "0101016d080a0001017302016203020401053fe000000000000006070901016b08000a0137" +
		"0702696e06d00f80a0abfef96201016b020168010176036e696c0007636f6e74656e74"
	require.Equal(t, golden, hex.EncodeToString(b))
}

// Bytes that are cut off, followed by others or of another version are errors.
func TestPackDamagedIsNamed(t *testing.T) {
	whole, err := pack(one())
	require.NoError(t, err)
	for n := range len(whole) {
		_, err := unpack(whole[:n])
		require.Error(t, err, "%d bytes", n)
	}
	_, err = unpack(append(append([]byte{}, whole...), 'x'))
	require.ErrorContains(t, err, "1 bytes follow")
	for _, v := range []byte{0, 2, 255} {
		_, err := unpack(append([]byte{v}, whole[1:]...))
		require.ErrorContains(t, err, "another version than 1")
	}
	_, err = unpack(nil)
	require.ErrorContains(t, err, "another version than 1")
	_, err = unpack([]byte{packVersion, 1, 0, 200, 0, 0})
	require.ErrorContains(t, err, "unknown kind 200")
}

// Whatever the bytes are, reading them ends, and takes not much more room than they do.
func TestPackCorrupted(t *testing.T) {
	r := kafkatest.Random(t)
	var before, after runtime.MemStats
	for range 4000 {
		b, err := pack(randomMessage(r))
		require.NoError(t, err)
		for range 1 + r.IntN(4) {
			i := 1 + r.IntN(len(b)-1)
			switch r.IntN(3) {
			case 0:
				b[i] = byte(r.Uint32())
			case 1:
				b[i] = 0xff // a number that goes on
			default:
				b = append(b[:i:i], append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, b[i:]...)...)
			}
		}
		_, _ = unpack(b)
	}
	// A list in a list in a list, with as many elements as a number can say.
	var nested []byte
	nested = append(nested, packVersion, 1, 0)
	for range 1 << 20 {
		nested = append(nested, tagList, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	}
	runtime.ReadMemStats(&before)
	_, err := unpack(nested)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, errNested)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), fmt.Sprint(err))
}
