package savepoint

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// blockSize is how large a block of positions or state grows, in bytes.
const blockSize = 256 << 10

// temporarySuffix marks a file that is not complete.
const temporarySuffix = ".tmp"

// Write writes a checkpoint to a file that is not there yet. The file gets its name
// when it is complete and on disk; after an error there is nothing of it.
func Write(ctx context.Context, path string, s Snapshot) (Summary, error) {
	sum, err := write(ctx, path, s)
	if err != nil {
		return Summary{}, fmt.Errorf("writing savepoint %s: %w", path, err)
	}
	return sum, nil
}

func write(ctx context.Context, path string, s Snapshot) (sum Summary, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%w: give the savepoint another name, or remove that file", fs.ErrExist)
		}
		return sum, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+temporarySuffix)
	if err != nil {
		return sum, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	if sum, err = Encode(ctx, file, s); err != nil {
		return sum, err
	}
	// Who gave up in the meantime wants no file any more.
	if err = errors.Join(ctx.Err(), file.Sync()); err != nil {
		return sum, err
	}
	// State is nobody's business but the operator's, as CreateTemp has it: 0600.
	if err = os.Rename(file.Name(), path); err != nil {
		return sum, err
	}
	// It is there, whatever closing and the folder have to say.
	if err := errors.Join(file.Close(), syncFolder(filepath.Dir(path))); err != nil {
		return Summary{}, errors.Join(err, os.Remove(path))
	}
	return sum, nil
}

// syncFolder makes a new name in a folder durable. Not every system can sync one.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// Encode writes the bytes of a savepoint file to w.
func Encode(ctx context.Context, w io.Writer, s Snapshot) (Summary, error) {
	buffered := bufio.NewWriterSize(w, 64<<10)
	b := &blocks{w: buffered, sum: sha256.New()}
	if err := b.raw(preamble()); err != nil {
		return Summary{}, err
	}
	m := s.Manifest()
	var e encoder
	e.header(m, s.Origin())
	if err := b.write(headerBlock, e.B); err != nil {
		return Summary{}, err
	}
	e.B = e.B[:0]
	for _, p := range m.Positions.Sorted() {
		e.position(p, m.Positions[p])
		if len(e.B) >= blockSize {
			if err := b.flush(positionBlock, &e); err != nil {
				return Summary{}, err
			}
		}
	}
	if err := b.flush(positionBlock, &e); err != nil {
		return Summary{}, err
	}
	t, err := b.state(ctx, s, &e)
	if err != nil {
		return Summary{}, err
	}
	sum := t.summary(len(m.Positions))
	e.Uint(b.n)
	e.Uint(uint64(sum.Positions))
	e.Uint(uint64(sum.Keys()))
	e.B = b.sum.Sum(e.B)
	if err := b.write(trailerBlock, e.B); err != nil {
		return Summary{}, err
	}
	return sum, buffered.Flush()
}

// state writes the blocks of state. Each begins with an operator and scope, so that
// it can be read by itself.
func (b *blocks) state(ctx context.Context, s Snapshot, e *encoder) (*tally, error) {
	var seen order
	var t tally
	err := s.Each(ctx, func(entry Entry) error {
		fresh, err := seen.next(entry)
		if err != nil {
			return err
		}
		fresh = fresh || len(e.B) == 0
		e.Bool(fresh)
		if fresh {
			e.String(entry.Operator)
			e.partition(entry.Scope)
		}
		e.Bytes(entry.Key)
		e.Bytes(entry.Value)
		t.add(entry)
		if len(e.B) < blockSize {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.flush(stateBlock, e)
	})
	if err != nil {
		return nil, err
	}
	return &t, b.flush(stateBlock, e)
}

// blocks writes blocks and sums up what was written.
type blocks struct {
	w   io.Writer
	sum hash.Hash
	n   uint64
}

func (b *blocks) raw(p []byte) error {
	_, _ = b.sum.Write(p) // a hash never fails
	_, err := b.w.Write(p)
	return err
}

// longest is how long a payload may be: its length has four bytes, and who reads it
// needs it in memory.
const longest = 1<<31 - 1

func (b *blocks) write(kind byte, payload []byte) error {
	if len(payload) > longest {
		return fmt.Errorf("a value takes %d bytes: no more than %d fit into a savepoint", len(payload), longest)
	}
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	sum := binary.LittleEndian.AppendUint32(nil, blockSum(b.n, head, payload))
	b.n++
	return errors.Join(b.raw(head), b.raw(payload), b.raw(sum))
}

// flush writes what an encoder has, if it has anything, and empties it.
func (b *blocks) flush(kind byte, e *encoder) error {
	if len(e.B) == 0 {
		return nil
	}
	err := b.write(kind, e.B)
	e.B = e.B[:0]
	return err
}
