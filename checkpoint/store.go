package checkpoint

import (
	"context"
	"errors"
	"time"
)

// Errors that stores and coordinators return.
var (
	// ErrFatal marks what no retry heals. Who gets it stops the stream.
	ErrFatal = errors.New("fatal")
	// ErrNoCheckpoint says that a store is empty. Who gets it starts afresh.
	ErrNoCheckpoint = errors.New("no checkpoint")
	// ErrCorrupt says that stored bytes are torn or altered. It is always fatal:
	// nobody may go on from half a checkpoint.
	ErrCorrupt = errors.New("corrupt checkpoint")
	// ErrVersion says that stored bytes are of a version unknown to this build.
	ErrVersion = errors.New("unknown checkpoint version")
	// ErrLocked says that another process holds the store. It may end: try again.
	ErrLocked = errors.New("store is locked")
	// ErrInDoubt says that nobody knows whether a checkpoint is complete. Who gets it
	// goes back to the last one, and finds out which that is.
	ErrInDoubt = errors.New("it is not known whether the checkpoint is complete")
	// ErrMoved marks why a stream goes back when that is no failure: partitions went to
	// another process before what became of them was covered. There is nothing to wait for.
	ErrMoved = errors.New("partitions went to another process")
	// ErrFenced marks why a stream goes back when another process has ended its transaction,
	// as every member does that takes a partition over to those who had it before, also if
	// they are well and own others. That is no failure either; how long to wait then is an
	// Owner's to say.
	ErrFenced = errors.New("another process ended the transaction")
	// ErrNotRestored says that state was used before the stream started.
	ErrNotRestored = errors.New("state is not restored yet")
	// ErrDead says that a newer build of the stream has taken over.
	ErrDead = errors.New("a newer build of this stream has taken over")
)

// Manifest describes one checkpoint.
type Manifest struct {
	Job       string
	ID        ID
	Kind      Kind
	Taken     time.Time
	Positions Positions
	// Final tells that the checkpoint was the last of an orderly shutdown or of a
	// finished bounded run.
	Final bool
}

// Change is one write to an operator's state.
type Change struct {
	Operator string
	Scope    Scope
	Key      []byte
	// Value is nil for a deletion; an empty value is not nil.
	Value []byte
}

// Store keeps checkpoints. Methods are called by one goroutine at a time, but Get
// and Scan may run beside each other and beside Persist.
type Store interface {
	// Load returns the checkpoint to start from, or ErrNoCheckpoint.
	Load(ctx context.Context) (*Manifest, error)
	// Persist makes a checkpoint the last one: its positions and the changes that
	// led to it become true together, and are durable when it returns nil. The
	// changes are in order; a later one of the same key wins. It returns the
	// number of bytes written.
	Persist(ctx context.Context, m *Manifest, changes []Change) (int64, error)
	// Get reads state as of the last persisted checkpoint; nil if not there.
	Get(operator string, s Scope, key []byte) ([]byte, error)
	// Scan calls fn in key order for every key with the prefix, from a key on (nil:
	// from the first), until it returns an error, which Scan returns. key and value
	// are only valid during the call.
	Scan(operator string, s Scope, prefix, from []byte, fn func(key, value []byte) error) error
	// List returns the checkpoints that can be restored from, oldest first.
	List(ctx context.Context) ([]Manifest, error)
	// Close releases the store; no other method may run or be called afterwards.
	Close() error
}
