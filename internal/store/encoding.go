package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// encodingVersion is the version of every record and file that this package
// writes; it reads those before it as well. testdata/encoding-v*.txt hold one of each,
// testdata/topic-encoding-v2.txt those of a topic.
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

// encoder and decoder add what stores are made of.
type (
	encoder struct{ payload.Encoder }
	decoder struct{ payload.Decoder }
)

func decoderOf(b []byte) decoder { return decoder{payload.Decoder{B: b}} }

func (d *decoder) end(place string) error {
	if err := d.End(); err != nil {
		return fmt.Errorf("%w: %q: %w", checkpoint.ErrCorrupt, place, err)
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
	e.String(m.Job)
	e.Int(int64(m.ID))
	e.Uint(uint64(m.Kind))
	e.Int(m.Taken.Unix())
	e.Uint(uint64(m.Taken.Nanosecond()))
	e.Bool(m.Final)
	e.Uint(uint64(s.count))
	e.Uint(s.digest)
	return e.B
}

func (d *decoder) summary() summary {
	var s summary
	s.manifest.Job = d.String()
	s.manifest.ID = checkpoint.ID(d.Int())
	s.manifest.Kind = checkpoint.Kind(d.Uint())
	sec, nsec := d.Int(), d.Uint()
	s.manifest.Taken = time.Unix(sec, int64(nsec)).UTC()
	s.manifest.Final = d.Bool()
	s.count = int(d.Uint())
	s.digest = d.Uint()
	return s
}

func encodePosition(p checkpoint.Position) []byte {
	var e encoder
	e.Int(int64(p.Next))
	e.Int(int64(p.LeaderEpoch))
	e.Int(int64(p.Stop))
	if p.Watermark.Known {
		e.Int(p.Watermark.At)
	}
	return e.B
}

func (d *decoder) position() checkpoint.Position {
	p := checkpoint.Position{
		Next: checkpoint.Offset(d.Int()), LeaderEpoch: int32(d.Int()), Stop: checkpoint.Offset(d.Int()),
	}
	if len(d.B) > 0 {
		p.Watermark = checkpoint.Watermark{Known: true, At: d.Int()}
	}
	return p
}

// encodeCheckpoint makes the CHECKPOINT file of a retained checkpoint.
func encodeCheckpoint(m checkpoint.Manifest) []byte {
	var e encoder
	e.B = summarize(m).encode()
	for _, p := range m.Positions.Sorted() {
		e.Bytes(positionKey(p))
		e.Bytes(encodePosition(m.Positions[p]))
	}
	return seal(nil, []byte(checkpointFile), e.B)
}

func decodeCheckpoint(record []byte) (checkpoint.Manifest, error) {
	b, err := unseal([]byte(checkpointFile), record)
	if err != nil {
		return checkpoint.Manifest{}, err
	}
	d := decoderOf(b)
	s := d.summary()
	m := s.manifest
	m.Positions = make(checkpoint.Positions)
	for i := 0; i < s.count && d.Err == nil; i++ {
		p, ok := parsePositionKey(d.Bytes())
		pos := decoderOf(d.Bytes())
		m.Positions[p] = pos.position()
		if !ok || pos.Err != nil {
			d.Err = payload.ErrMalformed
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
