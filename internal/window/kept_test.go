package window_test

import (
	"encoding/json"
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

// What the versions look like must not change: they are on users' disks. Version 1 differs
// from 2 in its number, if no value is null.
func TestKeptVersions(t *testing.T) {
	golden := map[string]string{
		"messages": `"b\x01k\x00\x00\x00\x00\x00\x00\x00\x00"="\x00\x00\x00\x00\x00\x00\x00\x05body 0"
"b\x01k\x00\x00\x00\x00\x00\x00\x00\x01"="\x00\x00\x00\x00\x00\x00\x00\fbody 1"
"b\x01k\x00\x00\x00\x00\x00\x00\x00\x02"="\x00\x00\x00\x00\x00\x00\x00\abody 2"
"c"="tumbling windows of 10ms, offset 0s, of messages"
"kk"="\x02\x02\x00\n\x01\x00\x14\n\x00\x00\x03\x03"
"s"="\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n_\xda\x12v"
"t\x80\x00\x00\x00\x00\x00\x00\x14k"=""`,
		"aggregates": `"c"="tumbling windows of 10ms, offset 0s, of aggregates (n count, s sum, a avg, l last)"
"kk"="\x02\x02\x00\n\x01\x04\x00\x04\x00\x00\x04\x04\x01\x04@\x14\x00\x00\x00\x00\x00\x00\x02\x04\x00\x0e\x06\"text\"\x14\n\x00\x04\x00\x02\x00\x00\x02\x02\x01\x02@\x04\x00\x00\x00\x00\x00\x00\x02\x02\x00\x18\x06\"text\"\x00\x00"
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

		before := maps.Clone(kept)
		before["kk"] = "\x01" + kept["kk"][1:]
		require.Equal(t, fired(t, conf, kept), fired(t, conf, before), name)
	}
}

// fired returns what leaves of a space in the end.
func fired(t *testing.T, conf window.Config, kept space) (all []window.Result) {
	t.Helper()
	w, err := window.Open(conf, maps.Clone(kept))
	require.NoError(t, err)
	_, err = w.Advance(watermark.End, func(r window.Result) (bool, error) { all = append(all, r); return false, nil })
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

// A value is the same after a restart, and so is what is known of when it was.
func TestValuesAreTheSameAfterARestart(t *testing.T) {
	number := func(s string) any { return json.Number(s) }
	for name, values := range map[string][2]any{
		"null":                        {nil, int64(7)},
		"beyond 64 bits":              {number("18446744073709551615"), int64(7)},
		"just beyond":                 {number("9223372036854775808"), int64(7)},
		"beyond all":                  {number("1e400"), int64(7)},
		"inside of an object":         {map[string]any{"id": number("18446744073709551615"), "p": number("1.50")}, int64(7)},
		"beyond all inside of a list": {[]any{number("1e400"), nil, "x", true}, int64(7)},
		"fractions":                   {0.1, 1e300},
		"text":                        {"", "null"},
	} {
		for _, op := range []window.Op{window.First, window.Last, window.Min, window.Max} {
			_, err := json.Marshal(values[0])
			require.NoError(t, err)
			want, wantErr := aggregated(t, op, false, values)
			got, gotErr := aggregated(t, op, true, values)
			require.Equal(t, fmt.Sprint(wantErr), fmt.Sprint(gotErr), "%s of %s", op, name)
			require.Equal(t, want, got, "%s of %s", op, name)
		}
	}
}

// aggregated is the aggregate, as JSON, of two values, of which the later one comes first.
func aggregated(t *testing.T, op window.Op, restart bool, values [2]any) (out string, err error) {
	t.Helper()
	conf := window.Config{
		Assigner:   window.Assigner{Kind: window.Tumbling, Size: time.Second},
		Aggregates: []window.Aggregate{{Op: op}}, Names: []string{"v"},
	}
	kept := space{}
	w, err := window.Open(conf, kept)
	require.NoError(t, err)
	for i, at := range []watermark.Time{500, 100} {
		if _, err := w.Add([]byte("k"), window.Record{Time: at, Values: []any{values[i]}}); err != nil {
			return "", err
		}
		require.NoError(t, w.Freeze())
		if restart {
			w, err = window.Open(conf, kept)
			require.NoError(t, err)
		}
	}
	for _, r := range fired(t, conf, kept) {
		b, err := json.Marshal(r.Values)
		require.NoError(t, err)
		out += string(b)
	}
	return out, nil
}

// Timers from before the lateness was another one do not stay behind.
func TestTimersAfterTheLatenessHasChanged(t *testing.T) {
	for _, next := range []time.Duration{0, 100 * time.Millisecond, 10 * time.Second} {
		conf := window.Config{Assigner: window.Assigner{Kind: window.Tumbling, Size: 10 * time.Millisecond}, Lateness: time.Second}
		kept := space{}
		w, err := window.Open(conf, kept)
		require.NoError(t, err)
		drop := func(window.Result) (bool, error) { return false, nil }
		add := func(at watermark.Time) {
			for i := range 5 {
				_, err := w.Add(fmt.Append(nil, "k", i), window.Record{Time: at, Body: []byte("x")})
				require.NoError(t, err)
			}
		}
		add(5)
		_, err = w.Advance(20, drop)
		require.NoError(t, err)
		require.NoError(t, w.Freeze())
		conf.Lateness = next
		w, err = window.Open(conf, kept)
		require.NoError(t, err)
		add(25) // some are touched before their timers are met
		for _, to := range []watermark.Time{40, 900, 1500, 30_000} {
			_, err = w.Advance(to, drop)
			require.NoError(t, err)
			require.NoError(t, w.Freeze())
		}
		for k := range kept {
			require.Contains(t, "sc", k[:1], "left with a lateness of %v: %q", next, k)
		}
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
		kept["kk"] = "\x03" + value[1:]
		require.ErrorContains(t, touch(conf, kept), "version 3", name)
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
