package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// Savepoint is what became of the savepoint of one stream.
type Savepoint struct {
	// Stream is the stream's id, Job the name of the job.
	Stream, Job string
	// File that was written; empty if none was.
	File string
	// ID of the checkpoint, and how much it holds.
	ID checkpoint.ID
	savepoint.Summary
	// Stored tells that the checkpoint is in a store; without one there are positions
	// only.
	Stored bool
	// Err is why there is no file.
	Err error
}

// Savepoints takes a checkpoint of every running stream of this process, side by
// side, and writes it to a file in the folder that the stream's input names. The
// streams go on meanwhile. It returns when all are written or have failed, each
// logged by its stream; nothing if no stream runs.
func Savepoints(ctx context.Context) []Savepoint {
	process.mu.Lock()
	var open []*Coordinator
	for c := range process.open {
		open = append(open, c)
	}
	process.mu.Unlock()
	slices.SortFunc(open, func(a, b *Coordinator) int { return strings.Compare(a.stream, b.stream) })
	all := make([]Savepoint, len(open))
	done := make(chan struct{})
	for i, c := range open {
		go func() {
			all[i] = c.Savepoint(ctx)
			done <- struct{}{}
		}()
	}
	for range open {
		<-done
	}
	return all
}

// Savepoint is Savepoints for one stream.
func (c *Coordinator) Savepoint(ctx context.Context) Savepoint {
	s, err := c.savepoint(ctx)
	s.Stream, s.Err = c.stream, err
	switch {
	case err != nil:
		c.log.Errorf("No savepoint was taken: %v", err)
	case !s.Stored:
		c.log.Infof("Savepoint of checkpoint %d written to %s: %d partitions; there is no store, so positions are all it holds", s.ID, s.File, s.Positions)
	default:
		c.log.Infof("Savepoint of checkpoint %d written to %s: %d partitions, %d values of state", s.ID, s.File, s.Positions, s.Keys())
	}
	return s
}

func (c *Coordinator) savepoint(ctx context.Context) (s Savepoint, err error) {
	c.mu.Lock()
	s.Job = cmp.Or(c.mu.job, c.jobName(c.mu.conf))
	c.mu.Unlock()
	// One at a time: two would be of the same checkpoint, or slow each other down.
	select {
	case c.saving <- struct{}{}:
		defer func() { <-c.saving }()
	case <-ctx.Done():
		return s, ctx.Err()
	case <-c.done:
		return s, checkpoint.ErrDead
	}
	c.mu.Lock()
	folder := c.mu.conf.SavepointDirectory
	w, err := c.askSavepointLocked()
	c.mu.Unlock()
	if err != nil {
		return s, err
	}
	err = c.await(ctx, w)
	snap, refused := c.takeSnapshot(w)
	if snap == nil {
		// Without any reason the final checkpoint came in between.
		return s, cmp.Or(errors.Join(err, refused), checkpoint.ErrDead)
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	if err != nil {
		return s, err
	}
	// The build's end ends this too: its store is closed only after it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return s, fmt.Errorf("making checkpoint.savepoint_directory: %w", err)
	}
	m, origin := snap.Manifest(), snap.Origin()
	path, err := filepath.Abs(filepath.Join(folder, savepointName(m, origin)))
	if err != nil {
		return s, err
	}
	s.ID, s.Stored = m.ID, origin.Store != savepoint.FromNone
	if s.Summary, err = savepoint.Write(ctx, path, snap); err != nil {
		if c.ctx.Err() != nil {
			err = fmt.Errorf("the stream ended before it was written: %w", err)
		}
		return s, err
	}
	s.File = path
	return s, nil
}

// askSavepointLocked asks for a checkpoint of which a snapshot is kept.
func (c *Coordinator) askSavepointLocked() (*waiter, error) {
	switch {
	case c.mu.conf.SavepointDirectory == "":
		return nil, errors.New("checkpoint.savepoint_directory is not set: set it to the folder that takes savepoints")
	case c.mu.conf.Interval <= 0:
		return nil, errors.New("checkpoint.interval is 0s, so there are no checkpoints: set an interval")
	case c.mu.finished:
		return nil, checkpoint.ErrDead
	}
	w, err := c.askLocked(false)
	if err == nil {
		// The lock is held since it was asked for: its checkpoint is not persisted yet.
		w.keep = true
	}
	return w, err
}

// takeSnapshot returns what was kept for a waiter, which is the caller's to close, or
// why nothing was. Nothing is kept for it any more.
func (c *Coordinator) takeSnapshot(w *waiter) (savepoint.Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.keep = false
	return w.kept, w.refused
}

// keepSnapshot keeps the checkpoint that was just persisted for those who asked for
// it. It runs where Persist does, so no later one can have come in between; the
// goroutine is one of the build, so that the build's end waits for the snapshot.
func (c *Coordinator) keepSnapshot(m *checkpoint.Manifest, st checkpoint.Store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.mu.waiters {
		if w.id != m.ID || !w.keep {
			continue
		}
		snap, err := c.snapshotLocked(m, st)
		if err != nil {
			w.refused = err
			continue
		}
		c.work.Add(1)
		w.kept = &heldSnapshot{snap, c.work.Done}
	}
}

func (c *Coordinator) snapshotLocked(m *checkpoint.Manifest, st checkpoint.Store) (savepoint.Snapshot, error) {
	if st == nil {
		conf := c.mu.conf
		return &positionsOnly{m, savepoint.Origin{
			Store: savepoint.FromNone, Share: savepoint.ShareOf(conf.Shard, conf.Partitions), Group: !conf.Static,
		}}, nil
	}
	from, ok := st.(savepoint.Snapshotter)
	if !ok {
		return nil, errors.New("the store gives out no savepoints while a job works with it: stop the job and export one")
	}
	return from.Snapshot()
}

// heldSnapshot keeps the build from ending before it is closed.
type heldSnapshot struct {
	savepoint.Snapshot
	release func()
}

// Close implements savepoint.Snapshot.
func (h *heldSnapshot) Close() error {
	defer h.release()
	return h.Snapshot.Close()
}

// positionsOnly is a checkpoint that no store keeps.
type positionsOnly struct {
	manifest *checkpoint.Manifest
	origin   savepoint.Origin
}

// Origin implements savepoint.Snapshot.
func (p *positionsOnly) Origin() savepoint.Origin { return p.origin }

// Manifest implements savepoint.Snapshot.
func (p *positionsOnly) Manifest() *checkpoint.Manifest {
	m := *p.manifest
	m.Positions = m.Positions.Clone()
	return &m
}

// Each implements savepoint.Snapshot.
func (p *positionsOnly) Each(context.Context, func(savepoint.Entry) error) error { return nil }

// Close implements savepoint.Snapshot.
func (p *positionsOnly) Close() error { return nil }

// savepointName names a file so that no other savepoint of any job has the name: ids
// begin anew where a job starts afresh, hence the time.
func savepointName(m *checkpoint.Manifest, o savepoint.Origin) string {
	parts := []string{plain(m.Job)}
	if s := o.Share.Shard; s.Count > 1 {
		parts = append(parts, fmt.Sprintf("shard-%d-of-%d", s.Index, s.Count))
	}
	if o.Group {
		// Members of a group may have the same folder, and number alike; in containers all
		// of them may be process 1.
		host, _ := os.Hostname()
		parts = append(parts, "member", plain(host), fmt.Sprint(os.Getpid()))
	}
	parts = append(parts, fmt.Sprint(m.ID), m.Taken.UTC().Format("20060102T150405.000Z"))
	return strings.Join(parts, "-") + ".savepoint"
}

// plain is a name as it can be part of the name of a file.
func plain(name string) string {
	const longest = 100
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_", r) {
			return r
		}
		return '_'
	}, name)
	return safe[:min(len(safe), longest)]
}
