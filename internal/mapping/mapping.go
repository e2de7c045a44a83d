package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// Mapping is a Bloblang mapping that returns a value. It may be shared.
type Mapping struct {
	exec *bloblang.Executor
	path *path
}

// Field reads a mapping from a field of a configuration; nil if the field is not set.
func Field(conf *service.ParsedConfig, name string) (*Mapping, error) {
	if !conf.Contains(name) {
		return nil, nil
	}
	exec, err := conf.FieldBloblang(name)
	if err != nil {
		return nil, err
	}
	text, err := conf.FieldString(name)
	if err != nil {
		return nil, err
	}
	return New(exec, text), nil
}

// New returns the mapping of an executor and the text that it was parsed from.
func New(exec *bloblang.Executor, text string) *Mapping {
	return &Mapping{exec: exec, path: parsePath(text)}
}

// ErrNothing says that a mapping returned nothing: it deleted the message, or assigned
// nothing to root.
var ErrNothing = errors.New("the mapping returns nothing")

// Query asks mappings about the messages of a batch, with what they have in common done
// once. It must not be shared.
type Query struct {
	batch service.MessageBatch
	execs map[*Mapping]*service.MessageBatchBloblangExecutor
	// asks are the paths that are asked for in every message; firsts are the first names of
	// those that lead into the document, and found what the document has of these.
	asks   []*Mapping
	firsts []string
	found  [][]byte
	// index is the message that was looked at last, and sure whether found is right about
	// it; otherwise it has to be left to mappings.
	index int
	sure  bool
}

// On returns a query about a batch, by mappings of which some may be nil.
func On(batch service.MessageBatch, ms ...*Mapping) *Query {
	q := &Query{batch: batch, index: -1}
	for _, m := range ms {
		if m != nil && m.path != nil && m.path.metadata == "" {
			q.asks, q.firsts = append(q.asks, m), append(q.firsts, m.path.names[0])
		}
	}
	q.found = make([][]byte, len(q.firsts))
	return q
}

// Value returns what a mapping has for the i-th message: nil, bool, int64, float64,
// string, time.Time, []any or map[string]any, as a mapping has them; a number that is none
// of these, or too large to be exact, is a json.Number. It is ErrNothing if there is none. The text null counts as
// nil.
//
// A mapping that assigns nothing leaves the message what it is. So if the result is the
// message itself, and that is an object or an array, there is no value.
func (q *Query) Value(m *Mapping, i int) (any, error) {
	if m.path != nil {
		if v, ok := m.path.of(q, m, i); ok {
			return v, nil
		}
	}
	res, err := q.exec(m).Query(i)
	if err != nil {
		return nil, err
	}
	if res == nil {
		return nil, ErrNothing
	}
	if res.HasStructured() {
		return q.structured(res, i)
	}
	b, err := res.AsBytes()
	if err != nil {
		return nil, err
	}
	if document(b) && same(res, q.batch[i]) {
		return nil, ErrNothing
	}
	if string(b) == "null" {
		return nil, nil
	}
	return string(b), nil
}

func (q *Query) structured(res *service.Message, i int) (any, error) {
	v, err := res.AsStructured()
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case map[string]any, []any:
		if same(res, q.batch[i]) {
			return nil, ErrNothing
		}
	}
	return plain(v), nil
}

func (q *Query) exec(m *Mapping) *service.MessageBatchBloblangExecutor {
	e := q.execs[m]
	if e == nil {
		if q.execs == nil {
			q.execs = map[*Mapping]*service.MessageBatchBloblangExecutor{}
		}
		e = q.batch.BloblangExecutor(m.exec)
		q.execs[m] = e
	}
	return e
}

// Int is Value where that is a whole number and needs no mapping; else it is not ok.
func (q *Query) Int(m *Mapping, i int) (n int64, ok bool) {
	if m.path == nil || m.path.times != 0 || m.path.by != 0 || m.path.metadata != "" {
		return 0, false
	}
	json, ok := m.path.search(q, m, i)
	if !ok || json == nil {
		return 0, false
	}
	return wholeNumber(json)
}

// AppendText appends Value to b where that is text or a whole number and needs no mapping;
// else it is not ok.
func (q *Query) AppendText(b []byte, m *Mapping, i int) (text []byte, ok bool) {
	if m.path == nil || m.path.times != 0 || m.path.by != 0 || m.path.metadata != "" {
		return b, false
	}
	json, ok := m.path.search(q, m, i)
	if !ok || json == nil {
		return b, false
	}
	if json[0] == '"' {
		return appendPlain(b, json)
	}
	n, ok := wholeNumber(json)
	if !ok {
		return b, false
	}
	return strconv.AppendInt(b, n, 10), true
}

// look finds out what the document of a message has of what is asked for. It is not sure
// if the message has none, or was parsed already.
func (q *Query) look(i int) (sure bool) {
	if q.index == i {
		return q.sure
	}
	q.index, q.sure = i, false
	if m := q.batch[i]; m.HasBytes() {
		if b, err := m.AsBytes(); err == nil {
			clear(q.found)
			q.sure = members(b, q.firsts, q.found)
		}
	}
	return q.sure
}

// first returns what a message has of the first name of a path.
func (q *Query) first(m *Mapping, i int) (json []byte, sure bool) {
	for k, ask := range q.asks {
		if ask == m {
			sure = q.look(i)
			return q.found[k], sure
		}
	}
	return nil, false
}

// document tells that bytes begin like an object or an array.
func document(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

func same(a, b *service.Message) bool {
	x, err := a.AsBytes()
	y, err2 := b.AsBytes()
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// plain makes a number one of Go's.
func plain(v any) any {
	if i, ok := v.(int); ok {
		return int64(i)
	}
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	if f, err := n.Float64(); err == nil && !whole(n.String()) {
		return f
	}
	return n
}

// whole tells a number without fraction and exponent: one that is too large for Go's
// integers must not become another one.
func whole(number string) bool {
	return !strings.ContainsAny(number, ".eE")
}
