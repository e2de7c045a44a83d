package behaviour

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// exactItem is an exactly-once output to a topic, at an indent.
func exactItem(out, indent string, more ...string) string {
	fields := append([]string{"seed_brokers: $SEEDS", "topic: " + out, "partitioner: manual", "partition: ${! meta(\"kafka_partition\") }",
		"delivery: exactly_once", "transaction_timeout: 10m"}, more...)
	return "kafka_checkpointed:\n" + indent + "  " + strings.Join(fields, "\n"+indent+"  ") + "\n"
}

// exactInput is the input for exactly-once outputs.
func exactInput(in string) string {
	head, _, _ := strings.Cut(copyYAML(in, "", "g", "session_timeout: 10s"), "output:\n")
	return head
}

// exactWriters is a pipeline with n exactly-once outputs under a broker, which write to the
// topics in turn.
func exactWriters(in string, n int, pattern string, topics ...string) string {
	y := exactInput(in) + "output:\n  broker:\n    pattern: " + pattern + "\n    outputs:\n"
	for i := range n {
		y += "      - " + exactItem(topics[i%len(topics)], "        ")
	}
	return y
}

// switched writes even numbers to one topic and odd ones to the other.
func switched(in, even, odd string) string {
	return exactInput(in) + "output:\n  switch:\n    cases:\n      - check: content().string().re_match(\"[02468]$\")\n        output:\n          " +
		exactItem(even, "          ") + "      - output:\n          " + exactItem(odd, "          ")
}

// A process is killed at each step of the end of a transaction that several outputs share:
// either all of it is visible in both topics, or nothing.
func TestTX10_SeveralOutputsShareOneTransaction(t *testing.T) {
	for name, yaml := range map[string]func(in, a, b string) string{
		"fan_out": func(in, a, b string) string { return exactWriters(in, 2, "fan_out", a, b) },
		"switch":  switched,
	} {
		for step, hold := range map[string]func(*kafkatest.Proxy) *kafkatest.Hold{
			"records":           func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.Produce) },
			"records, answered": func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldAnswers(kmsg.Produce) },
			"offsets":           func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.TxnOffsetCommit) },
			"offsets, answered": func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldAnswers(kmsg.TxnOffsetCommit) },
			"end":               func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.EndTxn) },
			"end, answered":     func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldAnswers(kmsg.EndTxn) },
		} {
			t.Run(name+"/"+step, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testShared(t, yaml, hold, step == "end, answered") })
			})
		}
	}
}

func testShared(t *testing.T, yaml func(in, a, b string) string, hold func(*kafkatest.Proxy) *kafkatest.Hold, done bool) {
	e := kafkatest.Virtual(t)
	in, a := topics(t, e, 2)
	b := kafkatest.Topic(t, e, 2)
	env := environment(t, e)
	both := func(n int64) {
		t.Helper()
		for p := range int32(2) {
			x, y := numbers(t, e, a)[p], numbers(t, e, b)[p]
			if strings.Contains(yaml(in, a, b), "fan_out") {
				require.Equal(t, span(0, n), x)
				require.Equal(t, span(0, n), y)
				continue
			}
			for i := range n {
				require.Equal(t, i, [][]int64{x, y}[i%2][i/2])
			}
			require.Len(t, append(x, y...), int(n))
		}
	}
	p := kafkatest.NewProxy(t, e)
	startIn(t, env, p, yaml(in, a, b))
	kafkatest.Fill(t, e, in, 20)
	kafkatest.Until(t, patience, func() error { return covered(e, in, 20) })
	both(20)
	require.Len(t, transactions(t, e), 1, "they share one")
	h := hold(p)
	kafkatest.Fill(t, e, in, 20)
	h.Await(t, 1, patience)
	h.Drop()
	p.Down()
	if done {
		both(40)
	} else {
		both(20)
	}
	s := startIn(t, env, e, yaml(in, a, b))
	kafkatest.Eventually(t, patience, "it has started", func() bool { return len(s.said("is now active")) > 0 })
	kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 40) })
	require.NoError(t, s.stop())
	both(40)
	require.Empty(t, openTransactions(t, e))
}

func TestTX10_OutputsThatDifferAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		for field, value := range map[string]string{
			"transactional_id_prefix": "other", "linger": "7s", "compression": "gzip", "client_id": "other",
			"max_message_bytes": "2MB", "timeout": "7s", "tls": "{ enabled: true }",
		} {
			second := "      - " + exactItem(out, "        ", field+": "+value)
			yaml := exactWriters(in, 1, "fan_out", out) + second
			err := runRefused(t, e, yaml)
			require.ErrorContains(t, err, field)
			require.ErrorContains(t, err, "set it alike")
		}
		second := "      - " + strings.Replace(exactItem(out, "        "), "10m", "9m", 1)
		require.ErrorContains(t, runRefused(t, e, exactWriters(in, 1, "fan_out", out)+second), "transaction_timeout is 10m for")
		require.Empty(t, uncommitted(t, e, out))
		require.Empty(t, committed(e, in))
	})
}

// A record is refused by the broker, and the output beside it takes it: both in the same
// transaction.
func TestExactlyOnceARefusedRecordGoesToTheOutputForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in := kafkatest.Topic(t, e, 2)
		out := kafkatest.Topic(t, e, 2, "max.message.bytes=2000")
		dead := kafkatest.Topic(t, e, 2)
		yaml := exactInput(in) + "output:\n  fallback:\n    - " + exactItem(out, "      ") + "    - " + exactItem(dead, "      ")
		s := start(t, e, yaml)
		big := func(r *kgo.Record) {
			if _, n := kafkatest.Number(t, r); r.Partition == 1 && n%20 == 13 {
				r.Headers = []kgo.RecordHeader{{Key: "big", Value: incompressible(3000)}}
			}
		}
		for n := range int64(3) {
			kafkatest.Fill(t, e, in, 20, big)
			kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 20*(n+1)) })
		}
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{1: {13, 33, 53}}, numbers(t, e, dead))
		got := numbers(t, e, out)
		require.Equal(t, span(0, 60), got[0])
		require.Len(t, got[1], 57)
		require.Subset(t, span(0, 60), got[1])
		require.IsIncreasing(t, got[1])
		require.Empty(t, openTransactions(t, e))
	})
}

func TestExactlyOnceARejectionIsARewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		env := environment(t, e)
		var calls, failures atomic.Int32
		failures.Store(5)
		failing(func() bool { // Each third batch, some times.
			time.Sleep(50 * time.Millisecond) // virtual: what was before is written
			return calls.Add(1)%3 == 0 && failures.Add(-1) >= 0
		}).register(t, env, "failing")
		s := startIn(t, env, e, exactInput(in)+"    max_batch_records: 7\npipeline:\n  processors: [ { failing: {} } ]\noutput:\n  reject_errored:\n    "+
			exactItem(out, "    "))
		kafkatest.Fill(t, e, in, 100)
		kafkatest.Until(t, 5*time.Minute, func() error { return covered(e, in, 100) })
		require.NoError(t, s.stop())
		require.Less(t, failures.Load(), int32(1))
		require.NotEmpty(t, s.said("Going back to checkpoint"))
		require.Equal(t, both(100), numbers(t, e, out))
		require.Greater(t, len(uncommitted(t, e, out)[0]), 100, "what was written before was aborted")
		require.Empty(t, openTransactions(t, e))
	})
}

// collecting is an output that is not ours; it fails some batches.
type collecting struct {
	mu    sync.Mutex
	calls int
	got   map[string]int
}

func (*collecting) Connect(context.Context) error { return nil }
func (*collecting) Close(context.Context) error   { return nil }

func (c *collecting) WriteBatch(_ context.Context, b service.MessageBatch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; c.calls%4 == 3 && c.calls < 20 {
		return errors.New("not now")
	}
	for _, m := range b {
		v, err := m.AsBytes()
		if err != nil {
			return err
		}
		c.got[string(v)]++
	}
	return nil
}

func TestExactlyOnceBesideAnOutputThatIsNotOurs(t *testing.T) {
	for _, pattern := range []string{"fan_out", "fan_out_fail_fast", "fan_out_sequential"} {
		t.Run(pattern, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				env := environment(t, e)
				c := &collecting{got: map[string]int{}}
				require.NoError(t, env.RegisterBatchOutput("collecting", service.NewConfigSpec(),
					func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
						return c, service.BatchPolicy{}, 1, nil
					}))
				yaml := exactInput(in) + "    max_batch_records: 10\n" + strings.TrimPrefix(exactWriters(in, 1, pattern, out), exactInput(in)) + "      - collecting: {}\n"
				p := kafkatest.NewProxy(t, e)
				startIn(t, env, p, yaml)
				kafkatest.Fill(t, e, in, 100)
				kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 100) })
				hold := p.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, e, in, 20)
				hold.Await(t, 1, patience)
				hold.Drop()
				p.Down()
				s := startIn(t, env, e, yaml)
				kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 120) })
				require.NoError(t, s.stop())
				require.Equal(t, both(120), numbers(t, e, out))
				c.mu.Lock()
				defer c.mu.Unlock()
				require.Len(t, c.got, 240, "theirs has each at least once")
			})
		})
	}
}

func TestExactlyOnceABoundedRunEndsWithAllVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		for round := range int64(3) {
			kafkatest.Fill(t, e, in, 100)
			s := start(t, e, copyYAML(in, out, "g", "stop_at: latest\n    checkpoint: { interval: 1m }")+patient)
			s.ended()
			require.NotContains(t, s.logs.String(), "level=ERROR")
			require.Equal(t, both(100*(round+1)), numbers(t, e, out))
			require.NoError(t, covered(e, in, 100*(round+1)))
			require.Empty(t, openTransactions(t, e))
		}
	})
}

func TestExactlyOnceIsRefusedWhereItCannotBe(t *testing.T) {
	directory := t.TempDir()
	for name, c := range map[string]struct {
		yaml  func(in, out string) string
		words []string
	}{
		"no group":       {yaml: func(in, out string) string { return copyYAML(in, out, "", "checkpoint: { job: j }") + exactly }, words: []string{"exactly_once", "not a member of a consumer group", "consumer_group"}},
		"foreign":        {yaml: func(_, out string) string { return generated(out, "count: 5", "delivery: exactly_once") }, words: []string{"exactly_once", "no input of the stream takes part", "kafka_checkpointed", "at_least_once"}},
		"static":         {yaml: func(in, out string) string { return copyYAML(in, out, "g", "assignment: static") + exactly }, words: []string{"exactly_once", "not a member of a consumer group", "assignment group"}},
		"one partition":  {yaml: func(in, out string) string { return copyYAML(in+":0", out, "g", "") + exactly }, words: []string{"exactly_once", "not a member of a consumer group"}},
		"kip-848":        {yaml: func(in, out string) string { return copyYAML(in, out, "g", "group_protocol: consumer") + exactly }, words: []string{"exactly_once", "group_protocol", "classic"}},
		"no replay":      {yaml: func(in, out string) string { return copyYAML(in, out, "g", "auto_replay_nacks: false") + exactly }, words: []string{"exactly_once", "auto_replay_nacks", "remove it"}},
		"no checkpoints": {yaml: func(in, out string) string { return copyYAML(in, out, "g", "checkpoint: { interval: 0s }") + exactly }, words: []string{"exactly_once", "checkpoints are off", "checkpoint.interval"}},
		"directory": {yaml: func(in, out string) string {
			return copyYAML(in, out, "g", "assignment: static\n    checkpoint: { store: { directory: "+directory+" } }") + exactly
		}, words: []string{"exactly_once", "checkpoint.store.directory"}},
		"cache": {yaml: func(in, out string) string {
			return exactInput(in) + "pipeline:\n  processors: [ { dedupe: { cache: c, key: '${! content() }' } } ]\ncache_resources:\n  - label: c\n    checkpointed: {}\noutput:\n  " +
				exactItem(out, "  ")
		}, words: []string{`keeps state of the whole process`}},
		"window": {yaml: func(in, out string) string {
			return exactInput(in) + "  processors: [ { watermark_periodic: {} } ]\nbuffer:\n  event_time_window: { type: tumbling, size: 10s }\noutput:\n  " + exactItem(out, "  ")
		}, words: []string{"exactly_once", "keeps state"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 5)
				said := refusal(t, e, c.yaml(in, out))
				for _, w := range c.words {
					require.Contains(t, said, w)
				}
				require.Empty(t, uncommitted(t, e, out))
				require.Zero(t, committed(e, in)[0])
				require.Empty(t, openTransactions(t, e))
			})
		})
	}
}

// Benthos makes a resource when the first message comes, and again until that succeeds.
func TestExactlyOnceIsRefusedForAResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		s := start(t, e, exactInput(in)+"output: { resource: o }\noutput_resources:\n  - label: o\n    "+exactItem(out, "    "))
		time.Sleep(10 * time.Second) // virtual
		require.NotEmpty(t, s.said(`delivery of \"o\" is exactly_once, but it is a resource`))
		require.NotEmpty(t, s.said("put it into the stream's output, or set delivery to at_least_once"))
		require.Empty(t, uncommitted(t, e, out))
		require.Zero(t, committed(e, in)[0])
	})
}

// refusal runs a stream that cannot be, and returns what is said about it.
func refusal(t *testing.T, e kafkatest.Endpoint, yaml string) string {
	t.Helper()
	l := &logs{}
	s, err := build(t, e, yaml, l)
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err = s.Run(ctx)
		require.NoError(t, ctx.Err(), "it does not go on: %s", l)
		_ = s.Stop(ctx)
	}
	var errs []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level=ERROR") {
			errs = append(errs, line)
		}
	}
	return fmt.Sprintf("%v\n%s", err, strings.Join(errs, ""))
}
