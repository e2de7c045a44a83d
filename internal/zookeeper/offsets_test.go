package zookeeper_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/zookeeper"
)

func TestParseConnect(t *testing.T) {
	for text, want := range map[string]struct {
		servers []string
		root    string
	}{
		"zk":                      {[]string{"zk:2181"}, ""},
		" a:1 , b ,":              {[]string{"a:1", "b:2181"}, ""},
		"a:1,b:2/kafka":           {[]string{"a:1", "b:2"}, "/kafka"},
		"a:1/kafka/one/":          {[]string{"a:1"}, "/kafka/one"},
		"a/":                      {[]string{"a:2181"}, ""},
		"[::1]:5,::1,[fe80::1]/k": {[]string{"[::1]:5", "[::1]:2181", "[fe80::1]:2181"}, "/k"},
	} {
		servers, root, err := zookeeper.ParseConnect(text)
		require.NoError(t, err, text)
		assert.Equal(t, want.servers, servers, text)
		assert.Equal(t, want.root, root, text)
	}
	for text, want := range map[string]string{
		"": "names no server", ",": "names no server", "/kafka": "names no server", "a:0": `port "0"`, "a:b:c": "not an address",
		":1": "the host is missing", "a//b": "not a path of ZooKeeper",
	} {
		_, _, err := zookeeper.ParseConnect(text)
		assert.ErrorContains(t, err, want, text)
	}
}

var p0, p1 = kafka.Partition{Topic: "t", ID: 0}, kafka.Partition{Topic: "t", ID: 1}

// at makes offsets to commit.
func at(offset int64, parts ...kafka.Partition) map[kafka.Partition]kafka.Committed {
	m := map[kafka.Partition]kafka.Committed{}
	for _, p := range parts {
		m[p] = kafka.Committed{Position: kafka.Position{Offset: offset, LeaderEpoch: kafka.UnknownEpoch}}
	}
	return m
}

func open(t *testing.T, b *kafkatest.Broker, conf zookeeper.Config) *zookeeper.Offsets {
	t.Helper()
	if conf.Connect == "" {
		conf.Connect = b.ZooKeeper()
	}
	conf.Group = "g"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	z, err := zookeeper.Open(ctx, conf)
	require.NoError(t, err)
	t.Cleanup(z.Close)
	return z
}

// bounded is a context for one call.
func bounded(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOffsetsAreTheNodesOfOldConsumers(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka08)
	node := "/consumers/g/offsets/t/0"

	t.Run("read and written", func(t *testing.T) {
		z := open(t, b, zookeeper.Config{})
		found, err := z.Fetch(t.Context(), []kafka.Partition{p0, p1})
		require.NoError(t, err)
		require.Empty(t, found)
		require.NoError(t, z.Commit(t.Context(), at(17, p0)))
		text, _ := kafkatest.Node(t, b, node)
		require.Equal(t, "17", text)
		kafkatest.SetNode(t, b, "/consumers/g/offsets/t/1", "5")
		found, err = open(t, b, zookeeper.Config{}).Fetch(t.Context(), []kafka.Partition{p0, p1})
		require.NoError(t, err)
		want := at(17, p0)
		want[p1] = at(5, p1)[p1]
		require.Equal(t, want, found)

		// What somebody else writes meanwhile is overwritten, as it is in Kafka.
		kafkatest.SetNode(t, b, node, "3")
		require.NoError(t, z.Commit(t.Context(), at(18, p0, p1)))
		text, _ = kafkatest.Node(t, b, node)
		require.Equal(t, "18", text)
	})

	t.Run("below a chroot", func(t *testing.T) {
		z := open(t, b, zookeeper.Config{Connect: b.ZooKeeper() + "/kafka/one"})
		require.ErrorContains(t, z.Commit(t.Context(), at(1, p0)), `the path "/kafka/one" of zookeeper_connect does not exist`)
		kafkatest.SetNode(t, b, "/kafka/one", "")
		require.NoError(t, z.Commit(t.Context(), at(2, p0)))
		text, _ := kafkatest.Node(t, b, "/kafka/one"+node)
		require.Equal(t, "2", text)
	})

	t.Run("with a password", func(t *testing.T) {
		kafkatest.SetNode(t, b, "/safe", "")
		safe := b.ZooKeeper() + "/safe"
		ours := open(t, b, zookeeper.Config{Connect: safe, User: "u", Password: "p"})
		require.NoError(t, ours.Commit(t.Context(), at(1, p0)))
		require.NoError(t, ours.Commit(t.Context(), at(2, p0)))
		theirs := open(t, b, zookeeper.Config{Connect: safe, User: "u", Password: "wrong"})
		found, err := theirs.Fetch(t.Context(), []kafka.Partition{p0})
		require.NoError(t, err)
		require.Equal(t, at(2, p0), found)
		err = theirs.Commit(t.Context(), at(3, p0))
		require.ErrorIs(t, err, zookeeper.ErrAuth)
		require.NotContains(t, err.Error(), "wrong")
	})

	t.Run("not an offset", func(t *testing.T) {
		kafkatest.SetNode(t, b, "/consumers/g/offsets/bad/0", "many")
		_, err := open(t, b, zookeeper.Config{}).Fetch(t.Context(), []kafka.Partition{{Topic: "bad"}})
		require.ErrorContains(t, err, `the node /consumers/g/offsets/bad/0 holds "many", which is not an offset`)
	})

	t.Run("while ZooKeeper is away", func(t *testing.T) {
		z := open(t, b, zookeeper.Config{})
		require.NoError(t, z.Commit(t.Context(), at(30, p0)))
		b.PauseZooKeeper()
		var failed *kafka.CommitError
		kafkatest.Eventually(t, 10*time.Second, "frozen", func() bool {
			return errors.As(z.Commit(bounded(t, 300*time.Millisecond), at(31, p0)), &failed)
		})
		require.ErrorIs(t, failed.Partitions[p0], context.DeadlineExceeded)
		b.ContinueZooKeeper()
		// The write that was given up may come before this one, never after it.
		require.NoError(t, z.Commit(bounded(t, time.Minute), at(32, p0)))
		text, _ := kafkatest.Node(t, b, node)
		require.Equal(t, "32", text)

		b.StopZooKeeper()
		require.Error(t, z.Commit(bounded(t, 300*time.Millisecond), at(33, p0)))
		_, err := zookeeper.Open(bounded(t, 500*time.Millisecond), zookeeper.Config{Connect: b.ZooKeeper(), Group: "g"})
		require.ErrorContains(t, err, "no server gave a session")
		b.StartZooKeeper()
		require.NoError(t, z.Commit(bounded(t, time.Minute), at(34, p0)))
	})
}

func TestOpenRefusesGroupsThatCannotBeNodes(t *testing.T) {
	_, err := zookeeper.Open(t.Context(), zookeeper.Config{Connect: "a", Group: "a/b"})
	require.ErrorContains(t, err, `the group "a/b" cannot be a node`)
}
