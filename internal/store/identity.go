package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
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

// stored is the share as stores and savepoints keep it.
func (s Share) stored() savepoint.Share { return savepoint.ShareOf(s.Shard, s.Partitions) }

// identity is the STORE file. Its presence says that there is a store.
type identity struct {
	// ready is false while the first live folder is being made: what there is
	// then may be thrown away.
	ready bool
	job   string
	share savepoint.Share
	// generation numbers the live folder that counts.
	generation int
	// restoredFrom is the checkpoint that this generation went back to, 0 if it
	// did not; first is the first checkpoint after that. Retained checkpoints in
	// between belong to the history that was dropped.
	restoredFrom, first checkpoint.ID
}

func (id identity) encode() []byte {
	var e encoder
	e.Bool(id.ready)
	e.String(id.job)
	e.Int(int64(id.share.Shard.Index))
	e.Int(int64(id.share.Shard.Count))
	e.String(id.share.Fingerprint)
	e.String(id.share.Listing)
	e.Int(int64(id.generation))
	e.Int(int64(id.restoredFrom))
	e.Int(int64(id.first))
	return seal(nil, []byte(identityFile), e.B)
}

func decodeIdentity(record []byte) (id identity, err error) {
	payload, err := unseal([]byte(identityFile), record)
	if err != nil {
		return id, err
	}
	d := decoderOf(payload)
	id.ready = d.Bool()
	id.job = d.String()
	id.share.Shard.Index = int(d.Int())
	id.share.Shard.Count = int(d.Int())
	id.share.Fingerprint = d.String()
	id.share.Listing = d.String()
	id.generation = int(d.Int())
	id.restoredFrom = checkpoint.ID(d.Int())
	id.first = checkpoint.ID(d.Int())
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
func (id identity) admit(job string, s savepoint.Share) error {
	if job != "" && job != id.job {
		return checkpoint.Fatal(fmt.Errorf("%w: it is kept for job %q, checkpoint.job is %q; "+
			"set checkpoint.job to the former, or give the new job a directory of its own", ErrOtherJob, id.job, job))
	}
	if !s.Equal(id.share) {
		return checkpoint.Fatal(fmt.Errorf("%w: it was written for %s and is opened for %s; go back to the former, "+
			"or export savepoints of all shards and import them into new stores (tidemark checkpoint)", ErrOtherShare, id.share, s))
	}
	return nil
}

// newJob invents a job id: 64 random bits.
func newJob() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "job-" + hex.EncodeToString(b[:])
}
