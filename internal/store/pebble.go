package store

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Sizes, in bytes, of what Pebble holds in memory: a store is one of many things
// in the process, and its state is read mostly through the overlay above it.
const (
	memTableSize = 4 << 20
	cacheSize    = 4 << 20
	openFiles    = 256
)

// flushBackoff is how long a failed flush waits before Pebble tries it again,
// which it otherwise does at once: a full disk would cost a whole core.
const flushBackoff = 250 * time.Millisecond

// errBroken says that Pebble gave up. What it was writing may be on disk or not,
// and only opening the store anew tells.
var errBroken = errors.New("store is broken until it is opened anew")

// engine is a Pebble store that gives up by an error instead of ending the
// process.
type engine struct {
	db   *pebble.DB
	path string
	logf func(string, ...any)

	// ended tells that close was called and Pebble has ended.
	ended bool

	mu struct {
		sync.Mutex
		broken   error
		reported string
	}
}

// openEngine opens the Pebble store in a folder. It makes one only if create.
func openEngine(f folder, create, readOnly bool, logf func(string, ...any)) (*engine, error) {
	return openPebble(f, logf, func(o *pebble.Options) {
		o.ReadOnly, o.ErrorIfNotExists, o.ErrorIfExists = readOnly, !create, create
	})
}

// scratchMemTable is the size of what a scratch store collects before it sorts it into a
// table, in bytes: it is filled with a million keys at once.
const scratchMemTable = 8 << 20

// openScratch makes a Pebble store that nobody opens again: nothing of it has to be
// durable.
func openScratch(f folder, logf func(string, ...any)) (*engine, error) {
	return openPebble(f, logf, func(o *pebble.Options) {
		o.ErrorIfExists, o.DisableWAL, o.MemTableSize = true, true, scratchMemTable
		// It is filled in one go, and should not wait for the tables to be in order.
		o.MemTableStopWritesThreshold, o.L0CompactionThreshold, o.L0StopWritesThreshold = 4, 8, 1000
	})
}

func openPebble(f folder, logf func(string, ...any), change func(*pebble.Options)) (*engine, error) {
	e := &engine{path: f.path, logf: logf}
	o := &pebble.Options{
		FS:                         &fuse{FS: f.fs, path: f.path, engine: e},
		FormatMajorVersion:         pebble.FormatWALSyncChunks,
		CacheSize:                  cacheSize,
		MemTableSize:               memTableSize,
		MaxOpenFiles:               openFiles,
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 },
		Logger:                     e,
		EventListener:              &pebble.EventListener{BackgroundError: e.backgroundError, DataCorruption: e.corruption},
	}
	for i := range o.Levels {
		// Ten bits a key: most keys that are new are found missing without a read.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	change(o)
	err := e.guard(func() (err error) {
		e.db, err = pebble.Open(f.path, o)
		return err
	})
	if err != nil && e.db != nil {
		err = errors.Join(err, e.close())
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// guard runs fn, which calls Pebble. That it returns nil means something only if
// no write failed until then; and a fatal end of it becomes an error: Pebble's own
// Fatalf must not return, so the goroutine that calls it ends there; hence fn gets
// one of its own.
func (e *engine) guard(fn func() error) error {
	err := errBroken
	// done is closed by the goroutine when it ends, in whatever way.
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				err = e.giveUp(&fatalError{fmt.Sprintf("panic in Pebble: %v", r), firstError(r)})
			}
		}()
		err = fn()
	}()
	<-done
	if err == nil || errors.Is(err, errBroken) {
		return e.failure()
	}
	return err
}

// giveUp keeps the first reason and returns it.
func (e *engine) giveUp(cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.broken == nil {
		e.mu.broken = fmt.Errorf("%s: %w: %w", e.path, errBroken, cause)
	}
	return e.mu.broken
}

// failure returns why the store is broken, nil if it is not.
func (e *engine) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.broken
}

// Infof implements pebble.Logger: Pebble's notes on its housekeeping are nobody's
// business here.
func (e *engine) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (e *engine) Errorf(format string, args ...any) { e.logf(format, args...) }

// Fatalf implements pebble.Logger. It ends the calling goroutine, which unlocks
// what it had locked, and leaves the store unusable: a flush that ended so never
// ends for Pebble, so nothing of it is written any more.
func (e *engine) Fatalf(format string, args ...any) {
	err := e.giveUp(&fatalError{fmt.Sprintf(format, args...), firstError(args...)})
	e.logf("%v", err)
	runtime.Goexit()
}

// fatalError is what Pebble says when it gives up. It only prints the error that
// it gives up for, which has to be known still to tell a full disk from damage.
type fatalError struct {
	text  string
	cause error
}

func (f *fatalError) Error() string { return f.text }
func (f *fatalError) Unwrap() error { return f.cause }

func firstError(values ...any) error {
	for _, v := range values {
		if err, ok := v.(error); ok {
			return err
		}
	}
	return nil
}

// backgroundError is told of failed flushes and compactions. Pebble tries again
// at once; it calls this with its own lock held, so waiting here slows it down.
func (e *engine) backgroundError(err error) {
	e.mu.Lock()
	known := e.mu.reported == err.Error()
	e.mu.reported = err.Error()
	e.mu.Unlock()
	if !known {
		e.logf("%s: writing in the background failed and is tried again: %v", e.path, err)
	}
	time.Sleep(flushBackoff)
}

// corruption is told what a read finds damaged; the read returns the error too.
func (e *engine) corruption(info pebble.DataCorruptionInfo) {
	e.logf("%s: %v: %s", e.path, checkpoint.ErrCorrupt, info)
}

// close closes Pebble. A broken store may never end its background work; then the
// error says so, and its files must not be touched as long as the process lives.
func (e *engine) close() error {
	if e.ended {
		return nil
	}
	// result has room for one, so that a close that ends late is not stuck.
	result := make(chan error, 1)
	go func() { result <- e.guard(e.db.Close) }()
	if e.failure() == nil {
		e.ended = true
		return <-result
	}
	const patience = 2 * time.Second
	select {
	case err := <-result:
		e.ended = true
		if err != nil && !errors.Is(err, errBroken) {
			e.logf("%s: closing the broken store: %v", e.path, err)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s: the broken store does not end; start the process anew: %w", e.path, e.failure())
	}
}
