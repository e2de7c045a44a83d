package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/tidemarkhq/tidemark/internal/soak"
)

// trace writes events to a file. One that is open already is shared, so that the
// events of a process are in order.
type trace struct {
	mu   sync.Mutex
	file *os.File
}

var traces struct {
	sync.Mutex
	open map[string]*trace
}

func openTrace(path string) (*trace, error) {
	traces.Lock()
	defer traces.Unlock()
	if t := traces.open[path]; t != nil {
		return t, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the trace: %w", err)
	}
	if traces.open == nil {
		traces.open = map[string]*trace{}
	}
	t := &trace{file: f}
	traces.open[path] = t
	return t, nil
}

// add writes an event, in one piece: a process that is killed leaves whole lines,
// or at worst a torn last one.
func (t *trace) add(e soak.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, err := json.Marshal(e)
	if err == nil {
		_, err = t.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(fmt.Sprintf("writing the trace: %v", err))
	}
}
