package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// positionsAt makes a manifest of n partitions that all moved.
func positionsAt(id checkpoint.ID, n int) *checkpoint.Manifest {
	m := &checkpoint.Manifest{Job: testJob, ID: id, Kind: checkpoint.Running, Taken: time.Unix(int64(id), 0), Positions: checkpoint.Positions{}}
	for p := range n {
		partition := checkpoint.Partition{Source: "input", Topic: fmt.Sprintf("topic-%03d", p/100), ID: int32(p % 100)}
		m.Positions[partition] = checkpoint.Position{Next: checkpoint.Offset(id) * 1000, Stop: checkpoint.Unbounded}
	}
	return m
}

func BenchmarkPersist(b *testing.B) {
	for _, partitions := range []int{4, 1000, 10_000} {
		for _, retained := range []int{1, 5} {
			b.Run(fmt.Sprintf("partitions=%d/retain=%d", partitions, retained), func(b *testing.B) {
				d := newHarness(b, in(b.TempDir()), retain(retained)).open()
				var bytes int64
				for b.Loop() {
					n, err := d.Persist(b.Context(), positionsAt(d.LastID()+1, partitions), nil)
					require.NoError(b, err)
					bytes += n
				}
				b.ReportMetric(float64(bytes)/float64(b.N), "written/op")
				require.NoError(b, d.Close())
			})
		}
	}
}

// BenchmarkSync is what one sync of a small write costs, to compare with.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(b.TempDir() + "/f")
	require.NoError(b, err)
	for b.Loop() {
		_, err := f.Write(make([]byte, 300))
		require.NoError(b, err)
		require.NoError(b, f.Sync())
	}
	require.NoError(b, f.Close())
}

func BenchmarkOpenAndLoad(b *testing.B) {
	for _, partitions := range []int{4, 10_000} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			h := newHarness(b, in(b.TempDir()))
			d := h.open()
			for id := range checkpoint.ID(20) {
				_, err := d.Persist(b.Context(), positionsAt(id+1, partitions), nil)
				require.NoError(b, err)
			}
			require.NoError(b, d.Close())
			for b.Loop() {
				d := h.open()
				m, err := d.Load(b.Context())
				require.NoError(b, err)
				require.Len(b, m.Positions, partitions)
				require.NoError(b, d.Close())
			}
		})
	}
}

// BenchmarkState also reports the memory that the process holds at the end.
func BenchmarkState(b *testing.B) {
	const keys = 200_000
	d := newHarness(b, in(b.TempDir())).open()
	key := func(i int) []byte { return fmt.Appendf(nil, "customer-%09d", i) }
	for id := range checkpoint.ID(100) {
		m, _ := step(id + 1)
		var changes []checkpoint.Change
		for i := range keys / 100 {
			changes = append(changes, checkpoint.Change{
				Operator: testOperator, Scope: testScope, Key: key(int(id)*keys/100 + i), Value: make([]byte, 100),
			})
		}
		_, err := d.Persist(b.Context(), m, changes)
		require.NoError(b, err)
	}
	i := 0
	for b.Loop() {
		i = (i + 7919) % keys
		v, err := d.Get(testOperator, testScope, key(i))
		require.NoError(b, err)
		require.Len(b, v, 100)
	}
	b.ReportMetric(float64(residentBytes(b))/(1<<20), "RSS-MiB")
	require.NoError(b, d.Close())
}

func residentBytes(b *testing.B) int64 {
	b.Helper()
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(content))[1], 10, 64)
	require.NoError(b, err)
	return pages * int64(os.Getpagesize())
}
