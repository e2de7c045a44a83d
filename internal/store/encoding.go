package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// encodingVersion is the version of every record and file that this package
// writes; it reads those before it as well. testdata/encoding-v1.txt holds one of each.
//
//	1  record = version (1 byte), payload, CRC-32C of place, version and payload
//	   (4 bytes, little endian). The place is the key of a record and the name of
//	   a file, so a record that turns up elsewhere does not check.
//	2  a position may end with a watermark
//
// The frame stays the same in all versions, so that a record of a newer version
// can be told from an altered one. A newer Pebble format needs a new version too:
// older builds then refuse the store by name before they open it.
const encodingVersion = 2

const (
	versionSize  = 1
	checksumSize = 4
	frameSize    = versionSize + checksumSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends the record of payload at place to dst.
func seal(dst, place, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, encodingVersion)
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, checksum(place, dst[start:]))
}

// unseal checks a record and returns its payload, which shares its bytes.
func unseal(place, record []byte) ([]byte, error) {
	if len(record) < frameSize {
		return nil, fmt.Errorf("%w: %q is cut to %d bytes", checkpoint.ErrCorrupt, place, len(record))
	}
	framed, sum := record[:len(record)-checksumSize], record[len(record)-checksumSize:]
	if checksum(place, framed) != binary.LittleEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: checksum of %q does not match", checkpoint.ErrCorrupt, place)
	}
	if v := framed[0]; v == 0 || v > encodingVersion {
		return nil, fmt.Errorf("%w: %q has version %d, this build knows versions up to %d; use the build that wrote it",
			checkpoint.ErrVersion, place, v, encodingVersion)
	}
	return framed[versionSize:], nil
}

func checksum(place, framed []byte) uint32 {
	return crc32.Update(crc32.Checksum(place, castagnoli), castagnoli, framed)
}

// errMalformed says that a payload whose checksum matches does not parse.
var errMalformed = errors.New("malformed payload")

// encoder builds a payload.
type encoder struct{ b []byte }

func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) string(v string) { e.bytes([]byte(v)) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
		return
	}
	e.uint(0)
}

// decoder takes a payload apart. It is used to the end and then asked for its
// error; after the first error everything it returns is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	return advance(d, v, n)
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	return advance(d, v, n)
}

func advance[T any](d *decoder, v T, n int) T {
	if n <= 0 || d.err != nil {
		d.err = errMalformed
		var zero T
		return zero
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.err = errMalformed
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }
func (d *decoder) bool() bool     { return d.uint() == 1 }

func (d *decoder) end(place string) error {
	if d.err == nil && len(d.b) > 0 {
		d.err = errMalformed
	}
	if d.err != nil {
		return fmt.Errorf("%w: %q: %w", checkpoint.ErrCorrupt, place, d.err)
	}
	return nil
}

// summary is a manifest as stored: positions have records of their own, it says
// how many there are and their digest.
type summary struct {
	manifest checkpoint.Manifest
	count    int
	digest   uint64
}

func (s summary) encode() []byte {
	var e encoder
	m := s.manifest
	e.string(m.Job)
	e.int(int64(m.ID))
	e.uint(uint64(m.Kind))
	e.int(m.Taken.Unix())
	e.uint(uint64(m.Taken.Nanosecond()))
	e.bool(m.Final)
	e.uint(uint64(s.count))
	e.uint(s.digest)
	return e.b
}

func (d *decoder) summary() summary {
	var s summary
	s.manifest.Job = d.string()
	s.manifest.ID = checkpoint.ID(d.int())
	s.manifest.Kind = checkpoint.Kind(d.uint())
	sec, nsec := d.int(), d.uint()
	s.manifest.Taken = time.Unix(sec, int64(nsec)).UTC()
	s.manifest.Final = d.bool()
	s.count = int(d.uint())
	s.digest = d.uint()
	return s
}

func encodePosition(p checkpoint.Position) []byte {
	var e encoder
	e.int(int64(p.Next))
	e.int(int64(p.LeaderEpoch))
	e.int(int64(p.Stop))
	if p.Watermark.Known {
		e.int(p.Watermark.At)
	}
	return e.b
}

func (d *decoder) position() checkpoint.Position {
	p := checkpoint.Position{
		Next: checkpoint.Offset(d.int()), LeaderEpoch: int32(d.int()), Stop: checkpoint.Offset(d.int()),
	}
	if len(d.b) > 0 {
		p.Watermark = checkpoint.Watermark{Known: true, At: d.int()}
	}
	return p
}

// encodeCheckpoint makes the CHECKPOINT file of a retained checkpoint.
func encodeCheckpoint(m checkpoint.Manifest) []byte {
	var e encoder
	e.b = summarize(m).encode()
	for _, p := range m.Positions.Sorted() {
		e.bytes(positionKey(p))
		e.bytes(encodePosition(m.Positions[p]))
	}
	return seal(nil, []byte(checkpointFile), e.b)
}

func decodeCheckpoint(record []byte) (checkpoint.Manifest, error) {
	payload, err := unseal([]byte(checkpointFile), record)
	if err != nil {
		return checkpoint.Manifest{}, err
	}
	d := decoder{b: payload}
	s := d.summary()
	m := s.manifest
	m.Positions = make(checkpoint.Positions)
	for i := 0; i < s.count && d.err == nil; i++ {
		p, ok := parsePositionKey(d.bytes())
		pos := decoder{b: d.bytes()}
		m.Positions[p] = pos.position()
		if !ok || pos.err != nil {
			d.err = errMalformed
		}
	}
	if err := d.end(checkpointFile); err != nil {
		return checkpoint.Manifest{}, err
	}
	return m, s.verify(m.Positions)
}

// summarize counts and digests the positions of m. The digest is a sum over the
// positions, so it does not depend on their order.
func summarize(m checkpoint.Manifest) summary {
	s := summary{manifest: m, count: len(m.Positions)}
	s.manifest.Positions = nil
	for p, pos := range m.Positions {
		s.digest += digest(positionKey(p), encodePosition(pos))
	}
	return s
}

func (s summary) verify(positions checkpoint.Positions) error {
	found := summarize(checkpoint.Manifest{Positions: positions})
	if found.count != s.count || found.digest != s.digest {
		return fmt.Errorf("%w: checkpoint %d was written with %d positions; the %d that are stored are others",
			checkpoint.ErrCorrupt, s.manifest.ID, s.count, found.count)
	}
	return nil
}

// digest is FNV-1a over both parts, the first preceded by its length.
func digest(key, value []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset) ^ uint64(len(key))
	for _, part := range [][]byte{key, value} {
		for _, b := range part {
			h = (h ^ uint64(b)) * prime
		}
	}
	return h
}
