package window_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// space is a window.Space in memory.
type space map[string]string

func (s space) Get(key []byte) ([]byte, error) {
	if v, ok := s[string(key)]; ok {
		return []byte(v), nil
	}
	return nil, nil
}
func (s space) Put(key, value []byte) error { s[string(key)] = string(value); return nil }
func (s space) Delete(key []byte) error     { delete(s, string(key)); return nil }
func (s space) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if strings.HasPrefix(k, string(prefix)) && k >= string(from) {
			if err := fn([]byte(k), []byte(s[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

// twin computes windows from all records, anew at every step.
type twin struct {
	conf    window.Config
	seen    watermark.Time
	records []kept
	emitted map[string]bool // windows as they were when they left
}

type kept struct {
	key string
	window.Record
	spans []window.Span // not for sessions
}

func (tw *twin) gone(s window.Span) bool { return s.End.Add(tw.conf.Lateness) <= tw.seen }

func (tw *twin) add(key string, r window.Record) (late bool) {
	k := kept{key: key, Record: r, spans: slices.DeleteFunc(tw.conf.Assigner.Assign(nil, r.Time), tw.gone)}
	if tw.conf.Assigner.Kind != window.Session {
		if len(k.spans) > 0 {
			tw.records = append(tw.records, k)
		}
		return len(k.spans) == 0
	}
	tw.records = append(tw.records, k)
	for _, w := range tw.windows() {
		if w.key == key && w.span.Contains(r.Time) && tw.gone(w.span) {
			tw.records = tw.records[:len(tw.records)-1]
			return true
		}
	}
	return false
}

type twinWindow struct {
	key     string
	span    window.Span
	records []kept
}

func (tw *twin) windows() (ws []twinWindow) {
	byKey := map[string][]kept{}
	for _, r := range tw.records {
		byKey[r.key] = append(byKey[r.key], r)
	}
	for key, rs := range byKey {
		spans := map[window.Span]bool{}
		for _, r := range rs {
			for _, s := range r.spans {
				spans[s] = true
			}
		}
		if tw.conf.Assigner.Kind == window.Session {
			spans = sessions(rs, tw.conf.Assigner.Gap)
		}
		for s := range spans {
			w := twinWindow{key: key, span: s}
			for _, r := range rs {
				if slices.Contains(r.spans, s) || tw.conf.Assigner.Kind == window.Session && s.Contains(r.Time) {
					w.records = append(w.records, r)
				}
			}
			ws = append(ws, w)
		}
	}
	slices.SortFunc(ws, func(a, b twinWindow) int {
		return cmp.Or(cmp.Compare(a.span.End, b.span.End), cmp.Compare(a.key, b.key), cmp.Compare(a.span.Start, b.span.Start))
	})
	return ws
}

func sessions(rs []kept, gap time.Duration) map[window.Span]bool {
	times := make([]watermark.Time, 0, len(rs))
	for _, r := range rs {
		times = append(times, r.Time)
	}
	slices.Sort(times)
	spans := map[window.Span]bool{}
	var s window.Span
	for i, t := range times {
		if i > 0 && t <= s.End {
			s.End = t.Add(gap)
			continue
		}
		if i > 0 {
			spans[s] = true
		}
		s = window.Span{Start: t, End: t.Add(gap)}
	}
	spans[s] = true
	return spans
}

func (tw *twin) advance(to watermark.Time) (out []string) {
	if to == watermark.End {
		defer func(seen watermark.Time) { tw.seen = seen }(tw.seen)
	}
	tw.seen = max(tw.seen, to)
	for _, w := range tw.windows() {
		if w.span.End > tw.seen {
			continue
		}
		if s := tw.show(w); !tw.emitted[s] {
			tw.emitted[s] = true
			out = append(out, s)
		}
	}
	// What is gone is forgotten.
	var left []kept
	for _, r := range tw.records {
		spans := r.spans
		if tw.conf.Assigner.Kind == window.Session {
			for _, w := range tw.windows() {
				if w.key == r.key && w.span.Contains(r.Time) {
					spans = []window.Span{w.span}
				}
			}
		}
		if spans = slices.DeleteFunc(slices.Clone(spans), tw.gone); len(spans) > 0 {
			if tw.conf.Assigner.Kind != window.Session {
				r.spans = spans
			}
			left = append(left, r)
		}
	}
	tw.records = left
	return out
}

func (tw *twin) show(w twinWindow) string {
	if len(tw.conf.Aggregates) == 0 {
		var bodies []string
		for _, r := range w.records {
			bodies = append(bodies, string(r.Body))
		}
		return fmt.Sprintf("%s%v%v", w.key, w.span, bodies)
	}
	n, sum := int64(len(w.records)), int64(0)
	lo, hi := int64(1<<62), int64(-1<<62)
	first, last := w.records[0], w.records[0]
	var ids []int
	for i, r := range w.records {
		v := r.Values[1].(int64)
		sum, lo, hi = sum+v, min(lo, v), max(hi, v)
		if r.Time < first.Time {
			first = r
		}
		if i > 0 && r.Time >= last.Time {
			last = r
		}
		ids = append(ids, int(r.Values[7].(int64)))
	}
	slices.Sort(ids)
	return fmt.Sprintf("%s%v%v", w.key, w.span,
		[]any{n, sum, lo, hi, float64(sum) / float64(n), first.Values[5], last.Values[6], fmt.Sprint(ids)})
}

// ids is an aggregate of the caller's own: a list of numbers.
type ids struct{}

func (ids) Init() (any, error) { return []any{}, nil }
func (ids) Add(state, v any) (any, error) {
	if v == nil {
		return nil, errors.New("nothing")
	}
	return append(slices.Clone(state.([]any)), v), nil
}
func (ids) Merge(a, b any) (any, error) { return append(slices.Clone(a.([]any)), b.([]any)...), nil }
func (ids) Result(state any) (any, error) {
	var n []int
	for _, v := range state.([]any) {
		n = append(n, int(v.(int64)))
	}
	slices.Sort(n)
	return fmt.Sprint(n), nil
}

func randomConf(r *rand.Rand) window.Config {
	ms := func(most int) time.Duration { return time.Duration(1+r.IntN(most)) * time.Millisecond }
	c := window.Config{MaxKeys: r.IntN(4), Lateness: time.Duration(r.IntN(3)*r.IntN(20)) * time.Millisecond}
	c.Assigner.Offset = ms(10) - 1
	switch r.IntN(3) {
	case 0:
		c.Assigner.Kind, c.Assigner.Size = window.Tumbling, ms(30)
	case 1:
		c.Assigner.Kind, c.Assigner.Slide = window.Sliding, ms(15)
		c.Assigner.Size = c.Assigner.Slide + ms(30)
	default:
		c.Assigner.Kind, c.Assigner.Gap = window.Session, ms(12)
	}
	if r.IntN(2) == 0 {
		for op := window.Count; op <= window.Last; op++ {
			c.Aggregates = append(c.Aggregates, window.Aggregate{Op: op})
		}
		c.Aggregates = append(c.Aggregates, window.Aggregate{Op: window.Fold, Folder: ids{}})
	}
	return c
}

func TestWindowsAgainstTheirTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rounds := 300
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed, rounds = n, 1
	}
	for round := range rounds {
		again := seed + uint64(round)
		if !t.Run("", func(t *testing.T) { compare(t, rand.New(rand.NewPCG(again, 0))) }) {
			t.Logf("replay with TIDEMARK_SEED=%d go test ./internal/window -run '^%s$'", again, t.Name())
			return
		}
	}
}

func compare(t *testing.T, r *rand.Rand) {
	conf := randomConf(r)
	kept := space{}
	w, err := window.Open(conf, kept)
	require.NoError(t, err)
	tw := &twin{conf: conf, seen: watermark.None, emitted: map[string]bool{}}
	was, wasTwin := space{}, tw.clone()
	at := watermark.Time(r.IntN(100) - 50)
	for n := range 120 {
		switch op := r.IntN(20); {
		case op < 13:
			key := string(rune('a' + r.IntN(4)))
			rec := window.Record{Time: at + watermark.Time(r.IntN(60)-30), Body: strconv.AppendInt(nil, int64(n), 10)}
			v := int64(r.IntN(100) - 50)
			rec.Values = []any{nil, v, v, v, v, int64(n), int64(n), int64(n)}
			late, err := w.Add([]byte(key), rec)
			require.NoError(t, err)
			require.Equal(t, tw.add(key, rec), late, "record %d", n)
		case op < 17:
			at += watermark.Time(r.IntN(12))
			to := at
			if r.IntN(30) == 0 {
				to = watermark.End
			}
			var got []string
			for more := true; more; {
				more, err = w.Advance(to, func(r window.Result) (bool, error) {
					got = append(got, show(conf, r))
					return r.Start%3 == 0, nil
				})
				require.NoError(t, err)
				if more && r.IntN(3) == 0 {
					require.NoError(t, w.Freeze())
				}
				if more && r.IntN(3) == 0 && to != watermark.End {
					require.NoError(t, w.Freeze())
					w, err = window.Open(conf, kept)
					require.NoError(t, err)
				}
			}
			require.Equal(t, tw.advance(to), got, "at %v", to)
			require.Equal(t, tw.seen, w.Seen())
		case op < 19:
			require.NoError(t, w.Freeze())
			was, wasTwin = maps.Clone(kept), tw.clone()
		default:
			// What was not frozen is lost.
			if r.IntN(2) == 0 {
				require.NoError(t, w.Freeze())
			} else {
				kept, tw = maps.Clone(was), wasTwin.clone()
			}
			w, err = window.Open(conf, kept)
			require.NoError(t, err)
		}
	}
	_, err = w.Advance(watermark.End, func(window.Result) (bool, error) { return false, nil })
	require.NoError(t, err)
	require.NoError(t, w.Freeze())
	delete(kept, "s")
	delete(kept, "c")
	require.Empty(t, kept, "nothing is left behind")
}

func (tw *twin) clone() *twin {
	return &twin{
		conf: tw.conf, seen: tw.seen, records: slices.Clone(tw.records), emitted: maps.Clone(tw.emitted),
	}
}

func show(conf window.Config, r window.Result) string {
	if len(conf.Aggregates) > 0 {
		return fmt.Sprintf("%s%v%v", r.Key, r.Span, r.Values)
	}
	var bodies []string
	for _, b := range r.Bodies {
		bodies = append(bodies, string(b))
	}
	return fmt.Sprintf("%s%v%v", r.Key, r.Span, bodies)
}
