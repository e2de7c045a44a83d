package main

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadsAreParsed(t *testing.T) {
	loads, err := parseLoads("2000000x100,5x12")
	require.NoError(t, err)
	require.Equal(t, []load{{Records: 2_000_000, ValueBytes: 100}, {Records: 5, ValueBytes: 12}}, loads)
	for _, bad := range []string{"", "5", "x", "0x100", "5x11", "5x100,", "-1x100"} {
		_, err := parseLoads(bad)
		require.ErrorContains(t, err, "RECORDSxBYTES", bad)
	}
}

// original is a topic of two partitions with three records each.
type original struct {
	want *content
	key  []byte
}

func newOriginal() original {
	o := original{want: newContent(2), key: []byte("k")}
	for n := range 3 {
		for p := range int32(2) {
			o.want.expect(p, o.key, o.value(p, n))
		}
	}
	return o
}

func (o original) value(partition int32, number int) []byte {
	v := make([]byte, markBytes+1)
	binary.BigEndian.PutUint32(v, uint32(partition))
	binary.BigEndian.PutUint64(v[4:], uint64(number))
	return v
}

func TestComparisonFindsEveryFault(t *testing.T) {
	o := newOriginal()
	// Each case writes partition 0; partition 1 is a faithful copy.
	for name, c := range map[string]struct {
		write func(*comparison)
		want  string
	}{
		"faithful": {func(c *comparison) {
			for n := range 3 {
				c.add(0, o.key, o.value(0, n))
			}
		}, ""},
		"missing": {func(c *comparison) {
			c.add(0, o.key, o.value(0, 0))
			c.add(0, o.key, o.value(0, 2))
		}, "1 are missing; of 5 written 0 are repeated, 0 out of order"},
		"missing at the end": {func(c *comparison) {
			c.add(0, o.key, o.value(0, 0))
		}, "2 are missing"},
		"repeated": {func(c *comparison) {
			for _, n := range []int{0, 1, 1, 2} {
				c.add(0, o.key, o.value(0, n))
			}
		}, "0 are missing; of 7 written 1 are repeated, 0 out of order"},
		"out of order": {func(c *comparison) {
			for _, n := range []int{0, 2, 1} {
				c.add(0, o.key, o.value(0, n))
			}
		}, "0 are repeated, 1 out of order"},
		"altered": {func(c *comparison) {
			for n := range 3 {
				v := o.value(0, n)
				v[markBytes] = byte(n)
				c.add(0, o.key, v)
			}
		}, "2 altered"},
		"another key": {func(c *comparison) {
			for n := range 3 {
				c.add(0, nil, o.value(0, n))
			}
		}, "3 altered"},
		"in another partition": {func(c *comparison) {
			c.add(0, o.key, o.value(0, 0))
			c.add(1, o.key, o.value(0, 1))
			c.add(0, o.key, o.value(0, 2))
		}, "1 in another partition"},
		"from elsewhere": {func(c *comparison) {
			for n := range 4 {
				c.add(0, o.key, o.value(0, n))
			}
			c.add(0, o.key, []byte("short"))
		}, "2 from elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			cmp := o.want.compare()
			for n := range 3 {
				cmp.add(1, o.key, o.value(1, n))
			}
			c.write(cmp)
			if c.want == "" {
				require.NoError(t, cmp.err())
				return
			}
			require.ErrorContains(t, cmp.err(), c.want)
		})
	}
}

func TestKeysLieWhereClientsPutThem(t *testing.T) {
	keys, homes := makeKeys()
	require.Len(t, homes, len(keys))
	counts := make([]int, partitions)
	for _, home := range homes {
		counts[home]++
	}
	for _, n := range counts {
		require.InDelta(t, keyCount/partitions, n, keyCount/partitions/5, "partitions must be of about the same size")
	}
}
