package soak

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The offline computation agrees with one that goes through all records.
func TestWindowsAreWhatTheRecordsAddUpTo(t *testing.T) {
	const n = 1000
	all, latest := map[[2]int64]counted{}, int64(0)
	for i := range int64(n) {
		at := happened(i)
		latest = max(latest, at)
		require.Greater(t, at+lateAllowed, latest, "record %d is not late", i)
		w := [2]int64{at / windowSize, i % keysPerPartition}
		all[w] = counted{all[w].N + 1, all[w].Sum + int64(Amount(3, i))}
		require.Equal(t, (latest-lateAllowed)/windowSize, due(i+1), "after %d records", i+1)
	}
	require.Equal(t, int64(12), due(n))
	for w := range due(n) {
		for key := range int64(keysPerPartition) {
			require.Positive(t, all[[2]int64{w, key}].N)
			require.Equal(t, want(3, int(key), w), all[[2]int64{w, key}])
		}
	}
}

func TestResultsOfWindowsAreAudited(t *testing.T) {
	for name, c := range map[string]struct {
		// change changes the results of windows 0 to 2 of the keys of one partition.
		change func(records []*kgo.Record) []*kgo.Record
		want   map[Fault]int
	}{
		"as they should be":      {func(rs []*kgo.Record) []*kgo.Record { return rs }, map[Fault]int{}},
		"one again":              {func(rs []*kgo.Record) []*kgo.Record { return append(rs, rs[len(rs)-1]) }, map[Fault]int{Doubled: 1}},
		"one missing at the end": {func(rs []*kgo.Record) []*kgo.Record { return rs[:len(rs)-1] }, map[Fault]int{Lost: 1}},
		"one missing":            {func(rs []*kgo.Record) []*kgo.Record { return rs[1:] }, map[Fault]int{Disorder: 1}},
		"another sum": {func(rs []*kgo.Record) []*kgo.Record {
			rs[5].Value = []byte(`{"n":10,"sum":1}`)
			return rs
		}, map[Fault]int{WrongState: 1}},
		"between two windows": {func(rs []*kgo.Record) []*kgo.Record {
			rs[len(rs)-1].Timestamp = rs[len(rs)-1].Timestamp.Add(time.Millisecond)
			return rs
		}, map[Fault]int{Altered: 1, Lost: 1}},
		"in another partition": {func(rs []*kgo.Record) []*kgo.Record {
			rs[len(rs)-1].Partition = 0
			return rs
		}, map[Fault]int{Altered: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			n := NewNumbering(2, 0)
			r := &Rig{Numbers: n, Audit: NewAudit(2), Windows: newWindows(n)}
			var records []*kgo.Record
			for w := range int64(3) {
				for key := range keysPerPartition {
					is := want(1, key, w)
					records = append(records, &kgo.Record{
						Partition: 1, Offset: int64(len(records)), Key: n.keys[1][key], Value: fmt.Appendf(nil, `{"n":%d,"sum":%d}`, is.N, is.Sum),
						Timestamp: time.UnixMilli(r.Windows.begin + (w+1)*windowSize - 1),
					})
				}
			}
			follow := r.followWindows()
			for _, rec := range c.change(records) {
				follow(rec)
			}
			r.Audit.Finish([]int64{0, 3 * windowSize}, []int64{0, 3})
			_, got := r.Audit.Violations()
			require.Equal(t, c.want, got, "%v", r.Audit)
		})
	}
}
