package processor

import (
	"context"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// passing passes messages through a processor, and returns what it lets go on.
func passing(t *testing.T, yaml string, batch ...*service.Message) service.MessageBatch {
	t.Helper()
	conf, err := read(t, NamePeriodic, yaml)
	require.NoError(t, err)
	a, err := newAssigner(conf, service.MockResources())
	require.NoError(t, err)
	out, err := a.ProcessBatch(t.Context(), batch)
	require.NoError(t, err)
	require.Len(t, out, 1)
	return out[0]
}

func timeIn(m *service.Message) checkpoint.EventTime {
	return checkpoint.OriginOf(m.Context()).EventTime()
}

// names are the metadata of a message.
func names(t *testing.T, m *service.Message) string {
	t.Helper()
	var all []string
	for _, name := range []string{metaEventTime, metaWatermark, metaLate} {
		if _, ok := m.MetaGetMut(name); ok {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

func at(ms, reached int64) checkpoint.EventTime {
	return checkpoint.EventTime{At: ms, Known: true, Watermark: upTo(reached)}
}

func TestWhatMetadataDoNotSayIsSaidOtherwise(t *testing.T) {
	for selection, want := range map[string]struct {
		metadata string
		known    checkpoint.EventTime
	}{
		"[]":                              {metadata: "event_time_ms watermark_ms late"},
		"[ none ]":                        {known: at(70, 70)},
		"[ late ]":                        {metadata: "late", known: at(70, 70)},
		"[ watermark_ms ]":                {metadata: "watermark_ms", known: at(70, 70)},
		"[ event_time_ms ]":               {metadata: "event_time_ms", known: at(70, 70)},
		"[ watermark_ms, event_time_ms ]": {metadata: "event_time_ms watermark_ms", known: at(70, 70)},
	} {
		o := &checkpoint.Origin{Context: t.Context(), Entry: entry(checkpoint.Partition{})}
		out := passing(t, "timestamp: this.t\nmetadata: "+selection, service.NewMessageWithContext(o, []byte(`{"t":70}`)))
		require.Equal(t, want.metadata, names(t, out[0]), selection)
		require.Equal(t, want.known, timeIn(out[0]), selection)
	}
}

// Several messages that a pipeline makes of one record have a time each, and one that has
// none does not get another's.
func TestMessagesOfOneRecordHaveTheirOwnTimes(t *testing.T) {
	type key struct{}
	o := &checkpoint.Origin{Context: t.Context(), Entry: entry(checkpoint.Partition{}), Offset: 7, Headers: true, Record: "record"}
	var batch service.MessageBatch
	for _, doc := range []string{`{}`, `{"t":50}`, `{"t":70}`, `{}`, `{"t":60}`} {
		batch = append(batch, service.NewMessageWithContext(context.WithValue(o, key{}, doc), []byte(doc)))
	}
	out := passing(t, "timestamp: this.t\nmetadata: [ none ]", batch...)
	require.Len(t, out, 5)
	for i, want := range []checkpoint.EventTime{{}, at(50, 50), at(70, 70), {}, at(60, 70)} {
		require.Equal(t, want, timeIn(out[i]), i)
		require.Equal(t, want.Known, out[i].GetError() == nil, i)
		is := checkpoint.OriginOf(out[i].Context())
		require.Equal(t, []any{o.Entry, o.Offset, true, "record"}, []any{is.Entry, is.Offset, is.Headers, is.Record}, i)
		doc, err := out[i].AsBytes()
		require.NoError(t, err)
		require.Equal(t, string(doc), out[i].Context().Value(key{}), "what others have put into the context stays there")
	}
}

// Of two processors the last one counts, whatever the first one has said and where.
func TestTheLastAssignerCounts(t *testing.T) {
	for _, first := range []string{"[]", "[ none ]", "[ late ]"} {
		for _, second := range []string{"[]", "[ none ]", "[ event_time_ms ]"} {
			o := &checkpoint.Origin{Context: t.Context(), Entry: entry(checkpoint.Partition{})}
			out := passing(t, "timestamp: this.a\nmetadata: "+first, service.NewMessageWithContext(o, []byte(`{"a":1,"b":2}`)))
			out = passing(t, "timestamp: this.b\nmetadata: "+second, out...)
			if v, ok := out[0].MetaGetMut(metaEventTime); ok {
				require.Equal(t, int64(2), v)
			} else {
				require.Equal(t, at(2, 2), timeIn(out[0]))
			}
			require.Equal(t, second == "[]", strings.Contains(names(t, out[0]), metaLate))
		}
	}
}

// Another input's messages have no place but metadata.
func TestMessagesWithoutAnOriginHaveOnlyMetadata(t *testing.T) {
	m := service.NewMessage([]byte(`{"t":70}`))
	m.MetaSetMut(metaLate, "old")
	out := passing(t, "timestamp: this.t\nmetadata: [ event_time_ms ]", m)
	require.Equal(t, "event_time_ms", names(t, out[0]))
}
