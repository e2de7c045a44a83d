package buffer

import (
	"encoding/json"
	"testing"
	"time"

	// Some methods of the mappings are in here.
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/mapping"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// fold builds the config of a fold of sessions; what is not given has no effect.
func fold(t testing.TB, mappings map[string]string) (*config, *folder) {
	t.Helper()
	all := map[string]any{"init": "root = []", "add": "root = this.state", "merge": "root = this.first.concat(this.second)"}
	for name, m := range mappings {
		all[name] = m
	}
	// YAML takes JSON.
	conf, err := json.Marshal(map[string]any{"type": "session", "gap": "10s", "aggregate": map[string]any{"f": map[string]any{"fold": all}}})
	require.NoError(t, err)
	c, err := built(t, string(conf))
	require.NoError(t, err)
	f, ok := c.window.Aggregates[0].Folder.(*folder)
	require.True(t, ok)
	return c, f
}

func TestFold(t *testing.T) {
	_, f := fold(t, map[string]string{"add": "root = this.state.append(this.message.v)", "emit": `root = this.state.join("-")`})
	s, err := f.Init()
	require.NoError(t, err)
	for _, v := range []string{"a", "b"} {
		s, err = f.Add(s, map[string]any{"v": v})
		require.NoError(t, err)
	}
	merged, err := f.Merge(s, []any{"c"})
	require.NoError(t, err)
	out, err := f.Result(merged)
	require.NoError(t, err)
	require.Equal(t, "a-b-c", out)
	_, f = fold(t, nil)
	out, err = f.Result(s)
	require.NoError(t, err)
	require.Equal(t, []any{"a", "b"}, out, "without emit it is the state")
}

// Whether a mapping succeeds or fails, and whatever it assigns to on the way, neither the
// state nor the message is changed in place: a state may be that of two windows, or of one
// whose result left already, and a message that cannot be added leaves as it came.
func TestFoldChangesNothingInPlace(t *testing.T) {
	state := func() any {
		return map[string]any{"list": []any{int64(1), map[string]any{"k": []any{"deep"}}}, "n": int64(1)}
	}
	message := func() any { return map[string]any{"v": int64(2), "inner": map[string]any{"w": int64(3)}} }
	const changes = `
root = this.state
root.n = this.state.n + this.message.v
root.list.1.k = ["changed"]
root.list.1.more = this.message.inner
root.list.1.more.w = 4
`
	for name, end := range map[string]string{"succeeds": "", "throws": `root.x = throw("no")`, "cannot": "root.x = this.message.missing.number()"} {
		_, f := fold(t, map[string]string{
			"add": changes + end, "merge": "root = this.first\nroot.n = this.second.list\nroot.list.1.k = 5\n" + end,
			"emit": "root = this.state\nroot.list.1.k = 5\n" + end,
		})
		s, m := state(), message()
		next, err := f.Add(s, m)
		if end == "" {
			require.NoError(t, err, name)
			require.Equal(t, map[string]any{
				"list": []any{int64(1), map[string]any{"k": []any{"changed"}, "more": map[string]any{"w": int64(4)}}}, "n": int64(3),
			}, next, name)
		} else {
			require.ErrorContains(t, err, "add: ", name)
		}
		require.Equal(t, state(), s, name)
		require.Equal(t, message(), m, name)
		raw := map[string]any{"inner": []any{[]byte("x"), 1}}
		_, passing := fold(t, map[string]string{"add": "root = this.message.inner"})
		_, err = passing.Add(s, raw)
		require.NoError(t, err)
		require.Equal(t, map[string]any{"inner": []any{[]byte("x"), 1}}, raw, "also where the message becomes the state")
		_, err = f.Merge(s, s)
		require.Equal(t, end == "", err == nil, name)
		require.Equal(t, state(), s, name)
		_, err = f.Result(s)
		require.Equal(t, end == "", err == nil, name)
		require.Equal(t, state(), s, name)
	}
}

// A mapping that deletes or assigns nothing says so. The latter would otherwise make what
// went in, message and all, the state, which would grow without an end.
func TestFoldThatReturnsNothing(t *testing.T) {
	_, f := fold(t, map[string]string{
		"init": "root = if false { 1 }", "add": "root = if this.message.v { this.message.v }", "emit": "root = deleted()",
	})
	_, err := f.Init()
	require.ErrorIs(t, err, mapping.ErrNothing)
	_, err = f.Add(int64(1), map[string]any{"v": false})
	require.ErrorIs(t, err, mapping.ErrNothing)
	require.ErrorContains(t, err, "add: ")
	_, err = f.Result(int64(1))
	require.ErrorContains(t, err, "emit: root was deleted")
}

// kept is a state in memory.
type kept map[string][]byte

func (k kept) Get(key []byte) ([]byte, error) { return k[string(key)], nil }
func (k kept) Put(key, value []byte) error    { k[string(key)] = append([]byte{}, value...); return nil }
func (k kept) Delete(key []byte) error        { delete(k, string(key)); return nil }
func (k kept) Scan(prefix, _ []byte, fn func(key, value []byte) error) error {
	for name, v := range k {
		if name[0] == prefix[0] {
			if err := fn([]byte(name), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds messages at times one second apart, with a restart in between or not, and
// returns what fires.
func add(t testing.TB, c *config, restart bool, messages ...any) (got []window.Result) {
	t.Helper()
	space := kept{}
	w, err := window.Open(c.window, space)
	require.NoError(t, err)
	for i, m := range messages {
		_, err = w.Add(nil, window.Record{Time: watermark.Time(i * 1000), Values: []any{m}})
		require.NoError(t, err)
		if restart {
			require.NoError(t, w.Freeze())
			w, err = window.Open(c.window, space)
			require.NoError(t, err)
		}
	}
	_, err = w.Advance(1_000_000, func(r window.Result) (bool, error) {
		got = append(got, r)
		return false, nil
	})
	require.NoError(t, err)
	return got
}

// A mapping meets the same state whether there was a restart in between or not.
func TestFoldMeetsTheSameStateAfterARestart(t *testing.T) {
	c, _ := fold(t, map[string]string{
		"init": `root = []`,
		"add":  `root = this.state.append(this.message).map_each(v -> [v, v.type()]).append(this.message.string().bytes()).append("2026-01-02T03:04:05Z".ts_parse("2006-01-02T15:04:05Z07:00"))`,
	})
	messages := []any{json.Number("5"), 5.0, int64(5), 0.5, json.Number("0.5"), "text", nil, true, []any{1, []byte("x")}, time.Unix(0, 0).UTC()}
	want := add(t, c, false, messages...)
	require.Len(t, want, 1)
	require.Equal(t, want, add(t, c, true, messages...))
}

// The mapping merge is asked about two sessions only: it need not know an empty one.
func TestMergeIsForTwoSessions(t *testing.T) {
	c, _ := fold(t, map[string]string{
		"init": `root = ["init"]`, "add": "root = this.state.append(this.message)", "merge": `root = this.first.append("merge").concat(this.second)`,
	})
	got := add(t, c, false, "a", "b", "c")
	require.Len(t, got, 1)
	require.Equal(t, []any{[]any{"init", "a", "b", "c"}}, got[0].Values)
}

// What JSON cannot hold is refused with the message that it came with: later it would be
// in the way of every checkpoint.
func TestFoldOfWhatCannotBeKept(t *testing.T) {
	c, _ := fold(t, map[string]string{"add": `root = this.state.append([this.message.number()])`})
	w, err := window.Open(c.window, kept{})
	require.NoError(t, err)
	for _, v := range []any{"1", "NaN", "2", "-Inf", "x"} {
		_, err := w.Add(nil, window.Record{Time: 1, Values: []any{v}})
		var own *window.ValueError
		if v == "1" || v == "2" {
			require.NoError(t, err)
			continue
		}
		require.ErrorAs(t, err, &own, v)
	}
	require.NoError(t, w.Freeze())
	_, err = w.Advance(1_000_000, func(r window.Result) (bool, error) {
		require.Equal(t, []any{[]any{[]any{int64(1)}, []any{int64(2)}}}, r.Values)
		return false, nil
	})
	require.NoError(t, err)
}
