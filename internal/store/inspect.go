package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// inspectLive checks the live folder against what was acknowledged, without
// writing to it, and returns its checkpoint, nil if it has none yet.
func (d *Directory) inspectLive(ctx context.Context) (*checkpoint.Manifest, error) {
	promised, err := d.root.readAcknowledgement()
	if err != nil {
		return nil, err
	}
	least := d.identity.first
	switch {
	case promised.generation > d.identity.generation:
		return nil, fmt.Errorf("%w: %s names live folder %d, but checkpoint %d was written to %d", checkpoint.ErrCorrupt,
			d.root.join(identityFile), d.identity.generation, promised.id, promised.generation)
	case promised.generation == d.identity.generation:
		least = promised.id
	}
	m, err := d.inspect(ctx, d.live())
	if err != nil {
		return nil, err
	}
	if idOf(m) < least {
		return nil, fmt.Errorf("%w: %s holds checkpoint %d, but %d was acknowledged: its end is lost",
			checkpoint.ErrCorrupt, d.live().path, idOf(m), least)
	}
	if m != nil && m.Job != d.identity.job {
		return nil, fmt.Errorf("%w: %s holds a checkpoint of job %q, %s says %q",
			checkpoint.ErrCorrupt, d.live().path, m.Job, identityFile, d.identity.job)
	}
	return m, nil
}

// inspect opens a live folder for reading, checks it and returns its checkpoint,
// nil if it has none yet.
func (d *Directory) inspect(ctx context.Context, live folder) (*checkpoint.Manifest, error) {
	e, err := openEngine(live, false, true, d.conf.Logf)
	if err != nil {
		return nil, damage("opening "+live.path, err)
	}
	var m *checkpoint.Manifest
	err = e.guard(func() (err error) {
		if m, err = readManifest(e.db); err != nil {
			return err
		}
		return d.verifyState(ctx, e.db)
	})
	if err = errors.Join(err, e.close()); err != nil {
		return nil, damage("reading "+live.path, err)
	}
	return m, nil
}

// readSummary returns the zero summary if there is no checkpoint yet.
func readSummary(db *pebble.DB) (s summary, err error) {
	payload, err := readRecord(db, manifestKey)
	if err != nil || payload == nil {
		return s, err
	}
	d := decoderOf(payload)
	s = d.summary()
	return s, d.end(string(manifestKey))
}

// readRecord returns nil if there is no record at key.
func readRecord(r pebble.Reader, key []byte) ([]byte, error) {
	record, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	payload, err := unseal(key, bytes.Clone(record))
	return payload, errors.Join(err, closer.Close())
}

// readManifest reads and checks everything but the state.
func readManifest(db *pebble.DB) (*checkpoint.Manifest, error) {
	base, err := readRecord(db, baseKey)
	if err == nil && base == nil {
		err = fmt.Errorf("%w: the base record is gone", checkpoint.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	s, err := readSummary(db)
	if err != nil {
		return nil, err
	}
	if err := checkChain(db, s.manifest.ID); err != nil {
		return nil, err
	}
	positions, err := readPositions(db)
	if err != nil {
		return nil, err
	}
	if err := s.verify(positions); err != nil {
		return nil, err
	}
	if s.manifest.ID == 0 {
		return nil, nil
	}
	s.manifest.Positions = positions
	return &s.manifest, nil
}

// checkChain finds out whether batches are missing in the middle. Each one writes
// the link of its checkpoint and deletes the one before. Without some of them in
// a row, the deletion of an earlier link is missing.
func checkChain(db *pebble.DB, id checkpoint.ID) error {
	found := 0
	return scanRecords(db, []byte{linkTag}, func(key, _ []byte) error {
		found++
		if !bytes.Equal(key, linkKey(id)) {
			return fmt.Errorf("%w: checkpoint %d is there, but not all that came before it (link %x)", checkpoint.ErrCorrupt, id, key)
		}
		return nil
	}, func() error {
		if found == 0 {
			return fmt.Errorf("%w: the link of checkpoint %d is gone", checkpoint.ErrCorrupt, id)
		}
		return nil
	})
}

func readPositions(db *pebble.DB) (checkpoint.Positions, error) {
	positions := make(checkpoint.Positions)
	err := scanRecords(db, []byte{positionTag}, func(key, payload []byte) error {
		p, ok := parsePositionKey(key)
		if !ok {
			return fmt.Errorf("%w: position key %x", checkpoint.ErrCorrupt, key)
		}
		d := decoderOf(payload)
		positions[p] = d.position()
		return d.end(string(key))
	})
	return positions, err
}

// verifyState reads all state and checks it, until its time is used up.
func (d *Directory) verifyState(ctx context.Context, db *pebble.DB) error {
	if d.conf.Verify < 0 {
		return nil
	}
	const stride = 1024
	var checked int
	errEnough := errors.New("enough")
	start := d.conf.Now()
	err := scanRecords(db, []byte{stateTag}, func([]byte, []byte) error {
		checked++
		if checked%stride != 0 {
			return nil
		}
		if d.conf.Now().Sub(start) > d.conf.Verify {
			return errEnough
		}
		return ctx.Err()
	})
	if errors.Is(err, errEnough) {
		d.conf.Logf("%s: checked %d values of state in %s; the others are checked when they are read",
			d.root.path, checked, d.conf.Now().Sub(start).Round(time.Millisecond))
		return nil
	}
	return err
}

// scanRecords calls fn for every record with the prefix, in order, and the
// functions in end after the last one. key and payload are valid during the call.
func scanRecords(r pebble.Reader, prefix []byte, fn func(key, payload []byte) error, end ...func() error) error {
	return scanRecordsFrom(r, prefix, nil, fn, end...)
}

// scanRecordsFrom is scanRecords from a key on.
func scanRecordsFrom(r pebble.Reader, prefix, from []byte, fn func(key, payload []byte) error, end ...func() error) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return err
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		var record, payload []byte
		if record, err = it.ValueAndErr(); err != nil {
			break
		}
		if payload, err = unseal(it.Key(), record); err == nil {
			err = fn(it.Key(), payload)
		}
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return err
	}
	for _, e := range end {
		if err := e(); err != nil {
			return err
		}
	}
	return nil
}
