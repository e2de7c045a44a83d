package behaviour

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// requests are those of one kind that a cluster has got.
type requests[R kmsg.Request] struct {
	mu  sync.Mutex
	all []R
}

// observe remembers the requests of the kind of an example.
func observe[R kmsg.Request](c *kafkatest.Cluster, example R) *requests[R] {
	seen := &requests[R]{}
	c.ControlKey(example.Key(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		seen.mu.Lock()
		defer seen.mu.Unlock()
		seen.all = append(seen.all, r.(R))
		return nil, nil, false
	})
	return seen
}

func (s *requests[R]) list() []R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]R(nil), s.all...)
}

// Each value is seen at the broker.
func TestFieldsOfTheFetchRequest(t *testing.T) {
	for yaml, has := range map[string]func(*kmsg.FetchRequest) bool{
		"fetch_max_bytes: 3MiB\n    fetch_max_partition_bytes: 1MiB": func(r *kmsg.FetchRequest) bool { return r.MaxBytes == 3<<20 },
		"fetch_min_bytes: 2KiB":                         func(r *kmsg.FetchRequest) bool { return r.MinBytes == 2048 },
		"fetch_max_wait: 700ms":                         func(r *kmsg.FetchRequest) bool { return r.MaxWaitMillis == 700 },
		"fetch_max_partition_bytes: 64KiB":              func(r *kmsg.FetchRequest) bool { return r.Topics[0].Partitions[0].PartitionMaxBytes == 64<<10 },
		"transaction_isolation_level: read_uncommitted": func(r *kmsg.FetchRequest) bool { return r.IsolationLevel == 0 },
		"transaction_isolation_level: read_committed":   func(r *kmsg.FetchRequest) bool { return r.IsolationLevel == 1 },
		"rack_id: r7": func(r *kmsg.FetchRequest) bool { return r.Rack == "r7" },
		"rack_id: ''": func(r *kmsg.FetchRequest) bool { return r.Rack == "" },
		"properties: { fetch.max.wait.ms: '600', fetch.min.bytes: '5' }": func(r *kmsg.FetchRequest) bool { return r.MaxWaitMillis == 600 && r.MinBytes == 5 },
	} {
		t.Run(yaml, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 1)
				seen := observe(e, kmsg.NewPtrFetchRequest())
				s := start(t, e, copyYAML(in, out, "g", yaml))
				kafkatest.Eventually(t, patience, "the record is written", func() bool { return kafkatest.Ends(t, e, out)[0] == 1 })
				require.NoError(t, s.stop())
				n := 0
				for _, r := range seen.list() {
					if len(r.Topics) > 0 {
						require.True(t, has(r), "%+v", r)
						n++
					}
				}
				require.Positive(t, n)
			})
		})
	}
}

func TestFieldsOfAGroupMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		joins := observe(e, kmsg.NewPtrJoinGroupRequest())
		s := start(t, e, copyYAML(in, out, "g", "session_timeout: 33s\n    rebalance_timeout: 22s\n    heartbeat_interval: 11s\n    instance_id: me"))
		time.Sleep(5 * time.Second) // virtual
		require.NotEmpty(t, joins.list())
		for _, j := range joins.list() {
			require.Equal(t, "g", j.Group)
			require.EqualValues(t, 33_000, j.SessionTimeoutMillis)
			require.EqualValues(t, 22_000, j.RebalanceTimeoutMillis)
			require.Equal(t, "me", *j.InstanceID)
		}
		before := e.Count(kmsg.Heartbeat)
		time.Sleep(110 * time.Second)
		require.InDelta(t, 10, e.Count(kmsg.Heartbeat)-before, 2)
		require.NoError(t, s.stop())
		require.Zero(t, e.Count(kmsg.LeaveGroup), "a static member keeps its place")
	})
}

func TestFieldGroupProtocol(t *testing.T) {
	for protocol, server := range map[string]bool{"classic": false, "consumer": true} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 2)
			kafkatest.Fill(t, e, in, 5)
			start(t, e, copyYAML(in, out, "g", "group_protocol: "+protocol))
			awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5), 1: span(0, 5)})
			require.Equal(t, server, e.Count(kmsg.ConsumerGroupHeartbeat) > 0)
			require.Equal(t, !server, e.Count(kmsg.JoinGroup) > 0)
		})
	}
}

func TestFieldShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 8)
		kafkatest.Fill(t, e, in, 5)
		want := map[int32]int{}
		for shard := range 2 {
			for p := range int32(8) {
				if kafka.ShardOf(in, p, 2) == shard {
					want[p] = 5
				}
			}
			start(t, e, fanYAML(in, out, fmt.Sprintf("shard: { index: %d, count: 2 }", shard)))
			kafkatest.Eventually(t, patience, "the shard is read", func() bool { return len(counts(t, e, out)) >= len(want) })
			time.Sleep(10 * time.Second) // virtual
			require.Equal(t, want, counts(t, e, out))
		}
		require.Len(t, want, 8)
	})
}

func TestFieldsOfPatterns(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		for _, topic := range []string{"logs_a", "logs_b", "logs_debug1", "other"} {
			kafkatest.CreateTopic(t, e, topic, 1)
			kafkatest.Fill(t, e, topic, 5)
		}
		out := kafkatest.Topic(t, e, 1)
		yaml := strings.Replace(fanYAML("", out, "regexp_topics_include: [ 'logs_.*' ]\n    regexp_topics_exclude: [ 'logs_debug.*' ]\n    assignment: "+assignment), "topics: [  ]", "", 1)
		start(t, e, yaml)
		kafkatest.Eventually(t, patience, "two topics are read", func() bool { return counts(t, e, out)[0] == 10 })
		time.Sleep(30 * time.Second) // virtual
		require.Equal(t, map[int32]int{0: 10}, counts(t, e, out))
	})
}

// transact writes records in a transaction and ends it.
func transact(t *testing.T, e kafkatest.Endpoint, commit bool, records ...*kgo.Record) {
	t.Helper()
	cl := kafkatest.Client(t, e, kgo.TransactionalID(kafkatest.Unique(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(context.Background(), records...).FirstErr())
	require.NoError(t, cl.EndTransaction(context.Background(), kgo.TransactionEndTry(commit)))
}

func TestFieldTransactionIsolationLevel(t *testing.T) {
	for level, want := range map[string][]string{"read_committed": {"a", "c"}, "read_uncommitted": {"a", "aborted", "c"}} {
		t.Run(level, func(t *testing.T) {
			each(t, func(t *testing.T, assignment string) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				produce(t, e, in, "a")
				transact(t, e, false, &kgo.Record{Topic: in, Value: []byte("aborted")})
				produce(t, e, in, "c")
				start(t, e, fanYAML(in, out, "transaction_isolation_level: "+level+"\n    assignment: "+assignment))
				kafkatest.Eventually(t, patience, "the last is written", func() bool {
					vs := values(t, e, out)[0]
					return len(vs) > 0 && vs[len(vs)-1] == "c"
				})
				require.Equal(t, want, values(t, e, out)[0])
			})
		})
	}
}

func TestFieldTopicLagRefreshPeriod(t *testing.T) {
	for period, want := range map[string]int{"3s": 20, "1h": 0} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			start(t, e, copyYAML(in, out, "g", "topic_lag_refresh_period: "+period))
			time.Sleep(10 * time.Second) // virtual
			before := e.Count(kmsg.ListOffsets)
			time.Sleep(time.Minute)
			require.InDelta(t, want, e.Count(kmsg.ListOffsets)-before, 2, "the end of the log, twenty times")
		})
	}
}

func TestFieldOrdering(t *testing.T) {
	for yaml, parallel := range map[string]bool{
		"ordering: partition": false, "ordering: none": true,
		"unordered_processing: { enabled: false }": false, "unordered_processing: { enabled: true }": true,
	} {
		t.Run(yaml, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 80)
				start(t, e, fanYAML(in, out, "max_batch_records: 10\n    "+yaml)+`
pipeline:
  threads: 4
  processors: [ { for_each: [ { sleep: { duration: 100ms } } ] } ]
`)
				// One after the other the eight batches take eight seconds.
				time.Sleep(5 * time.Second) // virtual
				require.Equal(t, parallel, counts(t, e, out)[0] == 80)
				time.Sleep(5 * time.Second)
				require.Equal(t, 80, counts(t, e, out)[0])
			})
		})
	}
}

func TestFieldMaxBatchRecords(t *testing.T) {
	for _, yaml := range []string{
		"max_batch_records: 7", "batching: { count: 7 }", "unordered_processing: { enabled: false, batching: { count: 7 } }",
		"properties: { max.poll.records: '7' }",
	} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 21)
			start(t, e, fanYAML(in, out, yaml)+"\npipeline: { processors: [ { mapping: 'root = batch_size()' } ] }\n")
			kafkatest.Eventually(t, patience, "all are written", func() bool { return len(values(t, e, out)[0]) == 21 })
			for _, v := range values(t, e, out)[0] {
				require.Equal(t, "7", v, yaml)
			}
		})
	}
}

func TestFieldMultiHeader(t *testing.T) {
	for multi, want := range map[bool]string{true: `["1","2"]`, false: "2"} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Value: []byte("v"),
				Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}})
			start(t, e, fanYAML(in, out, fmt.Sprintf("multi_header: %v", multi))+describe)
			require.Equal(t, want, described(t, e, out, 1)[0]["h"])
		})
	}
}

func TestFieldCommitPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, copyYAML(in, out, "g", "checkpoint: { interval: 0s }\n    commit_period: 40s"))
		time.Sleep(30 * time.Second) // virtual
		require.Equal(t, []int64{5}, kafkatest.Ends(t, e, out))
		require.Empty(t, kafkatest.Committed(t, e, "g", in))
		time.Sleep(20 * time.Second)
		require.Equal(t, int64(5), kafkatest.Committed(t, e, "g", in)[0].Offset)
	})
}

func TestFieldsOfConnectThatSayWhereToStart(t *testing.T) {
	for yaml, from := range map[string]int64{
		"start_offset: earliest": 0, "start_offset: latest": 5, "start_from_oldest: true": 0, "start_from_oldest: false": 5,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			start(t, e, copyYAML(in, out, "g", yaml))
			time.Sleep(10 * time.Second) // virtual
			kafkatest.Fill(t, e, in, 5)
			awaitNumbers(t, e, out, map[int32][]int64{0: span(from, 10)})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		refused(t, e, copyYAML(in, out, "g", "start_offset: committed"), out, in+"/0")
	})
}

// What Redpanda Connect has and is not needed here changes nothing.
func TestFieldsWithoutEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 50)
		yaml := copyYAML(in, out, "g", `checkpoint_limit: 1
    batching: { byte_size: 1, period: 1h }
    partition_buffer_bytes: 1B
    max_yield_batch_bytes: 1B
    unordered_processing: { checkpoint_limit: 1, batching: { byte_size: 1, period: 1h } }`)
		start(t, e, strings.Replace(yaml, "topic: "+out, "topic: "+out+"\n    rack_id: nowhere", 1))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 50), 1: span(0, 50)})
	})
}

func TestFieldAutoReplayNacks(t *testing.T) {
	for replay, dropped := range map[bool]int64{true: 0, false: 5} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			yaml := copyYAML(in, out, "g", fmt.Sprintf("auto_replay_nacks: %v", replay))
			_, m := startMeasured(t, e, yaml[:strings.Index(yaml, "output:")]+"output: { reject: 'no' }\n")
			time.Sleep(20 * time.Second) // virtual
			require.Equal(t, 5-dropped, 5-kafkatest.Committed(t, e, "g", in)[0].Offset)
			got, _ := m.get("tidemark_rejected_records_dropped")
			require.Equal(t, dropped, got)
			again, _ := m.get("tidemark_records_redelivered")
			require.Equal(t, replay, again > 0)
		})
	}
}

func TestFieldTimelyNacksMaximumWait(t *testing.T) {
	for yaml, nacked := range map[string]bool{"timely_nacks_maximum_wait: 5s": true, "ordering: partition": false} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 1)
			_, m := startMeasured(t, e, copyYAML(in, out, "g", yaml)+"\npipeline: { processors: [ { sleep: { duration: 25s } } ] }\n")
			time.Sleep(20 * time.Second) // virtual
			again, _ := m.get("tidemark_records_redelivered")
			require.Equal(t, nacked, again > 0)
		})
	}
}

func TestFieldsOfTracing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 1)
		s := start(t, e, fanYAML(in, out, "extract_tracing_map: root = \"not a span\"")+"    inject_tracing_map: root = \"injected\"\n")
		kafkatest.Eventually(t, patience, "it is written", func() bool { return len(values(t, e, out)[0]) == 1 })
		require.Equal(t, []string{"injected"}, values(t, e, out)[0])
		require.Contains(t, s.logs.String(), "Mapping failed for tracing span")
	})
}

func TestFieldAssignment(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, copyYAML(in, out, "g", "assignment: "+assignment))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5), 1: span(0, 5)})
		require.Equal(t, assignment == "group", e.Count(kmsg.JoinGroup) > 0)
	})
}

func TestFieldsOfInputBatchingRefused(t *testing.T) {
	for _, yaml := range []string{"batching: { processors: [ { noop: {} } ] }", "unordered_processing: { batching: { check: 'true' } }"} {
		err := runRefused(t, kafkatest.At("localhost:1"), copyYAML("in", "out", "g", yaml))
		require.ErrorContains(t, err, "batching.")
		require.ErrorContains(t, err, "is set")
	}
}
