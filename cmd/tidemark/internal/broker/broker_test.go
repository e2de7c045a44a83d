package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func connect(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()), kgo.AllowAutoTopicCreation())...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestKeepsRecordsAndOffsets(t *testing.T) {
	dir, ctx := t.TempDir(), deadline(t)
	b, err := Start(Options{Listen: "127.0.0.1:0", Dir: dir, Partitions: 3})
	require.NoError(t, err)
	c := connect(t, b)
	require.NoError(t, c.ProduceSync(ctx, &kgo.Record{Topic: "made", Partition: 0, Value: []byte("one")}).FirstErr())
	admin := kadm.NewClient(c)
	topics, err := admin.ListTopics(ctx, "made")
	require.NoError(t, err)
	assert.Len(t, topics["made"].Partitions, 3)
	offsets := kadm.Offsets{}
	offsets.AddOffset("made", 0, 7, -1)
	require.NoError(t, admin.CommitAllOffsets(ctx, "group", offsets))
	c.Close()
	require.NoError(t, b.Close())

	b, err = Start(Options{Listen: "127.0.0.1:0", Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	c = connect(t, b, kgo.ConsumeTopics("made"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fetched := c.PollFetches(ctx)
	require.NoError(t, fetched.Err())
	assert.Equal(t, "one", string(fetched.Records()[0].Value))
	committed, err := kadm.NewClient(c).FetchOffsets(ctx, "group")
	require.NoError(t, err)
	o, _ := committed.Lookup("made", 0)
	assert.Equal(t, int64(7), o.At)
}

func TestOneBrokerPerFolder(t *testing.T) {
	dir := t.TempDir()
	b, err := Start(Options{Listen: "127.0.0.1:0", Dir: dir})
	require.NoError(t, err)
	_, err = Start(Options{Listen: "127.0.0.1:0", Dir: dir})
	require.ErrorContains(t, err, "locking the folder")
	assert.ErrorContains(t, err, dir)
	require.NoError(t, b.Close())
	b, err = Start(Options{Listen: "127.0.0.1:0", Dir: dir})
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestAddressInUse(t *testing.T) {
	b, err := Start(Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	dir := t.TempDir()
	_, err = Start(Options{Listen: b.Addr(), Dir: dir})
	require.ErrorContains(t, err, b.Addr())
	// The folder is free again.
	other, err := Start(Options{Listen: "127.0.0.1:0", Dir: dir})
	require.NoError(t, err)
	require.NoError(t, other.Close())
}

func TestBadOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"give host:port":              {Listen: "9092"},
		"names no host":               {Listen: ":9092"},
		"127.0.0.1:9093 for example":  {Listen: "0.0.0.0:9093"},
		"number of partitions is -1":  {Listen: "127.0.0.1:0", Partitions: -1},
		"making the folder for the b": {Listen: "127.0.0.1:0", Dir: "/dev/null/x"},
	} {
		_, err := Start(o)
		assert.ErrorContains(t, err, want)
	}
}

func TestCreateTopic(t *testing.T) {
	b, err := Start(Options{Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	require.NoError(t, b.CreateTopic("a", 2, 1000))
	require.NoError(t, b.CreateTopic("a", 5, 0), "it is there already")
	assert.Len(t, b.cluster.PartitionInfos("a"), 2)
	assert.Equal(t, "1000", *b.cluster.TopicInfo("a").Configs["retention.bytes"])
}
