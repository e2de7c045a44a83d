package engine

import (
	"fmt"
	"sync"
)

// process gathers what must make the process fail although Benthos ends a stream
// whose input is over without an error. It is the only state of the package that
// is shared by all streams, because an exit code is.
var process failures

type failures struct {
	mu        sync.Mutex
	first     error
	listeners map[int]func(error)
	next      int
	// open are the builds that have started and not ended.
	open map[*Coordinator]struct{}
}

func (f *failures) began(c *Coordinator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[*Coordinator]struct{}{}
	}
	f.open[c] = struct{}{}
}

func (f *failures) over(c *Coordinator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

// Unfinished returns an error if a stream of this process has started and not
// ended. At the end of the process it means that Benthos gave up waiting, so that
// there was no final checkpoint.
func Unfinished() error {
	process.mu.Lock()
	defer process.mu.Unlock()
	for c := range process.open {
		return fmt.Errorf("%s did not end in time, so there was no final checkpoint: the next start repeats what came after the last one", c)
	}
	return nil
}

func (f *failures) report(err error) {
	f.mu.Lock()
	if f.first == nil {
		f.first = err
	}
	var told []func(error)
	for _, l := range f.listeners {
		told = append(told, l)
	}
	f.mu.Unlock()
	for _, l := range told {
		go l(err)
	}
}

// Failed returns the first fatal error or failed final checkpoint of any stream
// of this process, or nil.
func Failed() error {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.first
}

// OnFatal calls f, in a goroutine of its own, for every stream that is stopped
// for good or whose final checkpoint failed, until remove is called.
func OnFatal(f func(error)) (remove func()) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.listeners == nil {
		process.listeners = map[int]func(error){}
	}
	id := process.next
	process.next++
	process.listeners[id] = f
	return func() {
		process.mu.Lock()
		defer process.mu.Unlock()
		delete(process.listeners, id)
	}
}
