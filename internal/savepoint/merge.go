package savepoint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// ErrMismatch says that savepoints do not go together, or not into what they are
// to be imported into.
var ErrMismatch = errors.New("savepoints do not fit")

// Target is what savepoints are to become.
type Target struct {
	// Job of the new store; empty = that of the files, which must agree.
	Job string
	// Share of the new store; nil = that of the file if there is one, all partitions if
	// there are several.
	Share *Share
	// ShardOf is the shard of a partition among count: a hash modulo count.
	ShardOf func(topic string, id int32, count int) int
}

// Merge returns what a store takes of several files: one checkpoint with the
// highest of their ids. It is read from the files, which must stay open; closing it
// does not close them. Errors are ErrMismatch, and Each may return one too.
func Merge(files []*File, to Target) (Snapshot, error) {
	m := &merged{files: files, to: to}
	first := files[0]
	switch {
	case to.Share != nil:
		m.origin.Share = *to.Share
	case len(files) == 1:
		m.origin.Share = first.origin.Share
	}
	m.origin.Store, m.origin.Place = first.origin.Store, first.origin.Place
	// What is not split up goes along as it is, state of the process included.
	m.same = len(files) == 1 && m.origin.Share.Equal(first.origin.Share)
	m.origin.Group = m.same && first.origin.Group
	for _, check := range []func() error{m.agree, m.complete, m.positions, m.process} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

type merged struct {
	files    []*File
	to       Target
	same     bool
	origin   Origin
	manifest checkpoint.Manifest
	// owners tells which file has the position of a partition.
	owners map[checkpoint.Partition]*File
}

// agree checks that the files are of one job, taken at one scale.
func (m *merged) agree() error {
	first := m.files[0]
	for _, f := range m.files {
		if m.to.Job == "" && f.manifest.Job != first.manifest.Job {
			return fmt.Errorf("%w: %s is of job %q, %s of job %q; name the job to import them as (--job)",
				ErrMismatch, first.name, first.manifest.Job, f.name, f.manifest.Job)
		}
		a, b := first.origin.Share, f.origin.Share
		if max(a.Shard.Count, 1) != max(b.Shard.Count, 1) {
			return fmt.Errorf("%w: %s is of %s, %s of %s; savepoints of one scale belong together", ErrMismatch, first.name, a, f.name, b)
		}
	}
	for i, f := range m.files {
		for _, g := range m.files[:i] {
			if s := f.origin.Share; s.Shard.Count > 1 && s.Equal(g.origin.Share) {
				return fmt.Errorf("%w: %s and %s both are of %s", ErrMismatch, g.name, f.name, s)
			}
		}
	}
	m.manifest.Job = cmp.Or(m.to.Job, first.manifest.Job)
	return nil
}

// complete checks that no shard is missing that may have partitions of the new one.
// A shard is a hash modulo the number of shards, so shard s of m and shard t of n
// have partitions in common only if s and t are the same modulo what m and n have
// in common.
func (m *merged) complete() error {
	count, to := m.files[0].origin.Share.Shard.Count, m.origin.Share.Shard
	if m.same || count <= 1 {
		return nil
	}
	have := map[int]bool{}
	for _, f := range m.files {
		have[f.origin.Share.Shard.Index] = true
	}
	common := gcd(count, max(to.Count, 1))
	for s := range count {
		if !have[s] && s%common == to.Index%common {
			return fmt.Errorf("%w: %s is made of %d shards, and the savepoint of shard %d is missing: give it too (--from), "+
				"or what that shard read would be read again", ErrMismatch, m.origin.Share, count, s)
		}
	}
	return nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// process refuses state of the process where it cannot stay whole.
func (m *merged) process() error {
	var owner *File
	for _, f := range m.files {
		for _, o := range f.summary.Operators {
			switch {
			case o.ProcessKeys == 0 || m.same:
			case !m.origin.Share.Whole():
				return fmt.Errorf("%w: %s has state of %q that belongs to the whole process, which cannot be split: import it into a store of all partitions",
					ErrMismatch, f.name, o.Name)
			case owner != nil && owner != f:
				return fmt.Errorf("%w: %s and %s both have state that belongs to a whole process (%q), which cannot be merged",
					ErrMismatch, owner.name, f.name, o.Name)
			default:
				owner = f
			}
		}
	}
	return nil
}

func (m *merged) positions() error {
	m.owners = map[checkpoint.Partition]*File{}
	m.manifest.Positions = checkpoint.Positions{}
	m.manifest.Final = true
	for _, f := range m.files {
		for p, pos := range f.manifest.Positions {
			if other := m.owners[p]; other != nil {
				return overlap(other, f, p)
			}
			m.owners[p] = f
			if m.takes(p) {
				m.manifest.Positions[p] = pos
			}
		}
		m.manifest.ID = max(m.manifest.ID, f.manifest.ID)
		m.manifest.Kind = max(m.manifest.Kind, f.manifest.Kind)
		m.manifest.Final = m.manifest.Final && f.manifest.Final
		if f.manifest.Taken.After(m.manifest.Taken) {
			m.manifest.Taken = f.manifest.Taken
		}
	}
	return nil
}

func overlap(f, g *File, p checkpoint.Partition) error {
	return fmt.Errorf("%w: %s and %s both hold partition %s", ErrMismatch, f.name, g.name, p)
}

// takes tells whether a partition belongs to the target.
func (m *merged) takes(p checkpoint.Partition) bool {
	to := m.origin.Share.Shard
	if m.same || to.Count <= 1 || p == checkpoint.Everywhere {
		return true
	}
	return p != checkpoint.Partition{} && m.to.ShardOf(p.Topic, p.ID, to.Count) == to.Index
}

// Origin implements Snapshot.
func (m *merged) Origin() Origin { return m.origin }

// Manifest implements Snapshot.
func (m *merged) Manifest() *checkpoint.Manifest { return clone(&m.manifest) }

// Close implements Snapshot.
func (m *merged) Close() error { return nil }

// errEnough stops a file whose values nobody wants any more.
var errEnough = errors.New("enough")

// head is the next value of a file.
type head struct {
	file  *File
	entry Entry
	next  func() (Entry, error, bool)
}

// Each implements Snapshot: it merges the values of all files, which are in order.
func (m *merged) Each(ctx context.Context, fn func(Entry) error) error {
	var heads []*head
	for _, f := range m.files {
		next, stop := iter.Pull2(pulled(ctx, f))
		defer stop()
		h := &head{file: f, next: next}
		there, err := h.advance()
		if err != nil {
			return err
		}
		if there {
			heads = append(heads, h)
		}
	}
	for len(heads) > 0 {
		low, err := lowest(heads)
		if err != nil {
			return err
		}
		h := heads[low]
		if m.takes(h.entry.Scope) && !(h.entry.Scope == checkpoint.Everywhere && repeated(heads, low)) {
			if owner := m.owners[h.entry.Scope]; owner != nil && owner != h.file {
				return overlap(owner, h.file, h.entry.Scope)
			}
			if err := fn(h.entry); err != nil {
				return err
			}
		}
		there, err := h.advance()
		if err != nil {
			return err
		}
		if !there {
			heads = append(heads[:low], heads[low+1:]...)
		}
	}
	return nil
}

// lowest returns which head comes first. Two of the same key are an error, unless all
// processes have them and they say the same.
func lowest(heads []*head) (low int, err error) {
	for i := 1; i < len(heads); i++ {
		switch c := compare(heads[i].entry, heads[low].entry); {
		case c < 0:
			low = i
		case c > 0:
		case heads[i].entry.Scope != checkpoint.Everywhere:
			return 0, overlap(heads[low].file, heads[i].file, heads[i].entry.Scope)
		case !bytes.Equal(heads[i].entry.Value, heads[low].entry.Value):
			return 0, fmt.Errorf("%w: %s and %s differ in what %q keeps for all partitions: %q is %q and %q", ErrMismatch, heads[low].file.name,
				heads[i].file.name, heads[i].entry.Operator, heads[i].entry.Key, heads[low].entry.Value, heads[i].entry.Value)
		}
	}
	return low, nil
}

// repeated tells whether another head has the same key: it comes once, with the last.
func repeated(heads []*head, low int) bool {
	for i, h := range heads {
		if i != low && compare(h.entry, heads[low].entry) == 0 {
			return true
		}
	}
	return false
}

// pulled turns a file's values into a sequence; an error is its last element.
func pulled(ctx context.Context, f *File) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := f.Each(ctx, func(e Entry) error {
			if !yield(e, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(Entry{}, err)
		}
	}
}

func (h *head) advance() (there bool, err error) {
	e, err, there := h.next()
	h.entry = e
	return there && err == nil, err
}

func compare(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Operator, b.Operator), a.Scope.Compare(b.Scope), bytes.Compare(a.Key, b.Key))
}
