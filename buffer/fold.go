package buffer

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/mapping"
)

// folder is an aggregate that mappings compute. It implements window.Folder.
type folder struct{ init, add, merge, emit *bloblang.Executor }

func newFolder(conf *service.ParsedConfig) (*folder, error) {
	f := &folder{}
	for name, into := range map[string]**bloblang.Executor{"init": &f.init, "add": &f.add, "merge": &f.merge, "emit": &f.emit} {
		if !conf.Contains(name) {
			continue
		}
		exec, err := conf.FieldBloblang(name)
		if err != nil {
			return nil, err
		}
		*into = exec
	}
	return f, nil
}

// ask runs a mapping. What goes in is copied: a mapping may change it in place.
func ask(what string, exec *bloblang.Executor, in map[string]any) (any, error) {
	for k := range in {
		in[k] = clone(in[k])
	}
	out, err := exec.Query(in)
	if same, ok := out.(map[string]any); ok && reflect.ValueOf(same).UnsafePointer() == reflect.ValueOf(in).UnsafePointer() {
		err = mapping.ErrNothing // Bloblang then returns what went in.
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return plain(out), nil
}

// plain makes a state what it would be after a restart, so that mappings meet the same
// with and without one.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case float64:
		if i := int64(v); math.Abs(v) < 1<<53 && float64(i) == v {
			return i
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	case []byte:
		return string(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

func clone(v any) any {
	switch v := v.(type) {
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = clone(v[i])
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for k := range v {
			c[k] = clone(v[k])
		}
		return c
	}
	return v
}

// Init implements window.Folder.
func (f *folder) Init() (any, error) { return ask("init", f.init, map[string]any{}) }

// Add implements window.Folder.
func (f *folder) Add(state, value any) (any, error) {
	return ask("add", f.add, map[string]any{"state": state, "message": value})
}

// Merge implements window.Folder.
func (f *folder) Merge(a, b any) (any, error) {
	return ask("merge", f.merge, map[string]any{"first": a, "second": b})
}

// Result implements window.Folder.
func (f *folder) Result(state any) (any, error) {
	if f.emit == nil {
		return state, nil
	}
	return ask("emit", f.emit, map[string]any{"state": state})
}
