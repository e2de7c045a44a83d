package window_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// written returns a space with one of everything.
func written(t *testing.T, conf window.Config) space {
	t.Helper()
	kept := space{}
	w, err := window.Open(conf, kept)
	require.NoError(t, err)
	for i, at := range []watermark.Time{5, 12, 7} {
		rec := window.Record{Time: at, Values: []any{nil, int64(i), 2.5, "text"}, Body: fmt.Appendf(nil, "body %d", i)}
		_, err = w.Add([]byte("k"), rec)
		require.NoError(t, err)
	}
	_, err = w.Advance(10, func(window.Result) (bool, error) { return false, nil })
	require.NoError(t, err)
	require.NoError(t, w.Freeze())
	return kept
}

func kinds() map[string]window.Config {
	a := window.Assigner{Kind: window.Tumbling, Size: 10 * time.Millisecond}
	return map[string]window.Config{
		"messages": {Assigner: a, Lateness: time.Second},
		"aggregates": {Assigner: a, Lateness: time.Second, Names: []string{"n", "s", "a", "l"}, Aggregates: []window.Aggregate{
			{Op: window.Count}, {Op: window.Sum}, {Op: window.Avg}, {Op: window.Last},
		}},
	}
}

// What version 1 looks like must not change: it is on users' disks.
func TestKeptVersion1(t *testing.T) {
	golden := map[string]string{
		"messages": `"b\x01k\x00\x00\x00\x00\x00\x00\x00\x00"="\x00\x00\x00\x00\x00\x00\x00\x05body 0"
"b\x01k\x00\x00\x00\x00\x00\x00\x00\x01"="\x00\x00\x00\x00\x00\x00\x00\fbody 1"
"b\x01k\x00\x00\x00\x00\x00\x00\x00\x02"="\x00\x00\x00\x00\x00\x00\x00\abody 2"
"c"="tumbling windows of 10ms, offset 0s, of messages"
"kk"="\x01\x02\x00\n\x01\x00\x14\n\x00\x00\x03\x03"
"s"="\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n_\xda\x12v"
"t\x80\x00\x00\x00\x00\x00\x00\x14k"=""`,
		"aggregates": `"c"="tumbling windows of 10ms, offset 0s, of aggregates (n count, s sum, a avg, l last)"
"kk"="\x01\x02\x00\n\x01\x04\x00\x04\x00\x00\x04\x04\x01\x04@\x14\x00\x00\x00\x00\x00\x00\x02\x04\x00\x0e\x06\"text\"\x14\n\x00\x04\x00\x02\x00\x00\x02\x02\x01\x02@\x04\x00\x00\x00\x00\x00\x00\x02\x02\x00\x18\x06\"text\"\x00\x00"
"s"="\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n_\xda\x12v"
"t\x80\x00\x00\x00\x00\x00\x00\x14k"=""`,
	}
	for name, conf := range kinds() {
		var lines []string
		kept := written(t, conf)
		for _, k := range slices.Sorted(maps.Keys(kept)) {
			lines = append(lines, fmt.Sprintf("%q=%q", k, kept[k]))
		}
		require.Equal(t, golden[name], strings.Join(lines, "\n"), name)
	}
}

// Bytes that are cut off, or of another version, are errors, and never half used. What is
// altered otherwise the store finds by its checksums.
func TestKeptDamagedIsNamed(t *testing.T) {
	for name, conf := range kinds() {
		whole := written(t, conf)
		value := whole["kk"]
		for n := range len(value) {
			kept := maps.Clone(whole)
			kept["kk"] = value[:n]
			require.ErrorContains(t, touch(conf, kept), `key "k"`, "%s, %d bytes", name, n)
		}
		kept := maps.Clone(whole)
		kept["kk"] = "\x02" + value[1:]
		require.ErrorContains(t, touch(conf, kept), "version 2", name)
		kept["kk"] = value + "x"
		require.ErrorContains(t, touch(conf, kept), "1 bytes follow", name)
		kept["s"] = "\x02"
		require.ErrorContains(t, touch(conf, kept), "reading how far windows have fired", name)
	}
	conf := kinds()["messages"]
	kept := written(t, conf)
	for k := range kept {
		if k[0] == 'b' {
			kept[k] = "short"
		}
	}
	require.ErrorContains(t, touch(conf, kept), `a record of key "k"`)
}

func touch(conf window.Config, kept space) error {
	w, err := window.Open(conf, kept)
	if err == nil {
		_, err = w.Add([]byte("k"), window.Record{Time: 15, Values: []any{nil, int64(1), int64(1), nil}})
	}
	return err
}

func TestOtherAggregatesAreRefused(t *testing.T) {
	conf := kinds()["aggregates"]
	kept := written(t, conf)
	conf.Aggregates = slices.Clone(conf.Aggregates)
	conf.Aggregates[1].Op = window.Max
	_, err := window.Open(conf, kept)
	require.ErrorContains(t, err, "has tumbling windows of 10ms, offset 0s, of aggregates (n count, s sum, a avg, l last)")
	require.ErrorContains(t, err, "asks for tumbling windows of 10ms, offset 0s, of aggregates (n count, s max, a avg, l last)")
	_, err = window.Open(kinds()["messages"], kept)
	require.ErrorContains(t, err, "asks for tumbling windows of 10ms, offset 0s, of messages")
}

// faulty fails the i-th call.
type faulty struct {
	space
	left int
}

var errDisk = errors.New("disk")

func (f *faulty) fail() error {
	if f.left--; f.left < 0 {
		return errDisk
	}
	return nil
}

func (f *faulty) Get(key []byte) ([]byte, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.space.Get(key)
}

func (f *faulty) Put(key, value []byte) error {
	return errors.Join(f.fail(), f.space.Put(key, value))
}

func (f *faulty) Delete(key []byte) error { return errors.Join(f.fail(), f.space.Delete(key)) }

func (f *faulty) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.space.Scan(prefix, from, fn)
}

// Whatever call to the space fails, the caller is told.
func TestEveryErrorOfTheSpaceIsReported(t *testing.T) {
	for name, conf := range kinds() {
		conf.MaxKeys, conf.Lateness = 1, 0
		for n := 0; ; n++ {
			f := &faulty{space: space{}, left: n}
			err := run(conf, f)
			if f.left >= 0 {
				require.NoError(t, err, name)
				require.Greater(t, n, 10)
				break
			}
			require.ErrorIs(t, err, errDisk, "%s, call %d", name, n)
		}
	}
}

func run(conf window.Config, s window.Space) error {
	w, err := window.Open(conf, s)
	if err != nil {
		return err
	}
	for at := range watermark.Time(30) {
		for _, key := range []string{"a", "b", "c"} {
			if _, err := w.Add([]byte(key), window.Record{Time: at, Values: []any{nil, int64(1), int64(1), nil}}); err != nil {
				return err
			}
		}
		if at%4 == 3 {
			if err := w.Freeze(); err != nil {
				return err
			}
			if _, err := w.Advance(at, func(window.Result) (bool, error) { return false, nil }); err != nil {
				return err
			}
		}
	}
	return nil
}
