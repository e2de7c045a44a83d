package buffer

import (
	"errors"
	"math"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/window"
)

const counted = tumbling + "aggregate: { a: { sum: this.a }, b: { first: this.b } }\n"

var (
	wholeProcess  = checkpoint.Scope{}
	onePartition  = checkpoint.Scope{Source: "input", Topic: "in", ID: 7}
	tenToTwenty   = window.Span{Start: 10_000, End: 20_000}
	errFoldResult = errors.New("emit: no")
)

// fired makes messages of a window that fires.
func fired(t testing.TB, conf string, scope checkpoint.Scope, r window.Result) service.MessageBatch {
	t.Helper()
	c, err := built(t, conf)
	require.NoError(t, err)
	batch, err := c.result(scope, r)
	require.NoError(t, err)
	return batch
}

// metadata returns all of a message's.
func metadata(t testing.TB, m *service.Message) map[string]any {
	t.Helper()
	all := map[string]any{}
	require.NoError(t, m.MetaWalkMut(func(k string, v any) error { all[k] = v; return nil }))
	return all
}

func content(t testing.TB, m *service.Message) string {
	t.Helper()
	b, err := m.AsBytes()
	require.NoError(t, err)
	return string(b)
}

func TestMetadataOfResults(t *testing.T) {
	r := window.Result{Key: "k", Span: tenToTwenty, Values: []any{int64(1), "x"}}
	again := r
	again.Again = true
	times := map[string]any{"event_time_ms": int64(19_999), "window_start_ms": int64(10_000), "window_end_ms": int64(20_000)}
	with := func(more map[string]any) map[string]any {
		for k, v := range times {
			more[k] = v
		}
		return more
	}
	for name, tc := range map[string]struct {
		conf  string
		scope checkpoint.Scope
		r     window.Result
		want  map[string]any
	}{
		"no key":         {counted, wholeProcess, r, map[string]any{}},
		"key":            {counted + "key: this.k", wholeProcess, r, map[string]any{"window_key": "k", "kafka_key": "k"}},
		"partition":      {counted, onePartition, r, map[string]any{"kafka_topic": "in", "kafka_partition": int64(7)}},
		"key, partition": {counted + "key: this.k", onePartition, r, map[string]any{"window_key": "k", "kafka_key": "k", "kafka_topic": "in", "kafka_partition": int64(7)}},
		"again":          {counted, wholeProcess, again, map[string]any{"window_again": true}},
	} {
		batch := fired(t, tc.conf, tc.scope, tc.r)
		require.Len(t, batch, 1, name)
		require.Equal(t, with(tc.want), metadata(t, batch[0]), name)
		require.JSONEq(t, `{"a":1,"b":"x"}`, content(t, batch[0]), name)
		require.NoError(t, batch[0].GetError(), name)
		require.Nil(t, checkpoint.OriginOf(batch[0].Context()), name)
	}
}

// What is no number of JSON, or could not be computed, is said of the message: an error
// would end in a rewind, and come again.
func TestFailedResults(t *testing.T) {
	for name, tc := range map[string]struct {
		r    window.Result
		want string
		says []string
	}{
		"NaN":        {window.Result{Values: []any{math.NaN(), "x"}}, `{"a":null,"b":"x"}`, []string{`"a" is NaN, which is no number of JSON`}},
		"infinite":   {window.Result{Values: []any{math.Inf(-1), math.Inf(1)}}, `{"a":null,"b":null}`, []string{`"a" is -Inf`, `"b" is +Inf`}},
		"within":     {window.Result{Values: []any{int64(1), []any{math.NaN()}}}, `{}`, []string{"unsupported value: NaN"}},
		"fold fails": {window.Result{Values: []any{int64(1), nil}, Err: errFoldResult}, `{"a":1,"b":null}`, []string{"emit: no"}},
	} {
		tc.r.Key, tc.r.Span = "k", tenToTwenty
		batch := fired(t, counted+"key: this.k", onePartition, tc.r)
		require.Len(t, batch, 1, name)
		require.Equal(t, tc.want, content(t, batch[0]), name)
		require.ErrorContains(t, batch[0].GetError(), `the result of key "k" in window [10000, 20000)`, name)
		for _, s := range tc.says {
			require.ErrorContains(t, batch[0].GetError(), s, name)
		}
		require.Equal(t, "k", metadata(t, batch[0])["window_key"], "whose it is can be seen all the same")
		require.Equal(t, int64(19_999), metadata(t, batch[0])["event_time_ms"])
	}
}

// Messages leave as they came, in their order, with what is known of their records.
func TestMessagesOfAWindow(t *testing.T) {
	var bodies [][]byte
	for _, v := range []string{"x", "y"} {
		m := service.NewMessage([]byte(v))
		m.MetaSetMut("kafka_key", "own "+v)
		m.MetaSetMut("event_time_ms", int64(12_345))
		m.MetaSetMut("kafka_topic", "own")
		b, err := pack(m.WithContext(&checkpoint.Origin{Context: m.Context(), Record: &kgo.Record{Key: []byte("own " + v)}}))
		require.NoError(t, err)
		bodies = append(bodies, b)
	}
	r := window.Result{Key: "k", Span: tenToTwenty, Bodies: bodies}
	batch := fired(t, tumbling+"key: this.k", onePartition, r)
	require.Len(t, batch, 2)
	for i, v := range []string{"x", "y"} {
		require.Equal(t, v, content(t, batch[i]))
		require.Equal(t, map[string]any{
			"kafka_key": "own " + v, "kafka_topic": "own", "event_time_ms": int64(12_345),
			"window_start_ms": int64(10_000), "window_end_ms": int64(20_000), "window_key": "k",
		}, metadata(t, batch[i]))
		require.Equal(t, "own "+v, string(checkpoint.OriginOf(batch[i].Context()).Record.(*kgo.Record).Key))
	}
	r.Again = true
	for _, m := range fired(t, tumbling, wholeProcess, r) {
		require.Equal(t, true, metadata(t, m)["window_again"])
		require.NotContains(t, metadata(t, m), "window_key")
	}

	c, err := built(t, tumbling)
	require.NoError(t, err)
	_, err = c.result(wholeProcess, window.Result{Key: "k", Span: tenToTwenty, Bodies: [][]byte{bodies[0][:5]}})
	require.ErrorContains(t, err, `reading a message of key "k" in window [10000, 20000)`, "a message must not be left out in silence")
}

// Keys are told apart by what they are written as.
func TestKeys(t *testing.T) {
	for doc, want := range map[string]string{
		`{"k":"text"}`: "text", `{"k":""}`: "", `{"k":-5}`: "-5", `{"k":12345678901234567890}`: "12345678901234567890",
		`{"k":0.5}`: "0.5", `{"k":true}`: "true", `{"k":["a",1]}`: `["a",1]`, `{"k":{"b":1,"a":2}}`: `{"a":2,"b":1}`, `{"k":"\u00e4"}`: "ä",
	} {
		key, err := keyOf(t, "this.k", doc)
		require.NoError(t, err, doc)
		require.Equal(t, want, key, doc)
	}
	key, err := keyOf(t, `"ff00".decode("hex")`, "{}")
	require.NoError(t, err)
	require.Equal(t, "\xff\x00", key, "of any bytes")
	for mapping, says := range map[string]string{
		"this.k":                  "the message has no key: the mapping of key returns null",
		"null":                    "returns null",
		`throw("no")`:             "the key of the message: ",
		"deleted()":               "the key of the message: the mapping returns nothing",
		`"NaN".number()`:          "the key of the message: ",
		"this.a.b.c.uppercase()":  "the key of the message: ",
		"if false { this }":       "the mapping returns nothing",
		"this.k.not_null()":       "the key of the message: ",
		"this.k.number() + \"x\"": "the key of the message: ",
	} {
		_, err := keyOf(t, mapping, `{"x":1}`)
		var own *messageError
		require.ErrorAs(t, err, &own, mapping)
		require.ErrorContains(t, err, says, mapping)
	}
}

func keyOf(t testing.TB, mapping, doc string) (string, error) {
	t.Helper()
	c, err := built(t, tumbling+"key: '"+mapping+"'")
	require.NoError(t, err)
	m := service.NewMessage([]byte(doc))
	m.MetaSetMut(metaEventTime, int64(1))
	_, key, _, err := c.ask(service.MessageBatch{m}).record(0, &checkpoint.Origin{})
	return string(key), err
}
