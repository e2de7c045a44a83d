package mapping

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/tidwall/gjson"
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
	// json is the document of the message that was asked about last, by index; nil if it
	// has to be left to mappings.
	json  []byte
	index int
}

// On returns a query about a batch.
func On(batch service.MessageBatch) *Query { return &Query{batch: batch, index: -1} }

// Value returns what a mapping has for the i-th message: nil, bool, int64, float64,
// string, time.Time, []any or map[string]any, as a mapping has them; a number that is none
// of these is a json.Number. It is ErrNothing if there is none. The text null counts as
// nil.
//
// A mapping that assigns nothing leaves the message what it is. So if the result is the
// message itself, and that is an object or an array, there is no value.
func (q *Query) Value(m *Mapping, i int) (any, error) {
	if m.path != nil {
		if v, ok := m.path.of(q, i); ok {
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

// document returns the JSON of a message; nil if it has none, or was parsed already.
func (q *Query) document(i int) []byte {
	if q.index == i {
		return q.json
	}
	q.index, q.json = i, nil
	if m := q.batch[i]; m.HasBytes() {
		if b, err := m.AsBytes(); err == nil && gjson.ValidBytes(b) {
			q.json = b
		}
	}
	return q.json
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
	if f, err := n.Float64(); err == nil {
		return f
	}
	return n
}
