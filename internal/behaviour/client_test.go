package behaviour

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestER04_EveryConnectionBearsTheClientID(t *testing.T) {
	for _, assignment := range assignments {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			p := kafkatest.NewProxy(t, e)
			in, out := topics(t, e, 2)
			kafkatest.Fill(t, e, in, 5)
			s := startIn(t, environment(t, e), p, connected(copyYAML(in, out, "g", "assignment: "+assignment), "client_id: mine"))
			awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 5), 1: span(0, 5)})
			time.Sleep(10 * time.Second) // virtual: commits, lag, discovery
			require.NoError(t, s.stop())
			require.Equal(t, []string{"mine"}, p.ClientIDs())
		})
	}
}

func TestER05_FetchesCarryTheRackOfTheEnvironment(t *testing.T) {
	for _, rack := range []string{"rack-7", ""} {
		t.Run("rack "+rack, func(t *testing.T) {
			t.Setenv("TIDEMARK_TEST_RACK", rack)
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 1)
				seen := observe(e, kmsg.NewPtrFetchRequest())
				s := start(t, e, copyYAML(in, out, "g", `rack_id: "${TIDEMARK_TEST_RACK:}"`))
				kafkatest.Eventually(t, patience, "the record is written", func() bool { return kafkatest.Ends(t, e, out)[0] == 1 })
				require.NoError(t, s.stop())
				require.NotEmpty(t, seen.list())
				for _, r := range seen.list() {
					require.Equal(t, rack, r.Rack)
				}
			})
		})
	}
}

// A broker that never answers holds up what is read from it and nothing else.
func TestER01_PartitionsAreTakenUpWhileAnotherCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t, kfake.Ports(9092, 9093))
		in, out := topics(t, e, 1)
		require.NoError(t, e.MoveTopicPartition(in, 0, 0))
		require.NoError(t, e.MoveTopicPartition(out, 0, 1))
		silent := make(chan struct{})
		release := sync.OnceFunc(func() { close(silent) })
		defer release()
		e.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			e.KeepControl()
			if e.CurrentNode() == 0 {
				e.SleepControl(func() { <-silent })
			}
			return nil, nil, false
		})
		s := start(t, e, fanYAML(in, out, "discovery_interval: 2s\n    assignment: "+assignment))
		// Virtual; and not at a moment of discovery, which could see the new partition
		// where it is before it is moved.
		time.Sleep(11 * time.Second)
		kafkatest.AddPartitions(t, e, in, 2)
		require.NoError(t, e.MoveTopicPartition(in, 1, 1))
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: 1, Value: []byte("1/0")})
		kafkatest.Eventually(t, 3*patience, "the new partition is read", func() bool { return kafkatest.Ends(t, e, out)[0] == 1 })
		asked := time.Now()
		go func() {
			// A cluster can only be closed with nobody waiting in it.
			time.Sleep(20 * time.Second)
			release()
		}()
		require.NoError(t, s.stop())
		require.Less(t, time.Since(asked), 15*time.Second)
		require.NotContains(t, s.logs.String(), "level=ERROR")
		time.Sleep(25 * time.Second)
	})
}

// A new leader's log ends before what was read already: the records from there on
// are others by now, and are read, not taken for repetitions.
func TestALogThatWasCutBackIsReadFromWhereItWasCut(t *testing.T) {
	for reset, want := range map[string][]int64{"earliest": append(span(0, 10), span(6, 10)...), "none": span(0, 10)} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t, kfake.Ports(9092, 9093))
			in, out := topics(t, e, 1)
			require.NoError(t, e.MoveTopicPartition(in, 0, 0))
			kafkatest.Fill(t, e, in, 10)
			s := start(t, e, copyYAML(in, out, "g", "start_from: earliest\n    offset_reset: "+reset))
			awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
			time.Sleep(3 * time.Second) // virtual: it is committed
			e.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
				resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
				for _, t := range req.Topics {
					rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
					rt.Topic = t.Topic
					for _, p := range t.Partitions {
						rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
						rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, p.LeaderEpoch, 6
						rt.Partitions = append(rt.Partitions, rp)
					}
					resp.Topics = append(resp.Topics, rt)
				}
				return resp, nil, true
			})
			require.NoError(t, e.MoveTopicPartition(in, 0, 1))
			if reset == "none" {
				s.ended()
				require.Contains(t, s.logs.String(), "Stream stopped for good")
			} else {
				kafkatest.Eventually(t, 3*patience, "the records are read again", func() bool { return kafkatest.Ends(t, e, out)[0] == 14 })
				require.NoError(t, s.stop())
				require.Contains(t, s.logs.String(), "The brokers have lost records")
			}
			require.Equal(t, want, numbers(t, e, out)[0])
		})
	}
}

// The same pipeline, with keys, headers, timestamps and a restart, has the same
// results on brokers of both versions; what only one of them offers is refused by
// name on the other.
func TestER06_BrokersOfSeveralVersionsGiveTheSame(t *testing.T) {
	brokers := map[string]func(testing.TB) kafkatest.Endpoint{
		kafkatest.Newest:  kafkatest.Shared,
		kafkatest.Kafka39: func(t testing.TB) kafkatest.Endpoint { return kafkatest.Real(t, kafkatest.Kafka39) },
	}
	for version, broker := range brokers {
		t.Run(version, func(t *testing.T) {
			e := broker(t)
			in, out := topics(t, e, 3)
			group := kafkatest.Unique(t)
			fill := func() {
				kafkatest.Fill(t, e, in, 200, func(r *kgo.Record) {
					_, n := kafkatest.Number(t, r)
					r.Timestamp = time.UnixMilli(1_700_000_000_000 + n)
					r.Headers = []kgo.RecordHeader{{Key: "h", Value: fmt.Append(nil, n)}}
				})
			}
			for round := range int64(2) {
				fill()
				s := start(t, e, copyYAML(in, out, group, ""))
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 200*(round+1)), 1: span(0, 200*(round+1)), 2: span(0, 200*(round+1))})
				require.NoError(t, s.stop())
			}
			for p, rs := range kafkatest.ReadCommitted(t, e, out) {
				for _, r := range rs {
					_, n := kafkatest.Number(t, r)
					require.Equal(t, fmt.Sprintf("%d-%d", p, n%10), string(r.Key))
					require.Equal(t, fmt.Sprint(n), string(r.Headers[0].Value))
					require.Equal(t, 1_700_000_000_000+n, r.Timestamp.UnixMilli())
				}
				require.Equal(t, int64(400), kafkatest.Committed(t, e, group, in)[int32(p)].Offset)
			}
			consumer := copyYAML(in, out, kafkatest.Unique(t), "group_protocol: consumer")
			if version == kafkatest.Kafka39 {
				s := start(t, e, consumer)
				s.ended()
				require.Contains(t, s.logs.String(), "group_protocol")
				require.Contains(t, s.logs.String(), "Stream stopped for good")
				return
			}
			s := start(t, e, consumer)
			kafkatest.Eventually(t, patience, "all are written again", func() bool { return len(numbers(t, e, out)[2]) == 800 })
			require.NoError(t, s.stop())
		})
	}
}

func TestBD05_ReadersWithoutAPartitionEndToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 100)
		var running []*stream
		for range 4 {
			running = append(running, start(t, e, copyYAML(in, out, "g", "stop_at: latest\n    max_batch_records: 10")))
		}
		for _, s := range running {
			s.ended()
		}
		require.Equal(t, map[int32][]int64{0: span(0, 100), 1: span(0, 100)}, numbers(t, e, out))
	})
}

// A partition that is finished long before the other is not read again by whoever
// gets it.
func TestBD05_ReadersOfUnequalPartitionsAllEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		for n := range 200 {
			produce(t, e, in, fmt.Sprintf("0/%d", n))
		}
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: 1, Value: []byte("1/0")})
		yaml := copyYAML(in, out, "g", "stop_at: latest\n    max_batch_records: 10") + "\npipeline: { processors: [ { sleep: { duration: 500ms } } ] }\n"
		running := []*stream{start(t, e, yaml), start(t, e, yaml), start(t, e, yaml)}
		time.Sleep(5 * time.Minute) // virtual: far longer than it takes
		for _, s := range running {
			s.ended()
		}
		require.Equal(t, map[int32][]int64{0: span(0, 200), 1: {0}}, numbers(t, e, out))
	})
}

func TestInvariant05_WhatIsDiscoveredLaterIsReadFromItsFirstRecord(t *testing.T) {
	for _, from := range []string{"start_from: latest", "start_from: timestamp\n    start_timestamp: 4000000000000", "offset_reset: latest"} {
		each(t, func(t *testing.T, assignment string) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			kafkatest.Fill(t, e, in, 5)
			yaml := fanYAML("'"+in+".*'", out, "regexp_topics: true\n    assignment: "+assignment+"\n    "+from)
			s := start(t, e, yaml)
			kafkatest.Eventually(t, patience, "the group has a position", func() bool { return len(kafkatest.Committed(t, e, "g", in)) == 1 })
			kafkatest.CreateTopic(t, e, in+"-new", 1)
			kafkatest.Fill(t, e, in+"-new", 5)
			kafkatest.Eventually(t, patience, "the new topic is read", func() bool { return counts(t, e, out)[0] == 5 })
			require.NoError(t, s.stop())
			time.Sleep(2 * time.Minute) // virtual
			kafkatest.AddPartitions(t, e, in, 2)
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: 1, Value: []byte("1/0")})
			start(t, e, yaml)
			kafkatest.Eventually(t, patience, "the new partition is read", func() bool { return counts(t, e, out)[1] == 1 })
			require.Equal(t, map[int32]int{0: 5, 1: 1}, counts(t, e, out))
		})
	}
}

// It runs in real time: a commit that meets a join waits for a mutex of the client's, and in a
// bubble time would stand still meanwhile, for the heartbeats of the others as well.
func TestInvariant06_NothingIsCommittedForARevokedPartition(t *testing.T) {
	e := kafkatest.Fake(t)
	in, out := topics(t, e, 6)
	commits := observe(e, kmsg.NewPtrOffsetCommitRequest())
	yaml := copyYAML(in, out, "g", "heartbeat_interval: 100ms\n    fetch_max_wait: 200ms\n    checkpoint: { interval: 50ms }\n    max_batch_records: 5")
	written := int64(0)
	move := func() {
		kafkatest.Fill(t, e, in, 20)
		written += 20
		want := map[int32][]int64{}
		for p := range int32(6) {
			want[p] = span(0, written)
		}
		awaitNumbers(t, e, out, want)
	}
	var running []*stream
	for n := range 4 {
		running = append(running, start(t, e, yaml))
		kafkatest.Eventually(t, patience, "the new member has partitions", func() bool {
			move()
			members := map[string]bool{}
			for _, r := range commits.list() {
				members[r.MemberID] = true
			}
			return len(members) == n+1
		})
	}
	for range 5 {
		move()
	}
	for _, s := range running {
		require.NoError(t, s.stop())
	}
	// Once another member has committed for a partition, the one before it never
	// does so again, and positions never go back.
	type owner struct {
		member string
		at     int64
	}
	last, gone := map[int32]owner{}, map[string]bool{}
	for _, r := range commits.list() {
		for _, p := range r.Topics[0].Partitions {
			before := last[p.Partition]
			if before.member != r.MemberID {
				gone[fmt.Sprint(before.member, p.Partition)] = true
			}
			require.False(t, gone[fmt.Sprint(r.MemberID, p.Partition)], "partition %d", p.Partition)
			require.GreaterOrEqual(t, p.Offset, before.at)
			last[p.Partition] = owner{r.MemberID, p.Offset}
		}
	}
	members := map[string]bool{}
	for o := range maps.Values(last) {
		members[o.member] = true
	}
	require.Greater(t, len(members), 2)
}

// What is not a record moves the position all the same: markers, aborted records,
// records that compaction took.
//
// Its cases run in a bubble, so the time that it sleeps is exact.
func TestInvariant07_PositionsAreNotCounters(t *testing.T) {
	shapes := map[string]func(t *testing.T, e *kafkatest.Cluster, in string){
		"aborted records": func(t *testing.T, e *kafkatest.Cluster, in string) {
			transact(t, e, true, &kgo.Record{Topic: in, Value: []byte("0/0")})
			transact(t, e, false, &kgo.Record{Topic: in, Value: []byte("0/1")}, &kgo.Record{Topic: in, Value: []byte("0/2")})
		},
		"a marker": func(t *testing.T, e *kafkatest.Cluster, in string) {
			transact(t, e, true, &kgo.Record{Topic: in, Value: []byte("0/0")})
		},
		"a gap of compaction": func(t *testing.T, e *kafkatest.Cluster, in string) {
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Key: []byte("a"), Value: []byte("0/0")})
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Key: []byte("b"), Value: []byte("0/1")})
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Key: []byte("b")})
			// The cluster never compacts the last batch, which is the marker.
			transact(t, e, false, &kgo.Record{Topic: in, Key: []byte("c"), Value: []byte("0/2")})
			time.Sleep(10 * time.Second) // virtual: past delete.retention.ms
			e.Compact()
			e.Compact()
			require.Len(t, kafkatest.ReadUncommitted(t, e, in)[0], 1)
			require.Equal(t, []int64{5}, kafkatest.Ends(t, e, in))
		},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, assignment string) {
				e := kafkatest.Virtual(t)
				in := kafkatest.Topic(t, e, 1, "cleanup.policy=compact", "delete.retention.ms=1000")
				out := kafkatest.Topic(t, e, 1)
				shape(t, e, in)
				end := kafkatest.Ends(t, e, in)[0]
				s, m := startMeasured(t, e, copyYAML(in, out, "g", "assignment: "+assignment))
				kafkatest.Eventually(t, patience, "the position is the end", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == end })
				time.Sleep(20 * time.Second) // virtual
				lag, ok := m.get("tidemark_lag", "topic", in)
				require.True(t, ok)
				require.Zero(t, lag)
				require.NoError(t, s.stop())
				start(t, e, copyYAML(in, out, "h", "stop_at: latest\n    assignment: "+assignment)).ended()
				require.Equal(t, end, kafkatest.Committed(t, e, "h", in)[0].Offset)
				require.Equal(t, map[int32][]int64{0: {0, 0}}, numbers(t, e, out))
				start(t, e, copyYAML(in, out, "i", fmt.Sprintf("stop_at: offsets\n    stop_offsets: { %s: { 0: %d } }", in, end-1))).ended()
				require.Equal(t, end-1, kafkatest.Committed(t, e, "i", in)[0].Offset, "an end inside a gap")
			})
		})
	}
}

func TestInvariant09_AStaleEpochIsAFailedCommitAndThePipelineGoesOn(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.StaleMemberEpoch, kerr.RebalanceInProgress} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 1)
			s, m := startMeasured(t, e, copyYAML(in, out, "g", "group_protocol: consumer"))
			kafkatest.Eventually(t, patience, "the group has a position", func() bool { return len(kafkatest.Committed(t, e, "g", in)) == 1 })
			outage := e.Fail(kmsg.OffsetCommit, 3, err)
			for range 5 {
				kafkatest.Fill(t, e, in, 10)
				time.Sleep(3 * time.Second) // virtual
			}
			outage.Remove()
			awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 50)})
			kafkatest.Eventually(t, patience, "it is committed later", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == 50 })
			failed, _ := m.get("tidemark_offset_commits_failed")
			require.Positive(t, failed)
			require.Contains(t, s.logs.String(), "committing its offsets failed")
			require.Empty(t, s.said("Going back to checkpoint"))
		})
	}
}

func TestInvariant11_AStopIsACheckpoint(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 40)
		filled := e.Count(kmsg.Produce)
		var flushed atomic.Bool
		e.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			e.KeepControl()
			flushed.Store(e.Count(kmsg.Produce) > filled)
			return nil, nil, false
		})
		s := start(t, e, copyYAML(in, out, "g", "checkpoint: { interval: 1h }\n    assignment: "+assignment)+"    linger: 1m\n")
		time.Sleep(30 * time.Second) // virtual
		require.Equal(t, []int64{0, 0}, kafkatest.Ends(t, e, out), "the records wait for others")
		require.NoError(t, s.stop())
		require.True(t, flushed.Load(), "the flush comes before the commit")
		for p := range int32(2) {
			require.Equal(t, int64(40), kafkatest.Committed(t, e, "g", in)[p].Offset)
		}
		require.Equal(t, map[int32][]int64{0: span(0, 40), 1: span(0, 40)}, numbers(t, e, out))
	})
}

func TestInvariant12_ABoundedRunEndsWithAFinalCheckpoint(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "g", "stop_at: latest\n    checkpoint: { interval: 1h }\n    assignment: "+assignment) + "    linger: 1m\n"
		for round := range int64(3) {
			kafkatest.Fill(t, e, in, 20)
			s := start(t, e, yaml)
			s.ended()
			require.NotContains(t, s.logs.String(), "level=ERROR")
			require.Equal(t, map[int32][]int64{0: span(0, 20*(round+1)), 1: span(0, 20*(round+1))}, numbers(t, e, out),
				"each run has an end of its own, and begins at that of the one before")
			for p := range int32(2) {
				require.Equal(t, 20*(round+1), kafkatest.Committed(t, e, "g", in)[p].Offset)
			}
		}
	})
}
