package store

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Errors of a store that belongs to somebody else. They wrap
// checkpoint.ErrFatal: the configuration has to change.
var (
	// ErrOtherJob says that the store holds the checkpoints of another job.
	ErrOtherJob = errors.New("store belongs to another job")
	// ErrOtherShare says that the store holds another share of the partitions.
	ErrOtherShare = errors.New("store holds another share of the partitions")
	// ErrUnknownID says that there is no checkpoint of the id to restore from.
	ErrUnknownID = errors.New("no such checkpoint")
)

// Share says which partitions a process owns.
type Share struct {
	// Shard of all partitions; Count 0 = all of them.
	Shard checkpoint.Shard
	// Partitions named in the configuration, in any form that is stable over
	// restarts; empty = none are named. Their order does not matter.
	Partitions []string
}

// longestListing is how much of named partitions is kept for messages, in bytes.
const longestListing = 200

// share is a Share as stored.
type share struct {
	shard       checkpoint.Shard
	fingerprint string
	listing     string
}

func (s Share) stored() share {
	st := share{shard: s.Shard}
	if len(s.Partitions) == 0 {
		return st
	}
	names := slices.Sorted(slices.Values(s.Partitions))
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	st.fingerprint = hex.EncodeToString(sum[:])
	st.listing = strings.Join(names, ", ")
	if len(st.listing) > longestListing {
		st.listing = fmt.Sprintf("%s… (%d in all)", st.listing[:longestListing], len(names))
	}
	return st
}

func (s share) equal(t share) bool { return s.shard == t.shard && s.fingerprint == t.fingerprint }

// String describes the share for messages.
func (s share) String() string {
	what := "all partitions"
	if s.fingerprint != "" {
		what = "partitions " + s.listing
	}
	if s.shard.Count > 0 {
		return fmt.Sprintf("shard %d of %d of %s", s.shard.Index, s.shard.Count, what)
	}
	return what
}

// identity is the STORE file. Its presence says that there is a store.
type identity struct {
	// ready is false while the first live folder is being made: what there is
	// then may be thrown away.
	ready bool
	job   string
	share share
	// generation numbers the live folder that counts.
	generation int
	// restoredFrom is the checkpoint that this generation went back to, 0 if it
	// did not; first is the first checkpoint after that. Retained checkpoints in
	// between belong to the history that was dropped.
	restoredFrom, first checkpoint.ID
}

func (id identity) encode() []byte {
	var e encoder
	e.bool(id.ready)
	e.string(id.job)
	e.int(int64(id.share.shard.Index))
	e.int(int64(id.share.shard.Count))
	e.string(id.share.fingerprint)
	e.string(id.share.listing)
	e.int(int64(id.generation))
	e.int(int64(id.restoredFrom))
	e.int(int64(id.first))
	return seal(nil, []byte(identityFile), e.b)
}

func decodeIdentity(record []byte) (id identity, err error) {
	payload, err := unseal([]byte(identityFile), record)
	if err != nil {
		return id, err
	}
	d := decoder{b: payload}
	id.ready = d.bool()
	id.job = d.string()
	id.share.shard.Index = int(d.int())
	id.share.shard.Count = int(d.int())
	id.share.fingerprint = d.string()
	id.share.listing = d.string()
	id.generation = int(d.int())
	id.restoredFrom = checkpoint.ID(d.int())
	id.first = checkpoint.ID(d.int())
	return id, d.end(identityFile)
}

// readIdentity returns false if there is no store, or none that was ever ready.
func (f folder) readIdentity() (id identity, found bool, err error) {
	b, err := f.read(identityFile)
	if err == nil {
		id, err = decodeIdentity(b)
		return id, id.ready, damage("reading "+f.join(identityFile), err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return id, false, fmt.Errorf("reading %s: %w", f.join(identityFile), err)
	}
	names, err := f.list()
	if err != nil {
		return id, false, fmt.Errorf("listing %s: %w", f.path, err)
	}
	for _, name := range names {
		if name == acknowledgedFile || name == retainedFolder || strings.HasPrefix(name, livePrefix) {
			return id, false, fmt.Errorf("%w: %s is missing, but %s is there", checkpoint.ErrCorrupt,
				f.join(identityFile), f.join(name))
		}
	}
	return id, false, nil
}

// admit checks that the store belongs to who opens it. A store without any
// checkpoint belongs to nobody yet.
func (id identity) admit(job string, s share) error {
	if job != "" && job != id.job {
		return checkpoint.Fatal(fmt.Errorf("%w: it is kept for job %q, checkpoint.job is %q; "+
			"set checkpoint.job to the former, or give the new job a directory of its own", ErrOtherJob, id.job, job))
	}
	if !s.equal(id.share) {
		return checkpoint.Fatal(fmt.Errorf("%w: it was written for %s and is opened for %s; go back to the former, "+
			"or export a savepoint of all shards and import it into new stores", ErrOtherShare, id.share, s))
	}
	return nil
}

// newJob invents a job id: 64 random bits.
func newJob() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "job-" + hex.EncodeToString(b[:])
}
