package buffer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/mapping"
	"github.com/tidemarkhq/tidemark/internal/window"
	"github.com/tidemarkhq/tidemark/watermark"
)

// config is what the buffer is told.
type config struct {
	window window.Config
	// key of a message; nil = all are of one.
	key *mapping.Mapping
	// values are what the aggregates are computed of, in the order of window.Names; nil
	// where that is nothing, or the whole message.
	values []*mapping.Mapping
	// emitLate hands messages on whose windows are gone; else they are dropped.
	emitLate bool
	// scope as configured; perProcess, once settled: a key may be in several partitions,
	// all of which this process reads.
	scope      string
	perProcess bool
}

func (c *config) aggregates() bool { return len(c.window.Aggregates) > 0 }

func (c *config) scopeName() string {
	if c.perProcess {
		return scopeProcess
	}
	return scopePartition
}

// messageError is about one message, which leaves as a failed one.
type messageError struct{ err error }

func (e *messageError) Error() string { return e.err.Error() }
func (e *messageError) Unwrap() error { return e.err }

func aboutMessage(err error) error { return &messageError{err} }

var (
	errNoEventTime = errors.New("the message has no event time: put watermark_periodic or watermark_punctuated under the processors of the input")
	errForeign     = errors.New("the message is not from an input kafka_checkpointed: a window would lose it in a crash, so it is in none")
	errNoKey       = errors.New("the message has no key: the mapping of key returns null")
)

// asked asks the messages of a batch for what windows need.
type asked struct {
	c      *config
	batch  service.MessageBatch
	query  *mapping.Query
	values []any
	key    []byte
}

func (c *config) ask(batch service.MessageBatch) *asked {
	return &asked{
		c: c, batch: batch, query: mapping.On(batch, append(slices.Clip(c.values), c.key)...), values: make([]any, len(c.values)),
	}
}

// record returns what a window is told of a message, its key, and how far its partition
// has come with it. Key and values are valid until the next call.
func (a *asked) record(i int, o *checkpoint.Origin) (r window.Record, key []byte, reached watermark.Time, err error) {
	m := a.batch[i]
	var known bool
	if r.Time, reached, known = eventTimeOf(m, o); !known {
		return r, nil, reached, aboutMessage(errNoEventTime)
	}
	if err := a.askKey(i); err != nil {
		return r, nil, reached, aboutMessage(err)
	}
	if !a.c.aggregates() {
		if _, ok := m.MetaGetMut(metaEventTime); !ok {
			m.MetaSetMut(metaEventTime, int64(r.Time)) // Only metadata are kept.
		}
		r.Body, err = pack(m)
		return r, a.key, reached, err
	}
	for j, value := range a.c.values {
		switch {
		case value != nil:
			v, err := a.query.Value(value, i)
			if err != nil {
				return r, nil, reached, aboutMessage(fmt.Errorf("the value for %q: %w", a.c.window.Names[j], err))
			}
			a.values[j] = v
		case a.c.window.Aggregates[j].Op == window.Fold:
			if a.values[j], err = m.AsStructured(); err != nil {
				return r, nil, reached, aboutMessage(fmt.Errorf("the value for %q: %w", a.c.window.Names[j], err))
			}
		}
	}
	r.Values = a.values
	return r, a.key, reached, nil
}

// eventTimeOf returns the event time of a message, and how far its partition has come with
// it. What its metadata say counts: pipelines may change it.
func eventTimeOf(m *service.Message, o *checkpoint.Origin) (at, reached watermark.Time, known bool) {
	is := o.EventTime()
	at, known, reached = watermark.Time(is.At), is.Known, watermark.None
	if is.Watermark.Known {
		reached = watermark.Time(is.Watermark.At)
	}
	if v, ok := m.MetaGetMut(metaEventTime); ok {
		var ms int64
		ms, known = v.(int64)
		at = watermark.Time(ms)
	}
	if v, ok := m.MetaGetMut(metaWatermark); ok {
		if ms, ok := v.(int64); ok {
			reached = watermark.Time(ms)
		}
	}
	return at, reached, known && at.Known()
}

func (a *asked) askKey(i int) error {
	a.key = a.key[:0]
	if a.c.key == nil {
		return nil
	}
	var ok bool
	if a.key, ok = a.query.AppendText(a.key, a.c.key, i); ok {
		return nil
	}
	v, err := a.query.Value(a.c.key, i)
	if err != nil {
		return fmt.Errorf("the key of the message: %w", err)
	}
	switch v := v.(type) {
	case nil:
		return errNoKey
	case string:
		a.key = append(a.key, v...)
	case int64:
		a.key = strconv.AppendInt(a.key, v, 10)
	case bool:
		a.key = strconv.AppendBool(a.key, v)
	case json.Number:
		a.key = append(a.key, v...)
	default:
		j, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("the key of the message: %w", err)
		}
		a.key = append(a.key, j...)
	}
	return nil
}

var ops = map[string]window.Op{
	"count": window.Count, "sum": window.Sum, "min": window.Min, "max": window.Max, "avg": window.Avg,
	"first": window.First, "last": window.Last, "fold": window.Fold,
}

// faults collects what is wrong with a configuration.
type faults struct {
	conf *service.ParsedConfig
	errs []error
}

func (f *faults) note(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *faults) faultf(format string, args ...any) { f.note(fmt.Errorf(Name+": "+format, args...)) }

func (f *faults) text(field string) string {
	if !f.conf.Contains(field) {
		return ""
	}
	s, err := f.conf.FieldString(field)
	f.note(err)
	return s
}

// option reads a field that takes one of some words. The linter says so too, but it can be
// turned off, and then anything comes here.
func (f *faults) option(field string, words ...string) string {
	s := f.text(field)
	if f.conf.Contains(field) && !slices.Contains(words, s) {
		f.faultf("%s is %q: set it to one of %s", field, s, strings.Join(words, ", "))
	}
	return s
}

// duration reads one that has to be above 0 where it is needed, and must not be set
// where it is not.
func (f *faults) duration(field, kind string, needed bool) time.Duration {
	if !f.conf.Contains(field) {
		if needed {
			f.faultf("%s is not set, and type %s needs it", field, kind)
		}
		return 0
	}
	d, err := f.conf.FieldDuration(field)
	f.note(err)
	switch {
	case err != nil:
	case !needed:
		f.faultf("%s is %v, but has no meaning for type %s: remove it", field, d, kind)
	case d < time.Millisecond || d%time.Millisecond != 0:
		f.faultf("%s is %v: set it to whole milliseconds, 1ms or more", field, d)
	}
	return d
}

var kinds = map[string]window.Kind{"tumbling": window.Tumbling, "sliding": window.Sliding, "session": window.Session}

// parse reads a configuration and reports all that is wrong with it.
func parse(conf *service.ParsedConfig) (*config, error) {
	f := &faults{conf: conf}
	c := &config{
		scope:    f.option(fieldScope, scopePartition, scopeProcess),
		emitLate: f.option(fieldLate, lateEmit, lateDrop) == lateEmit,
	}
	f.assigner(&c.window)
	maxKeys, err := conf.FieldInt(fieldMaxKeys)
	f.note(err)
	if c.window.MaxKeys = maxKeys; maxKeys < 0 {
		f.faultf("%s is %d: set it to 1 or more, or to 0 for no limit", fieldMaxKeys, maxKeys)
	}
	c.key, err = mapping.Field(conf, fieldKey)
	f.note(err)
	if conf.Contains(fieldAggregate) {
		all, err := conf.FieldObjectMap(fieldAggregate)
		f.note(err)
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			f.aggregate(c, name, all[name])
		}
	}
	return c, errors.Join(f.errs...)
}

func (f *faults) assigner(w *window.Config) {
	kind := f.option(fieldType, slices.Sorted(maps.Keys(kinds))...)
	a := &w.Assigner
	if a.Kind = kinds[kind]; a.Kind == 0 {
		return // What else there is means something only together with it.
	}
	a.Size = f.duration(fieldSize, kind, a.Kind != window.Session)
	a.Slide = f.duration(fieldSlide, kind, a.Kind == window.Sliding)
	a.Gap = f.duration(fieldGap, kind, a.Kind == window.Session)
	if a.Kind == window.Sliding && a.Size > 0 && a.Slide > a.Size {
		f.faultf("%s is %v and %s %v: records in between would be in no window; set %[1]s to %[4]v or less", fieldSlide, a.Slide, fieldSize, a.Size)
	}
	if a.Kind == window.Sliding && a.Slide > 0 && a.Size/a.Slide > mostWindows {
		f.faultf("%s is %v and %s %v: a record would be in %d windows, and at most %d are allowed", fieldSlide, a.Slide, fieldSize, a.Size, a.Size/a.Slide, mostWindows)
	}
	a.Offset = f.whole(fieldOffset)
	if a.Kind == window.Session && a.Offset != 0 {
		f.faultf("%s is %v, but has no meaning for type %s: remove it", fieldOffset, a.Offset, kind)
	}
	if w.Lateness = f.whole(fieldLateness); w.Lateness < 0 {
		f.faultf("%s is %v: set it to 0s or more", fieldLateness, w.Lateness)
	}
}

// whole reads a duration of whole milliseconds, as event times are.
func (f *faults) whole(field string) time.Duration {
	d, err := f.conf.FieldDuration(field)
	f.note(err)
	if d%time.Millisecond != 0 {
		f.faultf("%s is %v: set it to whole milliseconds", field, d)
	}
	return d
}

// mostWindows is how many windows a record may be in.
const mostWindows = 10_000

func (f *faults) aggregate(c *config, name string, conf *service.ParsedConfig) {
	var found []string
	for op := range ops {
		if conf.Contains(op) {
			found = append(found, op)
		}
	}
	if len(found) != 1 {
		slices.Sort(found)
		f.faultf("%s.%s has %v: set exactly one of count, sum, min, max, avg, first, last and fold", fieldAggregate, name, found)
		return
	}
	a := window.Aggregate{Op: ops[found[0]]}
	var value *mapping.Mapping
	var err error
	switch a.Op {
	case window.Count:
	case window.Fold:
		a.Folder, err = newFolder(conf.Namespace("fold"))
		if err == nil && c.window.Assigner.Kind == window.Session && !conf.Contains("fold", "merge") {
			f.faultf("%s.%s.fold.merge is not set, and type session needs it: two sessions can become one", fieldAggregate, name)
		}
	default:
		value, err = mapping.Field(conf, found[0])
	}
	f.note(err)
	c.window.Names = append(c.window.Names, name)
	c.window.Aggregates = append(c.window.Aggregates, a)
	c.values = append(c.values, value)
}

// Register adds the buffer to an environment.
func Register(env *service.Environment) error {
	return env.RegisterBatchBuffer(Name, spec(), func(conf *service.ParsedConfig, res *service.Resources) (service.BatchBuffer, error) {
		c, err := parse(conf)
		if err != nil {
			return nil, err
		}
		return newBuffer(c, res)
	})
}
