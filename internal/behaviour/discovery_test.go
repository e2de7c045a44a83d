package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// assignments are the two ways in which a process gets its partitions.
var assignments = []string{"group", "static"}

// each runs a test in virtual time for both assignments.
func each(t *testing.T, f func(t *testing.T, assignment string)) {
	t.Helper()
	for _, a := range assignments {
		t.Run(a, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, a) }) })
	}
}

// fanYAML copies topics to one, whose partitions follow the keys.
func fanYAML(in, out, extra string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    consumer_group: g
    topics: [ %s ]
    %s
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
`, in, extra, out)
}

// counts returns how many numbers of each source partition a topic holds.
func counts(t testing.TB, e kafkatest.Endpoint, topic string) map[int32]int {
	t.Helper()
	c := map[int32]int{}
	for p, ns := range numbers(t, e, topic) {
		c[p] = len(ns)
	}
	return c
}

func TestDI02_WithDiscoveryOffNewPartitionsAreNotRead(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, fanYAML(in, out, "discovery_interval: 0s\n    assignment: "+assignment))
		kafkatest.Eventually(t, patience, "the first partition is read", func() bool { return counts(t, e, out)[0] == 5 })
		kafkatest.AddPartitions(t, e, in, 2)
		kafkatest.Fill(t, e, in, 5)
		time.Sleep(20 * time.Minute) // virtual: metadata is refreshed many times
		require.Equal(t, map[int32]int{0: 10}, counts(t, e, out))
	})
}

func TestDI03_NewPartitionsAreReadFromTheirFirstRecord(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, fanYAML(in, out, "start_from: latest\n    assignment: "+assignment))
		kafkatest.Eventually(t, patience, "the group has a position", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 1
		})
		kafkatest.AddPartitions(t, e, in, 2)
		kafkatest.Fill(t, e, in, 5)
		created := time.Now()
		kafkatest.Eventually(t, patience, "both are read", func() bool {
			c := counts(t, e, out)
			return c[0] == 5 && c[1] == 5
		})
		require.Less(t, time.Since(created), 15*time.Second, "discovery is on with 10s")
		require.Equal(t, span(0, 5), numbers(t, e, out)[1])
	})
}

func TestDI04_ABoundedRunDoesNotDiscoverAndAnUnboundedOneDoesNotEnd(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, fanYAML(in, out, "stop_at: latest\n    discovery_interval: 1s\n    assignment: "+assignment)).ended()
		require.Equal(t, map[int32]int{0: 5}, counts(t, e, out))
		s := start(t, e, fanYAML(in, out, "assignment: "+assignment))
		time.Sleep(time.Hour) // virtual
		select {
		case <-s.done:
			t.Fatal("an unbounded run ended by itself")
		default:
		}
		require.NoError(t, s.stop())
	})
}

func TestDI05_AllPartitionsOfExactlyTheListedTopics(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		a, b := topics(t, e, 2)
		other, out := topics(t, e, 2)
		for _, topic := range []string{a, b, other} {
			kafkatest.Fill(t, e, topic, 5)
		}
		start(t, e, fanYAML(a+", "+b, out, "assignment: "+assignment))
		kafkatest.Eventually(t, patience, "two topics are read", func() bool {
			c := counts(t, e, out)
			return c[0] == 10 && c[1] == 10
		})
	})
}

func TestDI06_PatternsMatchWholeNames(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		for _, topic := range []string{"orders-eu", "orders-us", "orders-us-old", "my-orders-eu"} {
			kafkatest.CreateTopic(t, e, topic, 1)
			kafkatest.Fill(t, e, topic, 5)
		}
		out := kafkatest.Topic(t, e, 1)
		start(t, e, fanYAML("'orders-[a-z]+', 'nothing-.*'", out, "regexp_topics: true\n    assignment: "+assignment))
		kafkatest.Eventually(t, patience, "two topics are read", func() bool { return counts(t, e, out)[0] == 10 })
		kafkatest.CreateTopic(t, e, "orders-asia", 1)
		kafkatest.Fill(t, e, "orders-asia", 5)
		kafkatest.Eventually(t, patience, "a new topic is read", func() bool { return counts(t, e, out)[0] == 15 })
		time.Sleep(time.Minute) // virtual
		require.Equal(t, map[int32]int{0: 15}, counts(t, e, out))
	})
}

func TestDI07_OnlyExplicitPartitionsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		kafkatest.Fill(t, e, in, 5)
		start(t, e, fanYAML("'"+in+":0', '"+in+":2-3'", out, ""))
		kafkatest.Eventually(t, patience, "offsets are committed", func() bool {
			c := kafkatest.Committed(t, e, "g", in)
			return c[0].Offset == 5 && c[2].Offset == 5 && c[3].Offset == 5
		})
		require.Len(t, kafkatest.Committed(t, e, "g", in), 3)
		require.Equal(t, map[int32]int{0: 5, 2: 5, 3: 5}, counts(t, e, out))
	})
}

func TestDI09_ATopicThatDisappearsDoesNotStopTheOthers(t *testing.T) {
	for _, assignment := range assignments {
		t.Run(assignment, func(t *testing.T) {
			e := kafkatest.Shared(t)
			a, b := topics(t, e, 1)
			out := kafkatest.Topic(t, e, 1)
			kafkatest.Fill(t, e, a, 5)
			kafkatest.Fill(t, e, b, 5)
			s := start(t, e, fanYAML(a+", "+b, out, "discovery_interval: 1s\n    metadata_max_age: 1s\n    assignment: "+assignment))
			kafkatest.Eventually(t, patience, "both are read", func() bool { return counts(t, e, out)[0] == 10 })
			kafkatest.DeleteTopic(t, e, a)
			kafkatest.Eventually(t, patience, "the removal is recognised", func() bool {
				return strings.Contains(s.logs.String(), a) && strings.Contains(s.logs.String(), "UNKNOWN_TOPIC")
			})
			kafkatest.Fill(t, e, b, 5)
			kafkatest.Eventually(t, patience, "the other goes on", func() bool { return counts(t, e, out)[0] == 15 })
			kafkatest.CreateTopic(t, e, a, 1)
			kafkatest.Fill(t, e, a, 8)
			kafkatest.Eventually(t, patience, "a new one of its name is read from its first record", func() bool { return counts(t, e, out)[0] == 23 })
			kafkatest.Eventually(t, patience, "its position is committed", func() bool { return kafkatest.Committed(t, e, "g", a)[0].Offset == 8 })
		})
	}
}

// The position in the old log, which no commit has published yet, says nothing about
// the new one, whatever the group is told in between.
func TestATopicMadeAnewIsNotReadFromThePositionInTheOldOne(t *testing.T) {
	for name, extra := range map[string]string{
		"classic": "assignment: group", "consumer": "group_protocol: consumer", "static": "assignment: static", "pattern": "regexp_topics: true",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 1)
				kafkatest.Fill(t, e, in, 5)
				s := start(t, e, fanYAML(in, out, "discovery_interval: 1s\n    start_from: earliest\n    checkpoint: { interval: 10m }\n    "+extra))
				kafkatest.Eventually(t, patience, "it is read", func() bool { return counts(t, e, out)[0] == 5 })
				kafkatest.DeleteTopic(t, e, in)
				kafkatest.CreateTopic(t, e, in, 1)
				kafkatest.Fill(t, e, in, 10)
				kafkatest.Eventually(t, time.Minute, "the new one is read from its first record", func() bool { return counts(t, e, out)[0] == 15 })
				require.NoError(t, s.stop())
				require.Equal(t, append(span(0, 5), span(0, 10)...), numbers(t, e, out)[0])
				require.Equal(t, int64(10), kafkatest.Committed(t, e, "g", in)[0].Offset)
			})
		})
	}
}

// A commit that names the topic, as clients of brokers before 4.1 make it, reaches the
// new topic with a position of the old one. Its mark says of which topic it is; so also
// after a restart.
func TestACommitOfTheOldTopicIsNotThePositionInTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		versions := kversion.Stable()
		versions.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9)
		e := kafkatest.Virtual(t, kfake.MaxVersions(versions))
		in, out := topics(t, e, 2)
		yaml := fanYAML(in, out, "discovery_interval: 10s\n    start_from: earliest\n    checkpoint: { interval: 1s }")
		s := start(t, e, yaml)
		start(t, e, yaml)
		kafkatest.Fill(t, e, in, 5)
		kafkatest.Eventually(t, patience, "it is read", func() bool { return counts(t, e, out)[0] == 5 && counts(t, e, out)[1] == 5 })
		kafkatest.DeleteTopic(t, e, in)
		kafkatest.CreateTopic(t, e, in, 2)
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, time.Minute, "the new one is read from its first record", func() bool { return counts(t, e, out)[0] >= 15 && counts(t, e, out)[1] >= 15 })
		require.NoError(t, s.stop())
		time.Sleep(20 * time.Second) // virtual
		require.Equal(t, map[int32]int{0: 15, 1: 15}, counts(t, e, out))
		require.Equal(t, int64(10), kafkatest.Committed(t, e, "g", in)[0].Offset)
	})
}

// A pattern says what is read; what happens to other topics is nobody's business here.
func TestATopicThatIsNotReadMayBeMadeAnew(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		other := kafkatest.Topic(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		s := start(t, e, fanYAML(in, out, "regexp_topics: true\n    discovery_interval: 1s\n    start_from: earliest\n    offset_reset: none\n    assignment: "+assignment))
		kafkatest.Eventually(t, patience, "it is read", func() bool { return counts(t, e, out)[0] == 5 })
		kafkatest.DeleteTopic(t, e, other)
		kafkatest.CreateTopic(t, e, other, 1)
		time.Sleep(20 * time.Second) // virtual
		kafkatest.Fill(t, e, in, 5)
		kafkatest.Eventually(t, patience, "it goes on", func() bool { return counts(t, e, out)[0] == 10 })
		require.NoError(t, s.stop())
		require.Empty(t, s.said("anew"))
	})
}

// While the job does not run nobody watches, but what it has committed says of which
// topic it is.
func TestATopicMadeAnewBetweenTwoRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 5)
		s := start(t, e, fanYAML(in, out, ""))
		kafkatest.Eventually(t, patience, "it is read", func() bool { return counts(t, e, out)[0] == 5 })
		require.NoError(t, s.stop())
		mark := kafkatest.Committed(t, e, "g", in)[0]
		kafkatest.DeleteTopic(t, e, in)
		kafkatest.CreateTopic(t, e, in, 1)
		kafkatest.Fill(t, e, in, 10)
		// Brokers forget the offsets of a topic that is deleted, unless somebody puts them
		// back.
		offsets := kadm.Offsets{}
		offsets.Add(kadm.Offset{Topic: in, At: mark.Offset, LeaderEpoch: -1, Metadata: mark.Metadata})
		require.NoError(t, kafkatest.Admin(t, e).CommitAllOffsets(t.Context(), "g", offsets))
		start(t, e, fanYAML(in, out, ""))
		kafkatest.Eventually(t, patience, "all of the new one is read", func() bool { return counts(t, e, out)[0] == 15 })
	})
}

// A broker answers at once that it does not know a topic: nobody may ask without end.
func TestDI09_ADeletedTopicIsNotAskedForWithoutEnd(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		a, out := topics(t, e, 1)
		kafkatest.Fill(t, e, a, 5)
		start(t, e, fanYAML(a, out, "discovery_interval: 1s\n    assignment: "+assignment))
		kafkatest.Eventually(t, patience, "it is read", func() bool { return counts(t, e, out)[0] == 5 })
		kafkatest.DeleteTopic(t, e, a)
		before := e.Count(kmsg.Fetch)
		time.Sleep(time.Minute) // virtual
		require.Less(t, e.Count(kmsg.Fetch)-before, 150)
	})
}

func TestDI10_EveryPartitionHasExactlyOneReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 6)
		yaml := copyYAML(in, out, "g", "")
		start(t, e, yaml)
		start(t, e, yaml)
		time.Sleep(30 * time.Second) // virtual: the group settles
		start(t, e, yaml)
		time.Sleep(30 * time.Second)
		kafkatest.Fill(t, e, in, 50)
		want := map[int32][]int64{}
		for p := range int32(6) {
			want[p] = span(0, 50)
		}
		awaitNumbers(t, e, out, want)
	})
}
