package savepoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Errors of archives.
var (
	// ErrNoStore says that there is no store at the place given.
	ErrNoStore = errors.New("no checkpoint store")
	// ErrUnknownID says that a store has no checkpoint of that id.
	ErrUnknownID = errors.New("no such checkpoint")
	// ErrNotEmpty says that a savepoint cannot be imported, because there is something
	// already. Nothing was changed.
	ErrNotEmpty = errors.New("not empty")
	// ErrHeld says that a process may be at work with what is to be deleted.
	ErrHeld = errors.New("the job may be running")
)

// Entry is one value of an operator's state. Key and Value are valid during the
// call that they are passed to; Value is never nil.
type Entry struct {
	Operator   string
	Scope      checkpoint.Scope
	Key, Value []byte
}

// Snapshot is one complete checkpoint, to be read. It does not change while the
// store goes on.
type Snapshot interface {
	// Origin says where the checkpoint comes from.
	Origin() Origin
	// Manifest describes the checkpoint, all positions included. It is the caller's.
	Manifest() *checkpoint.Manifest
	// Each calls fn for every value of state, in order of operator, scope
	// (checkpoint.Partition.Compare) and key, until it returns an error, which Each
	// returns. Damage is checkpoint.ErrCorrupt. It can be called again.
	Each(ctx context.Context, fn func(Entry) error) error
	// Close releases it. No other method may be called afterwards.
	Close() error
}

// Snapshotter is a checkpoint.Store that gives out its last checkpoint while a job
// works with it. Snapshot is called like Persist, by the same goroutine, and must
// not block; the Snapshot is read beside all other methods and closed before the
// store is.
type Snapshotter interface {
	Snapshot() (Snapshot, error)
}

// Archive is a store that no job works with: opening one locks it as a job would,
// or fails with checkpoint.ErrLocked. One that cannot be locked, because it is not of
// one process, shows what was complete when it was opened. Methods are called by one
// goroutine at a time.
type Archive interface {
	// Job is the job whose checkpoints these are, and Origin says which partitions the
	// store is bound to.
	Job() string
	Origin() Origin
	// List returns the complete checkpoints there are, the last one last. The store
	// may be empty.
	List(ctx context.Context) ([]checkpoint.Manifest, error)
	// Snapshot returns a checkpoint, 0 = the last one; ErrUnknownID if it is not
	// there, checkpoint.ErrNoCheckpoint if none is.
	Snapshot(ctx context.Context, id checkpoint.ID) (Snapshot, error)
	// Delete removes an earlier checkpoint than the last one. Deleting the last one is
	// an error: the job would go on from an older one as if nothing had been.
	Delete(ctx context.Context, id checkpoint.ID) error
	// DeleteAll removes all checkpoints of the job; it starts afresh afterwards. ErrHeld if
	// somebody may be at work with them.
	DeleteAll(ctx context.Context) error
	Close() error
}

// Importer is a place where a store can be made.
type Importer interface {
	// Import makes s the first checkpoint of a store for s.Origin().Share and the job
	// of s.Manifest(): a job that starts there goes on at it. It keeps its id; the
	// ids of the job go on from there. It is whole or not there: after an error, or a
	// crash, the place counts as empty (if even undoing fails, it may hold all of it).
	// ErrNotEmpty if there is something already.
	Import(ctx context.Context, s Snapshot) error
}

// Share says which partitions a checkpoint is about. The zero Share is all of them.
type Share struct {
	// Shard of all partitions; Count 0 or 1 = all of them.
	Shard checkpoint.Shard
	// Fingerprint identifies the partitions that the job names one by one; empty = it
	// names none. Listing has some of them, for people.
	Fingerprint, Listing string
}

// longestListing is how much of named partitions is kept for messages, in bytes.
const longestListing = 200

// ShareOf is the share of a shard and of partitions named in a configuration, in
// any form that is stable over restarts; their order does not matter.
func ShareOf(shard checkpoint.Shard, partitions []string) Share {
	s := Share{Shard: shard}
	if len(partitions) == 0 {
		return s
	}
	names := slices.Sorted(slices.Values(partitions))
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	s.Fingerprint = hex.EncodeToString(sum[:])
	s.Listing = strings.Join(names, ", ")
	if len(s.Listing) > longestListing {
		s.Listing = fmt.Sprintf("%s… (%d in all)", s.Listing[:longestListing], len(names))
	}
	return s
}

// Whole tells that the share is all partitions.
func (s Share) Whole() bool { return s.Shard.Count <= 1 && s.Fingerprint == "" }

// Equal tells whether both are the same partitions. One shard of one is no shard.
func (s Share) Equal(t Share) bool {
	shards := s.Shard == t.Shard || s.Shard.Count <= 1 && t.Shard.Count <= 1
	return shards && s.Fingerprint == t.Fingerprint
}

// String describes the share for messages.
func (s Share) String() string {
	what := "all partitions"
	if s.Fingerprint != "" {
		what = "partitions " + s.Listing
	}
	if s.Shard.Count > 0 {
		return fmt.Sprintf("shard %d of %d of %s", s.Shard.Index, s.Shard.Count, what)
	}
	return what
}

// Kinds of store that a savepoint comes from.
const (
	// FromDirectory is the directory store.
	FromDirectory = "directory"
	// FromTopic is the topic store.
	FromTopic = "topic"
	// FromNone is no store: there are positions only.
	FromNone = "none"
)

// Origin says where a savepoint comes from.
type Origin struct {
	// Store is FromDirectory, FromTopic or FromNone.
	Store string
	// Place is the folder or the topic; empty without a store.
	Place string
	Share Share
	// Group tells that a consumer group shared the partitions out: these are the ones
	// that one member had at that moment.
	Group bool
}

// String describes the origin for messages.
func (o Origin) String() string {
	from := "no store"
	if o.Store != FromNone {
		from = fmt.Sprintf("%s %s", o.Store, o.Place)
	}
	if o.Group {
		return from + ", what one member of a consumer group had"
	}
	return from + ", " + o.Share.String()
}

// Holder is who keeps the checkpoints of a partition, in a store where each partition has
// its own.
type Holder struct {
	// ID is the transactional id of who claimed the partition last.
	ID string
	// Checkpoint is the last one of the partition, 0 if there is none yet.
	Checkpoint checkpoint.ID
	// Free tells that the partition was given up in good order. Otherwise a process has
	// it, or has died.
	Free bool
}

// Held is a Snapshot whose partitions have holders of their own.
type Held interface {
	Holders() map[checkpoint.Partition]Holder
}
