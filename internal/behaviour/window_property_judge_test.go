package behaviour

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// emission is a record of the output, as wrap makes it.
type emission struct {
	At         int64
	Topic      string
	Partition  int32
	Key        string
	Start, End *int64
	Again      bool
	Late       bool
	Reached    *int64
	Value      json.RawMessage
}

// scoped is whose windows a partition's are.
func (p *windowPlan) scoped(partition string) string {
	if p.process {
		return ""
	}
	return partition
}

// spans are the windows that a record belongs to; of a session what it is by itself.
func (p *windowPlan) spans(at int64) (all [][2]int64) {
	if p.kind == "session" {
		return [][2]int64{{at, at + p.gap}}
	}
	slide := p.size
	if p.kind == "sliding" {
		slide = p.slide
	}
	start := at - ((at-p.offset)%slide+slide)%slide
	for ; start+p.size > at; start -= slide {
		all = append(all, [2]int64{start, start + p.size})
	}
	return all
}

// offlineWindow is a window as an offline computation has it.
type offlineWindow struct {
	scope, key string
	start, end int64
	facts      []fact
}

func (w *offlineWindow) name() string {
	return fmt.Sprintf("%s %s %d %d", w.scope, w.key, w.start, w.end)
}

// windows computes all windows of some facts at once.
func (p *windowPlan) windows(facts []fact) (all []*offlineWindow) {
	facts = slices.Clone(facts)
	slices.SortFunc(facts, func(a, b fact) int { return cmp.Compare(a.T, b.T) })
	by := map[string]*offlineWindow{}
	session := map[string]*offlineWindow{}
	for _, f := range facts {
		scope, key := p.scoped(f.P), ""
		if p.keyed {
			key = f.U
		}
		if p.kind == "session" {
			w := session[scope+" "+key]
			if w == nil || w.end < f.T {
				w = &offlineWindow{scope: scope, key: key, start: f.T}
				session[scope+" "+key], all = w, append(all, w)
			}
			w.end, w.facts = f.T+p.gap, append(w.facts, f)
			continue
		}
		for _, s := range p.spans(f.T) {
			w := &offlineWindow{scope: scope, key: key, start: s[0], end: s[1]}
			if by[w.name()] == nil {
				by[w.name()], all = w, append(all, w)
			}
			w = by[w.name()]
			w.facts = append(w.facts, f)
		}
	}
	return all
}

// results are what should be said of a window, by name; facts are in the order of time.
func (p *windowPlan) results(w *offlineWindow) map[string]string {
	switch p.mode {
	case modeSplit:
		all := map[string]string{}
		for _, f := range w.facts {
			all[fmt.Sprintf("%s #%d", w.name(), f.V)] = fmt.Sprintf("%s late=%v reached=%d", f.json(), f.late, f.reached)
		}
		return all
	case modeArchive:
		return map[string]string{w.name(): array(w.facts)}
	}
	return map[string]string{w.name(): canonical([]byte(computed(w.facts)))}
}

func (f *fact) json() string {
	b, _ := json.Marshal(f)
	return string(b)
}

func array(facts []fact) string {
	b, _ := json.Marshal(facts)
	return string(b)
}

// canonical is a document of JSON with its fields in order and its numbers in one form.
func canonical(doc []byte) string {
	var v any
	_ = json.Unmarshal(doc, &v)
	b, _ := json.Marshal(v)
	return string(b)
}

// said is what an emission says of a window, by the name that results gives it, and the
// records that are in it, as far as it says.
func (p *windowPlan) said(t testing.TB, e *emission) (name, content string, ids []int64) {
	t.Helper()
	w := offlineWindow{scope: p.scoped(fmt.Sprintf("%s/%d", e.Topic, e.Partition)), key: e.Key}
	if e.Start != nil {
		w.start, w.end = *e.Start, *e.End
	}
	switch p.mode {
	case modeSplit:
		var f fact
		require.NoError(t, json.Unmarshal(e.Value, &f))
		reached := int64(0)
		if e.Reached != nil {
			reached = *e.Reached
		}
		return fmt.Sprintf("%s #%d", w.name(), f.V), fmt.Sprintf("%s late=%v reached=%d", f.json(), e.Late, reached), []int64{f.V}
	case modeArchive:
		var fs []fact
		require.NoError(t, json.Unmarshal(e.Value, &fs))
		slices.SortFunc(fs, func(a, b fact) int { return cmp.Compare(a.T, b.T) })
		for _, f := range fs {
			ids = append(ids, f.V)
		}
		return w.name(), array(fs), ids
	}
	if e.Start == nil {
		var f fact
		require.NoError(t, json.Unmarshal(e.Value, &f))
		return w.name(), f.json(), []int64{f.V}
	}
	var doc struct{ All []int64 }
	require.NoError(t, json.Unmarshal(e.Value, &doc))
	return w.name(), canonical(e.Value), doc.All
}

// outcome is what has come out in all lives of a job.
type outcome struct {
	t    testing.TB
	plan *windowPlan
	// contents are what was said of a window, last in which life, and of which group.
	contents map[string]heard
	// group counts how often a life ended such that nothing of it may come again.
	group int
	// lates and inside are the records that left as late ones, and in windows; how often.
	lates, inside map[int64]int
}

type heard struct {
	content     string
	group, life int
}

func newOutcome(t testing.TB, plan *windowPlan) *outcome {
	t.Helper()
	return &outcome{t: t, plan: plan, contents: map[string]heard{}, lates: map[int64]int{}, inside: map[int64]int{}}
}

// take takes what a life has emitted. again: it went back in between.
func (o *outcome) take(es []emission, life int, again bool, bound func(time.Time, string) int64) {
	o.t.Helper()
	ends := map[string]int64{}
	for i := range es {
		e := &es[i]
		name, content, ids := o.plan.said(o.t, e)
		if e.Start == nil {
			require.True(o.t, e.Late, "neither in a window nor late: %s", content)
			for _, id := range ids {
				o.lates[id]++
			}
			continue
		}
		for _, id := range ids {
			o.inside[id]++
		}
		if o.plan.tardy && o.plan.lateness > 0 {
			o.contents[name] = heard{content, o.group, life}
			continue
		}
		require.False(o.t, e.Again, "%s fires again", name)
		if was, ok := o.contents[name]; ok {
			require.True(o.t, was.group == o.group && (again || was.life != life), "%s came a second time: %s", name, content)
			if !o.plan.tardy {
				require.Equal(o.t, was.content, content, "%s was repeated, and is another", name)
			}
		}
		o.contents[name] = heard{content, o.group, life}
		o.inOrder(e, ends, again)
		scope := o.plan.scoped(fmt.Sprintf("%s/%d", e.Topic, e.Partition))
		if most := bound(time.UnixMilli(e.At+1), scope); !o.plan.tardy {
			require.LessOrEqual(o.t, *e.End, most, "%s has fired early", name)
		}
	}
}

// inOrder: results of a key leave in the order of their windows.
func (o *outcome) inOrder(e *emission, ends map[string]int64, again bool) {
	o.t.Helper()
	whose := o.plan.scoped(fmt.Sprintf("%s/%d", e.Topic, e.Partition)) + " " + e.Key
	if last, ok := ends[whose]; ok && !again && !o.plan.tardy {
		require.GreaterOrEqual(o.t, *e.End, last, "a result of %q was overtaken", whose)
	}
	ends[whose] = *e.End
}

// complete compares all results with those of the offline computation. What they say of
// late records too, if there are any, depends on what was read first.
func (o *outcome) complete(facts []fact) {
	o.t.Helper()
	want := map[string]string{}
	for _, w := range o.plan.windows(facts) {
		for name, content := range o.plan.results(w) {
			want[name] = content
		}
	}
	got := map[string]string{}
	for name, h := range o.contents {
		got[name] = h.content
	}
	require.Empty(o.t, o.lates, "no record is late")
	for name, content := range want {
		require.Contains(o.t, got, name, "it should be %s", content)
		require.Equal(o.t, content, got[name], name)
	}
	require.Len(o.t, got, len(want))
}

// due tells that all windows that end at a watermark or below have left.
func (o *outcome) due(facts []fact, read map[string]bool, watermark int64) {
	o.t.Helper()
	for _, w := range o.plan.windows(facts) {
		if w.end > watermark || !o.plan.process && !read[w.scope] {
			continue
		}
		for name := range o.plan.results(w) {
			require.Contains(o.t, o.contents, name, "it is over at %d", watermark)
		}
	}
}

// everyRecord: each is in a window or has left as a late one; never both, unless it was
// read again.
func (o *outcome) everyRecord(facts []fact, crashed bool) {
	o.t.Helper()
	for _, f := range facts {
		in, late := o.inside[f.V], o.lates[f.V]
		if o.plan.drop {
			require.Zero(o.t, late, "late records are dropped")
			continue
		}
		require.Positive(o.t, in+late, "%s is nowhere", f.json())
		if !crashed {
			require.True(o.t, in == 0 || late == 0, "%s is in %d windows, and %d times late", f.json(), in, late)
			require.LessOrEqual(o.t, late, 1)
		}
		if o.plan.lateness == 0 && !crashed {
			require.LessOrEqual(o.t, in, len(o.plan.spans(f.T)))
		}
	}
}

// emissions reads a topic up to an offset; -1 = all.
func emissions(t testing.TB, e kafkatest.Endpoint, topic string, upTo int64) (all []emission) {
	t.Helper()
	for _, r := range kafkatest.ReadCommitted(t, e, topic)[0] {
		if upTo >= 0 && r.Offset >= upTo {
			break
		}
		var em emission
		require.NoError(t, json.Unmarshal(r.Value, &em), string(r.Value))
		all = append(all, em)
	}
	return all
}
