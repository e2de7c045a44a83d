package output

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// source is a record as an input hands it on.
func source() *kgo.Record {
	return &kgo.Record{
		Topic: "in", Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(1_234_567),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{0xff, 0}}, {Key: "n"}},
	}
}

// exposed gives a message the metadata that the input sets for its headers.
func exposed(m *service.Message, r *kgo.Record) {
	for _, h := range r.Headers {
		m.MetaSetMut(h.Key, string(h.Value))
	}
}

func TestRecordOfASourceRecord(t *testing.T) {
	h := func(kv ...string) (hs []kgo.RecordHeader) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, kgo.RecordHeader{Key: kv[i], Value: []byte(kv[i+1])})
		}
		return hs
	}
	for name, tc := range map[string]struct {
		yaml   string
		change func(r *kgo.Record)
		pipe   func(m *service.Message)
		want   func(r *kgo.Record)
	}{
		"as it was": {},
		"event time that metadata do not say": {
			pipe: func(m *service.Message) {
				checkpoint.OriginOf(m.Context()).SetEventTime(checkpoint.EventTime{At: 99, Known: true})
			},
			want: func(r *kgo.Record) { r.Timestamp = time.UnixMilli(99) },
		},
		"none of its own": {
			pipe: func(m *service.Message) { checkpoint.OriginOf(m.Context()).SetEventTime(checkpoint.EventTime{}) },
		},
		"absent key":   {change: func(r *kgo.Record) { r.Key = nil }},
		"empty key":    {change: func(r *kgo.Record) { r.Key = []byte{} }},
		"empty value":  {change: func(r *kgo.Record) { r.Value = []byte{} }},
		"tombstone":    {change: func(r *kgo.Record) { r.Value = nil }},
		"no headers":   {change: func(r *kgo.Record) { r.Headers = nil }},
		"key replaced": {yaml: "key: ${! content() }-key", want: func(r *kgo.Record) { r.Key = []byte("v-key") }},
		"key constant": {yaml: "key: c", want: func(r *kgo.Record) { r.Key = []byte("c") }},
		"literal empty key is none": {
			yaml: `key: ""`, want: func(r *kgo.Record) { r.Key = nil },
		},
		"expression that yields empty is an empty key": {
			yaml: `key: ${! "" }`, want: func(r *kgo.Record) { r.Key = []byte{} },
		},
		"tombstone by metadata": {
			pipe: func(m *service.Message) { m.SetBytes(nil); m.MetaSetMut(metaTombstone, true) },
			want: func(r *kgo.Record) { r.Value = nil },
		},
		"tombstone by text": {
			pipe: func(m *service.Message) { m.SetBytes(nil); m.MetaSetMut(metaTombstone, "true") },
			want: func(r *kgo.Record) { r.Value = nil },
		},
		"a value beats the tombstone flag": {
			pipe: func(m *service.Message) { m.MetaSetMut(metaTombstone, true) },
		},
		"a tombstone made empty": {
			change: func(r *kgo.Record) { r.Value = nil },
			pipe:   func(m *service.Message) { m.MetaSetMut(metaTombstone, false) },
			want:   func(r *kgo.Record) { r.Value = []byte{} },
		},
		"header changed": {
			pipe: func(m *service.Message) { m.MetaSetMut("a", "2"); m.MetaSetMut("n", int64(3)) },
			want: func(r *kgo.Record) { r.Headers = h("a", "2", "b", "\xff\x00", "n", "3") },
		},
		"header to bytes": {
			pipe: func(m *service.Message) { m.MetaSetMut("b", []byte{1, 2}) },
			want: func(r *kgo.Record) { r.Headers[1].Value = []byte{1, 2} },
		},
		"header to null": {
			pipe: func(m *service.Message) { m.MetaSetMut("a", nil) },
			want: func(r *kgo.Record) { r.Headers[0].Value = nil },
		},
		"unknown metadata is no header": {
			pipe: func(m *service.Message) { m.MetaSetMut("other", "x") },
		},
		"same name twice": {
			change: func(r *kgo.Record) { r.Headers = h("x", "1", "y", "2", "x", "3") },
		},
		"same name twice, changed": {
			change: func(r *kgo.Record) { r.Headers = h("x", "1", "y", "2", "x", "3") },
			pipe:   func(m *service.Message) { m.MetaSetMut("x", "4") },
			want:   func(r *kgo.Record) { r.Headers = h("x", "4", "y", "2") },
		},
		"same name twice, as a list": {
			change: func(r *kgo.Record) { r.Headers = h("x", "1", "y", "2", "x", "3") },
			pipe:   func(m *service.Message) { m.MetaSetMut("x", []any{"1", "3"}) },
		},
		"same name twice, list changed": {
			change: func(r *kgo.Record) { r.Headers = h("x", "1", "y", "2", "x", "3") },
			pipe:   func(m *service.Message) { m.MetaSetMut("x", []any{"1", "4", "5"}) },
			want:   func(r *kgo.Record) { r.Headers = h("x", "1", "x", "4", "x", "5", "y", "2") },
		},
		"header that is called like our metadata": {
			change: func(r *kgo.Record) { r.Headers = h("kafka_topic", "elsewhere") },
			pipe:   func(m *service.Message) { m.MetaSetMut("kafka_topic", "in") },
		},
		"headers by filter": {
			yaml: "metadata: { include_patterns: [ '^(b|o.*|n)$' ] }",
			pipe: func(m *service.Message) { m.MetaSetMut("other", 7) },
			want: func(r *kgo.Record) {
				r.Headers = h("b", "\xff\x00", "n", "", "other", "7")
			},
		},
		"headers switched off": {
			yaml: "metadata: { include_patterns: [ '^$' ] }", want: func(r *kgo.Record) { r.Headers = nil },
		},
		"event time": {
			pipe: func(m *service.Message) { m.MetaSetMut(metaEventTime, int64(99)) },
			want: func(r *kgo.Record) { r.Timestamp = time.UnixMilli(99) },
		},
		"timestamp_ms": {
			yaml: "timestamp_ms: ${! 5000 + 1 }",
			pipe: func(m *service.Message) { m.MetaSetMut(metaEventTime, int64(99)) },
			want: func(r *kgo.Record) { r.Timestamp = time.UnixMilli(5001) },
		},
		"timestamp in seconds": {
			yaml: "timestamp: ${! 5 }", want: func(r *kgo.Record) { r.Timestamp = time.UnixMilli(5000) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Fake(t)
			topic := kafkatest.Topic(t, c, 1)
			s := newStream("a", true)
			o := open(t, c, s, "topic: "+topic+"\n"+tc.yaml)
			r, want := source(), source()
			if tc.change != nil {
				tc.change(r)
				tc.change(want)
			}
			batch, _ := s.batch(0, r)
			exposed(batch[0], r)
			if tc.pipe != nil {
				tc.pipe(batch[0])
			}
			if tc.want != nil {
				tc.want(want)
			}
			require.NoError(t, o.WriteBatch(t.Context(), batch))
			s.sink.Rotate(1)
			require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
			requireRecord(t, want, kafkatest.ReadCommitted(t, c, topic)[0][0])
		})
	}
}

func requireRecord(t *testing.T, want, got *kgo.Record) {
	t.Helper()
	require.Equal(t, want.Key, got.Key, "key, absent and empty being two things")
	require.Equal(t, want.Value, got.Value, "value, null and empty being two things")
	require.Equal(t, want.Timestamp.UnixMilli(), got.Timestamp.UnixMilli())
	require.Len(t, got.Headers, len(want.Headers))
	for i := range want.Headers {
		require.Equal(t, want.Headers[i].Key, got.Headers[i].Key)
		require.Equal(t, want.Headers[i].Value, got.Headers[i].Value, want.Headers[i].Key)
	}
}

func TestSourceRecordIsNotChanged(t *testing.T) {
	c := kafkatest.Fake(t)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1))
	r := source()
	batch, _ := s.batch(0, r)
	batch[0].MetaSetMut("a", "changed")
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	requireRecord(t, source(), r)
	require.Equal(t, "in", r.Topic, "another output of a fan-out reads it at the same time")
}

func TestRecordOfAForeignMessage(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	o := open(t, c, newStream("a", true), "topic: "+topic)
	batch := foreign("plain", "keyed", "")
	batch[1].MetaSetMut(metaKey, "k")
	batch[1].MetaSetMut(metaTimestamp, int64(4321))
	batch[1].MetaSetMut("a", "no header")
	batch[2].MetaSetMut(metaKey, nil)
	batch[2].MetaSetMut(metaTimestamp, "4322")
	before := time.Now().Truncate(time.Millisecond)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	got := kafkatest.ReadCommitted(t, c, topic)[0]
	require.Nil(t, got[0].Key)
	require.WithinRange(t, got[0].Timestamp, before, time.Now())
	requireRecord(t, &kgo.Record{Key: []byte("k"), Value: []byte("keyed"), Timestamp: time.UnixMilli(4321)}, got[1])
	requireRecord(t, &kgo.Record{Value: []byte{}, Timestamp: time.UnixMilli(4322)}, got[2])
}

func TestRH03_HeadersComputedPerRecord(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\nmetadata: { include_prefixes: [ x- ] }")
	batch, _ := s.batch(0, numbered(0, 50)...)
	for i, m := range batch {
		m.MetaSetMut("x-n", []byte{0, byte(i), 0xff})
	}
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	for i, r := range kafkatest.ReadCommitted(t, c, topic)[0] {
		require.Equal(t, []kgo.RecordHeader{{Key: "x-n", Value: []byte{0, byte(i), 0xff}}}, r.Headers)
	}
}

func TestSD06_EveryRecordKeepsItsOwnContent(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\nlinger: 1s\nkey: ${! content() }-key")
	var want []string
	for i := range 20 {
		batch, _ := s.batch(i*10, numbered(i*10, 10)...)
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		for j := range batch {
			want = append(want, fmt.Sprintf("v%d", i*10+j))
		}
	}
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	rs := kafkatest.ReadCommitted(t, c, topic)[0]
	require.Equal(t, want, values(rs))
	for _, r := range rs {
		require.Equal(t, string(r.Value)+"-key", string(r.Key))
	}
}

// The client rejects what does not fit after it was acknowledged, so our own size
// must never be less than the client's.
func TestWireSizeIsTheClients(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\nmax_message_bytes: 2000\nflush: on_ack")
	accepted := 0
	for range 400 {
		r := &kgo.Record{Value: bytes.Repeat([]byte{'v'}, 1500+rng.IntN(300)), Key: bytes.Repeat([]byte{'k'}, rng.IntN(200))}
		for range rng.IntN(4) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "header", Value: bytes.Repeat([]byte{'h'}, rng.IntN(100))})
		}
		batch, _ := s.batch(0, r)
		err := o.WriteBatch(t.Context(), batch)
		if size := wireSize(r); size <= 2000 {
			require.NoError(t, err, "size %d", size)
			accepted++
		} else {
			require.ErrorContains(t, err, "max_message_bytes allows 2000")
		}
	}
	require.NotZero(t, accepted)
}
