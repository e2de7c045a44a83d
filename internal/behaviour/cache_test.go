package behaviour

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// deduped is a copy in which a record whose value was seen is dropped.
func deduped(t testing.TB, in, out, input, cache, extra string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
    checkpoint: { store: { directory: %q }, job: d }
    %s
  %s
pipeline:
  processors:
    - dedupe: { cache: seen, key: '${! content() }' }
cache_resources:
  - label: seen
    checkpointed: %s
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
`, in, t.TempDir(), input, extra, cache, out)
}

// The contents are there before the first record after a restart.
func TestCacheIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		yaml := deduped(t, in, out, "", "{}", "")
		produce(t, e, in, "a", "b", "a")
		s := start(t, e, yaml)
		awaitValues(t, e, out, "a", "b")
		require.NoError(t, s.stop())

		produce(t, e, in, "b", "c", "a")
		s = start(t, e, yaml)
		awaitValues(t, e, out, "a", "b", "c")
		time.Sleep(3 * time.Second) // virtual
		require.NoError(t, s.stop())
		require.Equal(t, [][]string{{"a", "b", "c"}}, values(t, e, out))
	})
}

// In a topic, too, whether the process before was stopped or died.
func TestCacheIsRestoredFromATopic(t *testing.T) {
	for name, delivery := range map[string]string{"at least once": "", "exactly once": exactly} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				yaml := regexp.MustCompile(`store: {[^}]*}`).ReplaceAllString(deduped(t, in, out, "", "{}", ""),
					fmt.Sprintf("store: { topic: %s, partitions: 4 }", kafkatest.Unique(t))) + delivery
				env := environment(t, e)
				var want []string
				for i := range 4 {
					p := kafkatest.NewProxy(t, e)
					s := startIn(t, env, p, yaml)
					produce(t, e, in, "a", "b", fmt.Sprint(i), "a")
					if i == 0 {
						want = append(want, "a", "b")
					}
					want = append(want, fmt.Sprint(i))
					awaitValues(t, e, out, want...)
					time.Sleep(3 * time.Second) // virtual: what follows is in a checkpoint
					if i%2 == 0 {
						p.Down()
					}
					_ = s.stop()
				}
				require.Equal(t, [][]string{want}, values(t, e, out))
			})
		})
	}
}

func awaitValues(t testing.TB, e kafkatest.Endpoint, topic string, want ...string) {
	t.Helper()
	kafkatest.Until(t, patience, func() error {
		if got := values(t, e, topic)[0]; len(got) < len(want) {
			return fmt.Errorf("only %v", got)
		}
		return nil
	})
	require.Equal(t, want, values(t, e, topic)[0])
}

// A rejected message makes the stream go back, and what was noted about it with it: it is
// not taken for seen when it comes again.
func TestCacheGoesBackWithTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		produce(t, e, in, "a", "b", "c")
		env := environment(t, e)
		var failures atomic.Int32
		failing(func() bool { return failures.CompareAndSwap(0, 1) }).register(t, env, "once")
		yaml := strings.Replace(deduped(t, in, out, "", "{}", ""), "cache_resources:", "    - once: {}\ncache_resources:", 1)
		head, tail, _ := strings.Cut(yaml, "output:\n")
		startIn(t, env, e, head+"output:\n  reject_errored:\n  "+strings.ReplaceAll(tail, "\n", "\n  "))
		awaitValues(t, e, out, "a", "b", "c")
		require.EqualValues(t, 1, failures.Load())
	})
}

// failing is a processor that fails the batches for which it returns true.
type failing func() bool

func (f failing) ProcessBatch(_ context.Context, b service.MessageBatch) ([]service.MessageBatch, error) {
	if f() {
		for _, m := range b {
			m.SetError(errors.New("for once"))
		}
	}
	return []service.MessageBatch{b}, nil
}
func (failing) Close(context.Context) error { return nil }

// register makes it a processor of pipelines.
func (f failing) register(t testing.TB, env *service.Environment, name string) {
	t.Helper()
	require.NoError(t, env.RegisterBatchProcessor(name, service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) { return f, nil }))
}

func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, deduped(t, in, out, "", "{ default_ttl: 1m }", ""))
		for range 3 {
			produce(t, e, in, "a", "b", "a")
			time.Sleep(40 * time.Second) // virtual
		}
		require.NoError(t, s.stop())
		require.Equal(t, [][]string{{"a", "b", "a", "b"}}, values(t, e, out), "the second time is too early, the third is not")
	})
}

// By event time an entry lives as long as the watermark has not moved on by its time to
// live, however fast the records are read.
func TestCacheForgetsByEventTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, deduped(t, in, out, "", "{ default_ttl: 1m, ttl_by: event_time }", "processors: [ watermark_periodic: {} ]"))
		begin := time.Now()
		for i, v := range []string{"a", "b", "a", "x", "a", "b"} {
			at := begin.Add(time.Duration(i) * 20 * time.Second)
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Value: []byte(v), Timestamp: at})
			time.Sleep(time.Second) // virtual
		}
		require.NoError(t, s.stop())
		require.Equal(t, [][]string{{"a", "b", "x", "a", "b"}}, values(t, e, out))
	})
}

func TestCacheNeedsAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		produce(t, e, in, "a")
		s := start(t, e, deduped(t, in, out, "shard: { index: 0, count: 1 }", "{}", ""))
		awaitValues(t, e, out, "a")
		require.NoError(t, s.stop())

		in, out = topics(t, e, 8)
		for p := range int32(8) {
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: p, Value: []byte("a")})
		}
		s = start(t, e, deduped(t, in, out, "shard: { index: 0, count: 2 }", "{}", ""))
		s.ended()
		require.Contains(t, s.logs.String(), "reads shard 0 of 2")
		for _, rs := range kafkatest.ReadCommitted(t, e, out) {
			require.Empty(t, rs)
		}
	})
}

func TestCacheNeedsAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		produce(t, e, in, "a")
		yaml := deduped(t, in, out, "consumer_group: g", "{}", "")
		from := strings.Index(yaml, "checkpoint: {")
		to := from + strings.Index(yaml[from:], "\n")
		s := start(t, e, yaml[:from]+"assignment: static"+yaml[to:])
		s.ended()
		require.Contains(t, s.logs.String(), "there is no store for it")
		require.Empty(t, kafkatest.ReadCommitted(t, e, out)[0])
		require.NotContains(t, fmt.Sprint(kafkatest.Committed(t, e, "g", in)), "Offset:1")
	})
}

// A backlog is read many hours of event time at a time: entries must not expire before
// theirs has passed, counted from the records that they are about.
func TestCacheKeepsEntriesInABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		begin := time.Now()
		const count = 20_000
		var rs []*kgo.Record
		for i := range count {
			at := begin.Add(time.Duration(i) * 10 * time.Second)
			rs = append(rs, &kgo.Record{Topic: in, Value: fmt.Append(nil, i), Timestamp: at})
			if i >= 6 {
				rs = append(rs, &kgo.Record{Topic: in, Value: fmt.Append(nil, i-6), Timestamp: at})
			}
		}
		kafkatest.Produce(t, e, rs...)
		s := start(t, e, strings.Replace(deduped(t, in, out, "stop_at: latest", "{ default_ttl: 1h, ttl_by: event_time }", "processors: [ watermark_periodic: { interval: 1ms } ]"),
			"- dedupe", "- sleep: { duration: 10us }\n    - dedupe", 1))
		s.ended()
		got := len(values(t, e, out)[0])
		require.Equal(t, count, got)
	})
}
