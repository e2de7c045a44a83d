package savepoint

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// File is a savepoint file, which is a Snapshot.
type File struct {
	name     string
	content  io.ReaderAt
	size     int64
	close    func() error
	manifest *checkpoint.Manifest
	origin   Origin
	summary  Summary
}

var _ Snapshot = (*File)(nil)

// Open opens a file and checks all of it. One that is cut or altered is
// checkpoint.ErrCorrupt, one of another version checkpoint.ErrVersion.
func Open(ctx context.Context, path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening savepoint: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("reading savepoint %s: it is no file", path)
	}
	var f *File
	if err == nil {
		f, err = Decode(ctx, path, file, info.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.close = file.Close
	return f, nil
}

// Decode is Open for bytes that are elsewhere; name is for errors.
func Decode(ctx context.Context, name string, content io.ReaderAt, size int64) (*File, error) {
	f := &File{name: name, content: content, size: size, close: func() error { return nil }}
	var t tally
	r, err := f.read(ctx, func(e Entry) error {
		t.add(e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.manifest, f.origin = r.manifest, r.origin
	f.summary = t.summary(len(r.manifest.Positions))
	return f, nil
}

// Name is what the file was opened as.
func (f *File) Name() string { return f.name }

// Summary is how much the file holds.
func (f *File) Summary() Summary { return f.summary }

// Origin implements Snapshot.
func (f *File) Origin() Origin { return f.origin }

// Manifest implements Snapshot.
func (f *File) Manifest() *checkpoint.Manifest { return clone(f.manifest) }

// Each implements Snapshot. The bytes are checked again: the file may have changed.
func (f *File) Each(ctx context.Context, fn func(Entry) error) error {
	_, err := f.read(ctx, fn)
	return err
}

// Close implements Snapshot.
func (f *File) Close() error { return f.close() }

func clone(m *checkpoint.Manifest) *checkpoint.Manifest {
	c := *m
	c.Positions = m.Positions.Clone()
	return &c
}

// read reads the file from end to end. An error of fn is returned as it is.
func (f *File) read(ctx context.Context, fn func(Entry) error) (*reader, error) {
	r := &reader{
		in:   bufio.NewReaderSize(io.NewSectionReader(f.content, 0, f.size), 64<<10),
		left: f.size, sum: sha256.New(),
	}
	var stopped error
	err := r.run(ctx, func(e Entry) error {
		stopped = fn(e)
		return stopped
	})
	switch {
	case stopped != nil:
		return nil, stopped
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("reading savepoint %s: %w", f.name, err)
	}
	return r, nil
}

// reader reads the blocks of one file.
type reader struct {
	in   io.Reader
	left int64
	sum  hash.Hash
	// n counts blocks, buf is the payload of the last one.
	n    uint64
	kind byte
	buf  []byte

	manifest *checkpoint.Manifest
	origin   Origin
	entries  uint64
	order    order
	last     checkpoint.Partition
}

func (r *reader) run(ctx context.Context, fn func(Entry) error) error {
	head := make([]byte, preambleSize)
	if err := r.take(head); err != nil {
		return err
	}
	if err := checkPreamble(head); err != nil {
		return err
	}
	for before := byte(0); before != trailerBlock; before = r.kind {
		if err := ctx.Err(); err != nil {
			return err
		}
		sum := r.sum.Sum(nil)
		if err := r.next(); err != nil {
			return err
		}
		if !follows(before, r.kind) {
			return fmt.Errorf("%w: block %d of kind %q cannot come after one of kind %q", checkpoint.ErrCorrupt, r.n, r.kind, before)
		}
		if err := r.block(sum, fn); err != nil {
			return err
		}
		r.n++
	}
	if r.left > 0 {
		return fmt.Errorf("%w: %d bytes come after its end", checkpoint.ErrCorrupt, r.left)
	}
	return nil
}

// follows tells whether a block of one kind may come after one of another.
func follows(before, kind byte) bool {
	switch kind {
	case headerBlock:
		return before == 0
	case positionBlock:
		return before == headerBlock || before == positionBlock
	case stateBlock, trailerBlock:
		return before != 0
	}
	return false
}

// take reads all of b.
func (r *reader) take(b []byte) error {
	if r.left < int64(len(b)) {
		return fmt.Errorf("%w: it is cut: it ends without a trailer", checkpoint.ErrCorrupt)
	}
	if _, err := io.ReadFull(r.in, b); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it became shorter while it was read", checkpoint.ErrCorrupt)
		}
		return err
	}
	r.left -= int64(len(b))
	_, _ = r.sum.Write(b) // a hash never fails
	return nil
}

// next reads a block and checks it.
func (r *reader) next() error {
	var head [blockHead]byte
	if err := r.take(head[:]); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(head[1:]))
	// Before memory is taken for it: an altered length may be anything.
	if length+checksumSize > r.left {
		return fmt.Errorf("%w: it is cut, or altered: block %d has %d bytes and %d are left", checkpoint.ErrCorrupt, r.n, length, r.left)
	}
	if int64(cap(r.buf)) < length {
		r.buf = make([]byte, length)
	}
	r.buf = r.buf[:length]
	var sum [checksumSize]byte
	if err := r.take(r.buf); err != nil {
		return err
	}
	if err := r.take(sum[:]); err != nil {
		return err
	}
	if blockSum(r.n, head[:], r.buf) != binary.LittleEndian.Uint32(sum[:]) {
		return fmt.Errorf("%w: the checksum of block %d does not match", checkpoint.ErrCorrupt, r.n)
	}
	r.kind = head[0]
	return nil
}

// block takes the last block apart; sum is that of everything before it.
func (r *reader) block(sum []byte, fn func(Entry) error) error {
	d := &decoder{payload.Decoder{B: r.buf}}
	var err error
	switch r.kind {
	case headerBlock:
		r.manifest, r.origin = d.header()
	case positionBlock:
		err = r.positions(d)
	case stateBlock:
		err = r.state(d, fn)
	case trailerBlock:
		err = r.trailer(d, sum)
	}
	if err != nil && d.Err == nil {
		return err
	}
	if err := d.End(); err != nil {
		return fmt.Errorf("%w: block %d: %w", checkpoint.ErrCorrupt, r.n, err)
	}
	return nil
}

func (r *reader) positions(d *decoder) error {
	for len(d.B) > 0 && d.Err == nil {
		p, pos := d.position()
		if d.Err != nil {
			return d.Err // The caller says where.
		}
		if len(r.manifest.Positions) > 0 && r.last.Compare(p) >= 0 {
			return fmt.Errorf("%w: the position of %s comes after that of %s", checkpoint.ErrCorrupt, p, r.last)
		}
		r.manifest.Positions[p], r.last = pos, p
	}
	return nil
}

func (r *reader) state(d *decoder, fn func(Entry) error) error {
	var e Entry
	for first := true; len(d.B) > 0 && d.Err == nil; first = false {
		fresh := d.Bool()
		if first && !fresh {
			d.Err = payload.ErrMalformed
		}
		if fresh {
			e.Operator, e.Scope = d.String(), d.partition()
		}
		e.Key, e.Value = d.Bytes(), d.Bytes()
		if d.Err != nil {
			return d.Err // The caller says where.
		}
		if _, err := r.order.next(e); err != nil {
			return err
		}
		r.entries++
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) trailer(d *decoder, sum []byte) error {
	blocks, positions, entries := d.Uint(), d.Uint(), d.Uint()
	total := d.B
	d.B = nil
	switch {
	case d.Err != nil:
		return d.Err
	case blocks != r.n || positions != uint64(len(r.manifest.Positions)) || entries != r.entries:
		return fmt.Errorf("%w: it was written with %d blocks, %d positions and %d values, and has %d, %d and %d",
			checkpoint.ErrCorrupt, blocks, positions, entries, r.n, len(r.manifest.Positions), r.entries)
	case !bytes.Equal(total, sum):
		return fmt.Errorf("%w: its total checksum does not match", checkpoint.ErrCorrupt)
	}
	return nil
}
