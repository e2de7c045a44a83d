package behaviour

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// shards are the checkpoints of one job at one scale, a folder for each shard.
type shards struct {
	t       *testing.T
	folders []string
}

func (s shards) count() int { return len(s.folders) }

func (s shards) last(folder string) (*store.Archive, savepoint.Snapshot) {
	s.t.Helper()
	a, err := store.OpenArchive(store.Options{Directory: folder})
	require.NoError(s.t, err)
	snap, err := a.Snapshot(s.t.Context(), 0)
	require.NoError(s.t, err)
	return a, snap
}

// positions are those of all shards, each with its watermark.
func (s shards) positions() checkpoint.Positions {
	s.t.Helper()
	all := checkpoint.Positions{}
	for _, folder := range s.folders {
		a, snap := s.last(folder)
		for p, pos := range snap.Manifest().Positions {
			require.NotContains(s.t, all, p, "two shards have it")
			require.True(s.t, pos.Watermark.Known, p)
			all[p] = pos
		}
		require.NoError(s.t, snap.Close())
		require.NoError(s.t, a.Close())
	}
	return all
}

// exported writes the last checkpoint of each shard to a file.
func (s shards) exported() (files []*savepoint.File) {
	s.t.Helper()
	for _, folder := range s.folders {
		a, snap := s.last(folder)
		path := folder + ".savepoint"
		_, err := savepoint.Write(s.t.Context(), path, snap)
		require.NoError(s.t, err)
		positions := snap.Manifest().Positions
		require.NoError(s.t, snap.Close())
		require.NoError(s.t, a.Close())
		f, err := savepoint.Open(s.t.Context(), path)
		require.NoError(s.t, err)
		require.Equal(s.t, positions, f.Manifest().Positions)
		s.t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// rescaled makes stores for another number of shards.
func (s shards) rescaled(count int) shards {
	s.t.Helper()
	files := s.exported()
	next := shards{t: s.t}
	dir := s.t.TempDir()
	for i := range count {
		folder := filepath.Join(dir, fmt.Sprint(i))
		merged, err := savepoint.Merge(files, savepoint.Target{
			Share: &savepoint.Share{Shard: checkpoint.Shard{Index: i, Count: count}}, ShardOf: kafka.ShardOf,
		})
		require.NoError(s.t, err)
		require.NoError(s.t, store.Importer{Options: store.Options{Directory: folder}}.Import(s.t.Context(), merged))
		next.folders = append(next.folders, folder)
	}
	require.Equal(s.t, s.positions(), next.positions())
	return next
}

// rescaling is a job with windows of single partitions, in shards.
type rescaling struct {
	t          *testing.T
	e          kafkatest.Endpoint
	in, out    string
	partitions int32
	// next is the number of the next record of each partition, which are a second apart.
	next int
	want map[string]int
}

func (r *rescaling) yaml(s shards, i int, extra string) string {
	return r.yamlIn(fmt.Sprintf("directory: %q", s.folders[i]), fmt.Sprintf("shard: { index: %d, count: %d }", i, s.count()), extra)
}

// yamlIn is yaml for a store of any kind, and for any way to assign partitions.
func (r *rescaling) yamlIn(store, assignment, extra string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
    %s
    checkpoint: { store: { %s }, job: windows }
    %s
  processors:
    - watermark_periodic: { timestamp: this.t, idle_timeout: 0s }
buffer:
  event_time_window:
    type: tumbling
    size: 7s
    key: this.k
    scope: partition
    late: drop
    aggregate: { n: { count: {} } }
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
`, r.in, assignment, store, extra, r.out)
}

// feed adds n records to each partition, and to the windows that they belong to. From
// the second time on there are some before them that are late, and stay so.
func (r *rescaling) feed(n int) {
	r.t.Helper()
	for p := range r.partitions {
		var rs []string
		if r.next > 0 {
			rs = append(rs, fmt.Sprintf(`{"t":0,"k":"late-%d"}`, p))
		}
		for i := r.next; i < r.next+n; i++ {
			key := fmt.Sprintf("p%d-%d", p, i%2)
			rs = append(rs, fmt.Sprintf(`{"t":%d,"k":%q}`, i*1000, key))
			r.want[fmt.Sprintf("%s %d", key, i/7*7000+6999)]++
		}
		kafkatest.Produce(r.t, r.e, stamped(r.in, p, rs...)...)
	}
	r.next += n
}

// run reads all there is with every shard, in a bubble.
func (r *rescaling) run(s shards, last bool) {
	r.t.Helper()
	var streams []*stream
	for i := range s.count() {
		extra := ""
		if last {
			extra = "stop_at: latest"
		}
		streams = append(streams, start(r.t, r.e, r.yaml(s, i, extra)))
	}
	for _, st := range streams {
		if last {
			st.ended()
			continue
		}
		time.Sleep(5 * time.Second) // virtual, in the bubble: all is read, and windows that are over have fired
		require.NoError(r.t, st.stop())
	}
}

// got is what was emitted, and how often.
func (r *rescaling) got() map[string]int {
	r.t.Helper()
	got := map[string]int{}
	for _, rs := range kafkatest.ReadCommitted(r.t, r.e, r.out) {
		for _, rec := range rs {
			var n int
			_, err := fmt.Sscanf(string(rec.Value), `{"n":%d}`, &n)
			require.NoError(r.t, err)
			name := fmt.Sprintf("%s %d", rec.Key, rec.Timestamp.UnixMilli())
			require.Zero(r.t, got[name], "window %s was emitted twice", name)
			got[name] = n
		}
	}
	return got
}

// From two shards to three to one: windows that are open move with their partitions,
// watermarks with the positions, and nothing is lost, doubled or late that was not.
func TestRescaleBySavepoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		const partitions = 8
		r := &rescaling{
			t: t, e: e, in: kafkatest.Topic(t, e, partitions), out: kafkatest.Topic(t, e, 1),
			partitions: partitions, want: map[string]int{},
		}
		s := shards{t, []string{filepath.Join(t.TempDir(), "0"), filepath.Join(t.TempDir(), "1")}}
		r.feed(10)
		r.run(s, false)
		before := len(r.got())
		require.Positive(t, before)
		require.Less(t, before, len(r.want), "some windows are open")

		s = s.rescaled(3)
		r.feed(10)
		r.run(s, false)
		require.Greater(t, len(r.got()), before)

		s = s.rescaled(1)
		r.feed(10)
		r.run(s, true)
		require.Equal(t, r.want, r.got())
	})
}

// A store without its share of the partitions is not used, whatever it holds.
func TestAShardTakesItsOwnStoreOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		r := &rescaling{t: t, e: e, in: kafkatest.Topic(t, e, 4), out: kafkatest.Topic(t, e, 1), partitions: 4, want: map[string]int{}}
		s := shards{t, []string{filepath.Join(t.TempDir(), "0"), filepath.Join(t.TempDir(), "1")}}
		r.feed(10)
		r.run(s, false)
		slices.Reverse(s.folders)
		st := start(t, e, r.yaml(s, 0, ""))
		st.ended()
		require.Contains(t, st.logs.String(), "store holds another share of the partitions")
	})
}

// Requests are refused without the folder, and answered with a file in it: with a store
// its state too, without one positions only. The job goes on.
func TestFieldSavepointDirectory(t *testing.T) {
	for name, tc := range map[string]struct {
		extra  string
		store  string
		origin savepoint.Origin
	}{
		"without a store": {extra: "g", origin: savepoint.Origin{Store: savepoint.FromNone, Group: true}},
		"with a store":    {origin: savepoint.Origin{Store: savepoint.FromDirectory}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				dir := t.TempDir()
				to, keep := filepath.Join(dir, "savepoints"), ""
				if tc.extra == "" {
					keep = fmt.Sprintf(", store: { directory: %q }", filepath.Join(dir, "store"))
				}
				yaml := func(savepoints string) string {
					return copyYAML(in, out, tc.extra, fmt.Sprintf("start_from: earliest\n    checkpoint: { interval: 1h, job: %s%s%s }", in, keep, savepoints))
				}
				kafkatest.Fill(t, e, in, 10)
				s := start(t, e, yaml(""))
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10), 1: span(0, 10)})
				require.ErrorContains(t, taken(t, in).Err, "checkpoint.savepoint_directory is not set")
				require.NoError(t, s.stop())

				kafkatest.Fill(t, e, in, 10)
				s = start(t, e, yaml(fmt.Sprintf(", savepoint_directory: %q", to)))
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 20), 1: span(0, 20)})
				got := taken(t, in)
				require.NoError(t, got.Err)
				require.Equal(t, tc.origin.Store != savepoint.FromNone, got.Stored)
				f, err := savepoint.Open(t.Context(), got.File)
				require.NoError(t, err)
				defer f.Close()
				require.Equal(t, tc.origin.Store, f.Origin().Store)
				require.Equal(t, tc.origin.Group, f.Origin().Group)
				for _, pos := range f.Manifest().Positions {
					require.EqualValues(t, 20, pos.Next)
				}
				require.Len(t, f.Manifest().Positions, 2)
				if !got.Stored {
					require.Contains(t, s.logs.String(), "there is no store, so positions are all it holds")
				}
				kafkatest.Fill(t, e, in, 10)
				awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 30), 1: span(0, 30)})
				require.NoError(t, s.stop())

				// It is where another store begins, whatever it comes from.
				merged, err := savepoint.Merge([]*savepoint.File{f}, savepoint.Target{ShardOf: kafka.ShardOf})
				require.NoError(t, err)
				moved := filepath.Join(dir, "moved")
				require.NoError(t, store.Importer{Options: store.Options{Directory: moved}}.Import(t.Context(), merged))
				start(t, e, copyYAML(in, out, "", fmt.Sprintf("checkpoint: { job: %s, store: { directory: %q } }", in, moved)))
				kafkatest.Eventually(t, patience, "it goes on there", func() bool { return counts(t, e, out)[0] == 40 && counts(t, e, out)[1] == 40 })
				require.Equal(t, append(span(0, 30), span(20, 30)...), numbers(t, e, out)[0])
				left, err := os.ReadDir(to)
				require.NoError(t, err)
				require.Len(t, left, 1)
			})
		})
	}
}

// taken takes the savepoint of the stream of a job.
func taken(t *testing.T, job string) engine.Savepoint {
	t.Helper()
	for _, s := range engine.Savepoints(context.Background()) {
		if s.Job == job {
			return s
		}
	}
	t.Fatalf("no stream of job %s is running", job)
	return engine.Savepoint{}
}
