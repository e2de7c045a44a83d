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
	// uncovered are streams that ended without their final checkpoint, and why.
	uncovered map[lineage]error
}

// lineage is what the builds of one stream have in common.
type lineage struct {
	reg    *registry
	stream string
}

func (c *Coordinator) lineage() lineage { return lineage{c.reg, c.stream} }

// began notes that a build has started. It goes on where the one before it ended,
// so whatever that one left uncovered is its business now.
func (f *failures) began(c *Coordinator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[*Coordinator]struct{}{}
	}
	f.open[c] = struct{}{}
	delete(f.uncovered, c.lineage())
}

// failedAtEnd notes that the final checkpoint of a build has failed.
func (f *failures) failedAtEnd(c *Coordinator, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uncovered == nil {
		f.uncovered = map[lineage]error{}
	}
	f.uncovered[c.lineage()] = err
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

// Failed returns the first fatal error of any stream of this process, else why a
// stream has ended without its final checkpoint and no new build went on for it,
// else nil.
func Failed() error {
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.first != nil {
		return process.first
	}
	for _, err := range process.uncovered {
		return err
	}
	return nil
}

// OnFatal calls f, in a goroutine of its own, for every stream that is stopped
// for good, until remove is called.
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
