package behaviour

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// place is where the command finds a job's checkpoints.
func place(e *kafkatest.Cluster, topic string, partitions int) store.TopicPlace {
	return store.TopicPlace{
		Connection: kafka.Connection{SeedBrokers: e.Seeds(), Dial: e.Dial}, Topic: topic, Spec: store.TopicSpec{Partitions: partitions},
	}
}

// exportedTopic writes what a topic has of its only job to a file.
func exportedTopic(t *testing.T, e *kafkatest.Cluster, topic string) *savepoint.File {
	t.Helper()
	a, err := store.OpenTopicArchive(t.Context(), place(e, topic, 0))
	require.NoError(t, err)
	snap, err := a.Snapshot(t.Context(), 0)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "file")
	_, err = savepoint.Write(t.Context(), path, snap)
	require.NoError(t, err)
	require.NoError(t, snap.Close())
	require.NoError(t, a.Close())
	return opened(t, path)
}

func opened(t *testing.T, path string) *savepoint.File {
	t.Helper()
	f, err := savepoint.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// importedTopic makes a topic out of files.
func importedTopic(t *testing.T, e *kafkatest.Cluster, topic string, partitions int, files ...*savepoint.File) {
	t.Helper()
	merged, err := savepoint.Merge(files, savepoint.Target{Share: &savepoint.Share{}, ShardOf: kafka.ShardOf})
	require.NoError(t, err)
	require.NoError(t, store.TopicImporter{Place: place(e, topic, partitions)}.Import(t.Context(), merged))
}

// runUntilKilled is run, in a bubble, for processes that die in the end.
func (r *rescaling) runUntilKilled(yamls ...string) {
	r.t.Helper()
	env := environment(r.t, r.e)
	var streams []*stream
	var proxies []*kafkatest.Proxy
	for _, yaml := range yamls {
		p := kafkatest.NewProxy(r.t, r.e)
		proxies, streams = append(proxies, p), append(streams, startIn(r.t, env, p, yaml))
	}
	time.Sleep(10 * time.Second) // virtual: all is read, and windows that are over have fired
	for _, p := range proxies {
		p.Down()
	}
	for _, s := range streams {
		_ = s.stop()
	}
}

// From a topic that two shards shared, to the folders of three, to a topic with another
// number of partitions that a group shares, to a third topic of one process: windows that
// are open and watermarks go along with the positions each time, whether the processes
// stopped or died, and every result comes once.
func TestMoveBetweenStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		const partitions = 8
		r := &rescaling{
			t: t, e: e, in: kafkatest.Topic(t, e, partitions), out: kafkatest.Topic(t, e, 1),
			partitions: partitions, want: map[string]int{},
		}
		first, second, third := kafkatest.Unique(t), kafkatest.Unique(t), kafkatest.Unique(t)
		inTopic := func(topic, assignment, extra string) string {
			return r.yamlIn("topic: "+topic, assignment, extra) + exactly
		}
		r.feed(10)
		r.runUntilKilled(inTopic(first, "shard: { index: 0, count: 2 }", ""), inTopic(first, "shard: { index: 1, count: 2 }", ""))
		before := len(r.got())
		require.Positive(t, before)
		require.Less(t, before, len(r.want), "some windows are open")

		file := exportedTopic(t, e, first)
		require.Len(t, file.Manifest().Positions, partitions)
		folders := shards{t: t}
		for i := range 3 {
			folder := filepath.Join(t.TempDir(), fmt.Sprint(i))
			merged, err := savepoint.Merge([]*savepoint.File{file}, savepoint.Target{
				Share: &savepoint.Share{Shard: checkpoint.Shard{Index: i, Count: 3}}, ShardOf: kafka.ShardOf,
			})
			require.NoError(t, err)
			require.NoError(t, store.Importer{Options: store.Options{Directory: folder}}.Import(t.Context(), merged))
			folders.folders = append(folders.folders, folder)
		}
		require.Equal(t, file.Manifest().Positions, folders.positions())
		r.feed(10)
		r.run(folders, false)
		require.Greater(t, len(r.got()), before)

		importedTopic(t, e, second, 7, folders.exported()...)
		require.Equal(t, folders.positions(), exportedTopic(t, e, second).Manifest().Positions)
		r.feed(10)
		before = len(r.got())
		group := inTopic(second, "consumer_group: g", "")
		r.runUntilKilled(group, group)
		require.Greater(t, len(r.got()), before)

		last := exportedTopic(t, e, second)
		importedTopic(t, e, third, 2, last)
		require.Equal(t, last.Manifest().Positions, exportedTopic(t, e, third).Manifest().Positions)
		require.Equal(t, last.Summary(), exportedTopic(t, e, third).Summary())
		r.feed(10)
		start(t, e, inTopic(third, "", "stop_at: latest")).ended()
		require.Equal(t, r.want, r.got())
		require.Len(t, kafkatest.Ends(t, e, second), 7)
		require.Len(t, kafkatest.Ends(t, e, third), 2)
	})
}

// What the members of a group give out while they run makes one job again, elsewhere.
func TestSavepointsOfMembersAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		const partitions, each = 6, 100
		in, out := topics(t, e, partitions)
		all := clicks(kafkatest.Random(t), partitions, 2*each, false)
		feed := func(half int) {
			for i := range each {
				var rs []*kgo.Record
				for p, cs := range all {
					rs = append(rs, &kgo.Record{Topic: in, Partition: int32(p), Value: []byte(cs[half*each+i].json())})
				}
				kafkatest.Produce(t, e, rs...)
			}
		}
		env := environment(t, e)
		var proxies []*kafkatest.Proxy
		topic := kafkatest.Unique(t)
		for range 3 {
			p := kafkatest.NewProxy(t, e)
			proxies = append(proxies, p)
			startIn(t, env, p, strings.Replace(sumsYAML(in, out, topic, "consumer_group: g"),
				"job: w,", fmt.Sprintf("job: w, savepoint_directory: %q,", t.TempDir()), 1))
		}
		joined(t, e, 3)
		feed(0)
		time.Sleep(5 * time.Second) // virtual: what can be emitted is
		before := len(summed(t, e, out))
		require.Positive(t, before)
		var files []*savepoint.File
		kafkatest.Until(t, patience, func() error { // One that goes back refuses.
			files = nil
			for _, s := range engine.Savepoints(context.Background()) {
				if s.Err != nil {
					require.Empty(t, s.File)
					return s.Err
				}
				files = append(files, opened(t, s.File))
				require.True(t, files[len(files)-1].Origin().Group)
				require.Positive(t, s.Keys(), "windows are open")
			}
			return nil
		})
		require.Len(t, files, 3)
		for _, p := range proxies {
			p.Down()
		}
		require.Len(t, summed(t, e, out), before, "they emitted nothing more")

		elsewhere := kafkatest.Unique(t)
		importedTopic(t, e, elsewhere, 9, files...)
		feed(1)
		for p := range partitions {
			kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: int32(p), Value: []byte(click{T: 3_600_000, U: "end"}.json())})
		}
		s := start(t, e, sumsYAML(in, out, elsewhere, "consumer_group: other"))
		want := sums(all)
		kafkatest.Until(t, 2*time.Minute, func() error {
			if got := summed(t, e, out); len(got) < len(want) {
				return fmt.Errorf("%d of %d results", len(got), len(want))
			}
			return nil
		})
		require.NoError(t, s.stop())
		require.Equal(t, want, summed(t, e, out))
	})
}
