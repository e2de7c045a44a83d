package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// DefaultMaxRecord bounds the key and value of a record in a store's topic, in bytes. It
// leaves room below the brokers' default message.max.bytes.
const DefaultMaxRecord = 900_000

// minChunk is the room, in bytes, that a record must have for a value besides its key.
const minChunk = 1024

// TopicOptions of a topic store.
type TopicOptions struct {
	// Topic to keep checkpoints in, with its number of partitions, as EnsureTopic
	// returned it.
	Topic      string
	Partitions int
	// Job whose checkpoints these are; several jobs can share a topic.
	Job string
	// Directory for the local copy of the state, which is emptied at open: the topic is
	// what counts. It is made if it is not there, and locked. Empty = memory.
	Directory string
	// MaxRecord bounds key and value of a record, in bytes; larger values take several
	// records. 0 = DefaultMaxRecord. It may differ between processes, and over time.
	MaxRecord int
	// Logf takes what cannot be returned; nil = silence.
	Logf func(format string, args ...any)
	// Now is the clock, for the time of claims, and for how old the local copy is; nil =
	// time.Now.
	Now func() time.Time
	// FS is the file system of Directory, nil = the operating system's.
	FS vfs.FS
}

func (o TopicOptions) withDefaults() (TopicOptions, error) {
	var faults []error
	if o.Topic == "" {
		faults = append(faults, errors.New("checkpoint.store.topic is empty: name a topic"))
	}
	if o.Job == "" {
		faults = append(faults, errors.New("checkpoint.job is empty: a topic store needs the name of the job"))
	}
	if o.Partitions < 1 {
		faults = append(faults, fmt.Errorf("the topic's number of partitions is %d: it must be at least 1", o.Partitions))
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MaxRecord < 2*minChunk {
		faults = append(faults, fmt.Errorf("the size of a record is bounded to %d bytes: it must be at least %d", o.MaxRecord, 2*minChunk))
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Directory == "":
		o.Directory, o.FS = "memory", vfs.NewMem()
	case o.FS == nil:
		o.FS = vfs.Default
	}
	return o, checkpoint.Fatal(errors.Join(faults...))
}

// Topic keeps the checkpoints of a job in a compacted Kafka topic, for any number of
// processes. It reads; what it wants written it returns as records, which somebody else
// writes in a transaction. See the package comment for how the parts go together.
//
// Get and Scan may run beside each other and beside everything else. One goroutine at a time
// calls what reads the topic: Look, ReadClaims, Restore and Erase. Another one may call what
// prepares records, and Applied, Snapshot and Forget, beside that, but for scopes that are
// not being restored.
type Topic struct {
	conf   TopicOptions
	client *kgo.Client
	// prefix is what keys of the job begin with, apart from the version.
	prefix []byte
	root   folder
	lock   io.Closer
	engine *engine
	// jobs is how far the records of the jobs were read.
	jobs int64

	// reads counts calls of Get and Scan; one begins with mu held and the store open.
	reads sync.WaitGroup
	mu    struct {
		sync.RWMutex
		// live are the scopes whose state is here.
		live   map[checkpoint.Scope]bool
		closed bool
		// homes are the partitions of the topic that were of interest so far.
		homes map[int32]*home
	}
}

// home is one partition of the store's topic. Its mu, with several in the order of their
// numbers, is taken before Topic.mu, and guards it and its tenants.
type home struct {
	id int32
	mu sync.Mutex
	// next is how far claims and checkpoints were read.
	next int64
	// scopes whose home it is, by their encoding, and spaces by that of operator and scope.
	scopes map[string]*tenant
	spaces map[string]*tenantSpace
}

// tenant is what is known of a scope.
type tenant struct {
	scope checkpoint.Scope
	// claims holds the last claim, release or retirement of each transactional id.
	claims map[string]Event
	last   *Event

	// reading tells that state is read from the topic; upTo says up to which offset the
	// local copy has it, and asOf when it was known to be all.
	reading bool
	upTo    int64
	asOf    time.Time
	// operators that there is, or was, state of.
	operators map[string]bool
	// split has the number of chunks of the values that take more than one, by local key,
	// and partial the chunks of values that are not complete.
	split   map[string]uint64
	partial map[string]map[uint32]chunk
}

// tenantSpace is a scope's part of an operator's state.
type tenantSpace struct {
	*tenant
	operator string
}

// copyFolder holds the local copy, in TopicOptions.Directory.
const copyFolder = "copy"

// OpenTopic opens the store. client is a plain one; nothing is read yet. Errors that wrap
// checkpoint.ErrFatal are final; checkpoint.ErrLocked, and errors of the system, may pass.
func OpenTopic(client *kgo.Client, o TopicOptions) (*Topic, error) {
	conf, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Topic{conf: conf, client: client, prefix: jobPrefix(conf.Job)}
	t.mu.live, t.mu.homes = map[checkpoint.Scope]bool{}, map[int32]*home{}
	if err := t.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the local copy of the checkpoint store: %w", err), t.Close())
	}
	return t, nil
}

func (t *Topic) open() error {
	path, err := resolve(t.conf.FS, t.conf.Directory)
	if err != nil {
		return err
	}
	t.root = folder{t.conf.FS, path}
	if t.lock, err = t.root.acquire(t.conf.Now()); err != nil {
		return err
	}
	if err := t.removeCopy(); err != nil {
		return err
	}
	t.engine, err = openScratch(t.root.sub(copyFolder), t.conf.Logf)
	return err
}

func (t *Topic) removeCopy() error {
	err := t.conf.FS.RemoveAll(t.root.join(copyFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", t.root.join(copyFolder), err)
	}
	return nil
}

// Close drops the local copy. Reads that are under way end first; the error says if they do
// not. The client stays open.
func (t *Topic) Close() error {
	t.mu.Lock()
	t.mu.closed = true
	t.mu.Unlock()
	if !awaitReads(&t.reads) {
		return fmt.Errorf("closing the checkpoint store: its state is still being read after %v", readsEnd)
	}
	var errs []error
	if t.engine != nil {
		errs = append(errs, t.engine.close())
		if !t.engine.ended {
			return errors.Join(errs...)
		}
		t.engine = nil
		errs = append(errs, t.removeCopy())
	}
	if t.lock != nil {
		errs = append(errs, t.lock.Close())
		t.lock = nil
	}
	return errors.Join(errs...)
}

// PartitionOf returns the partition of the store's topic that holds a scope.
func (t *Topic) PartitionOf(s checkpoint.Scope) int32 {
	return HomeOf(t.conf.Job, s, t.conf.Partitions)
}

// homeOf returns the home of a scope.
func (t *Topic) homeOf(s checkpoint.Scope) *home { return t.home(t.PartitionOf(s)) }

func (t *Topic) home(id int32) *home {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.mu.homes[id]
	if h == nil {
		h = &home{id: id, scopes: map[string]*tenant{}, spaces: map[string]*tenantSpace{}}
		t.mu.homes[id] = h
	}
	return h
}

// with calls fn with what is known of a scope, its home locked.
func (t *Topic) with(s checkpoint.Scope, fn func(*tenant)) {
	h := t.homeOf(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(h.tenant(s, scopeKey(s)))
}

// tenant returns what is known of a scope, with mu held.
func (h *home) tenant(s checkpoint.Scope, key []byte) *tenant {
	n := h.scopes[string(key)]
	if n == nil {
		n = &tenant{
			scope: s, claims: map[string]Event{}, upTo: NoOffset, operators: map[string]bool{},
			split: map[string]uint64{}, partial: map[string]map[uint32]chunk{},
		}
		h.scopes[string(key)] = n
	}
	return n
}

// partition is the place of a home in Kafka.
func (t *Topic) partition(id int32) kafka.Partition {
	return kafka.Partition{Topic: t.conf.Topic, ID: id}
}

// isLive tells whether the state of a scope is here.
func (t *Topic) isLive(s checkpoint.Scope) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.mu.live[s]
}

func (t *Topic) setLive(live bool, scopes ...checkpoint.Scope) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range scopes {
		if live {
			t.mu.live[s] = true
		} else {
			delete(t.mu.live, s)
		}
	}
}
