package input

import (
	"fmt"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func TestMessagesBringNoTrace(t *testing.T) {
	origin := &checkpoint.Origin{Context: rootless}
	ctx, span := noop.NewTracerProvider().Tracer("").Start(origin, "input")
	require.Same(t, origin, ctx, "without a tracer no context is made")
	require.False(t, span.IsRecording())
	require.False(t, trace.SpanContextFromContext(origin).IsValid(), "a tracer begins a new trace")
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(origin, carrier)
	require.Empty(t, carrier, "nothing is passed on")
}

func TestKeysOfABatchStayApart(t *testing.T) {
	keys := []any{"a", nil, "", "bcd", "e"}
	rs := make([]*kgo.Record, len(keys))
	msgs := make(service.MessageBatch, len(keys))
	for i, k := range keys {
		rs[i] = &kgo.Record{Topic: "t", Offset: int64(i)}
		if k != nil {
			rs[i].Key = fmt.Append([]byte{}, k)
		}
		msgs[i] = service.NewMessage(nil)
	}
	metadataSelection{key: true}.set(msgs, rs)
	for i, m := range msgs {
		got, _ := m.MetaGetMut(metaKey)
		require.Equal(t, keys[i], got)
	}
}
