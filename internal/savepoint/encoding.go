package savepoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// version is that of every file that this package writes; the package comment
// describes it, and testdata/v1.txt holds a file of it. The preamble stays the same
// in all versions, so that a newer one can be told from an altered one.
const version = 1

const (
	magic        = "tidesave"
	preambleSize = len(magic) + 8
	blockHead    = 5
	checksumSize = 4
)

// Kinds of blocks, in the order in which they come.
const (
	headerBlock   = 'H'
	positionBlock = 'P'
	stateBlock    = 'S'
	trailerBlock  = 'T'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func preamble() []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func checkPreamble(b []byte) error {
	switch {
	case string(b[:len(magic)]) != magic:
		return fmt.Errorf("%w: it does not begin as a savepoint does", checkpoint.ErrCorrupt)
	case crc32.Checksum(b[:preambleSize-checksumSize], castagnoli) != binary.LittleEndian.Uint32(b[preambleSize-checksumSize:]):
		return fmt.Errorf("%w: the checksum of its first bytes does not match", checkpoint.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != version {
		return fmt.Errorf("%w: it has version %d, this build knows version %d; use the build that wrote it", checkpoint.ErrVersion, v, version)
	}
	return nil
}

// blockSum is the checksum of the n-th block.
func blockSum(n uint64, head, payload []byte) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], n)
	sum := crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, head)
	return crc32.Update(sum, castagnoli, payload)
}

// encoder and decoder add what a savepoint is made of.
type (
	encoder struct{ payload.Encoder }
	decoder struct{ payload.Decoder }
)

func (e *encoder) partition(p checkpoint.Partition) {
	e.String(p.Source)
	e.String(p.Topic)
	e.Int(int64(p.ID))
}

func (e *encoder) header(m *checkpoint.Manifest, o Origin) {
	e.String(m.Job)
	e.Int(int64(m.ID))
	e.Uint(uint64(m.Kind))
	e.Int(m.Taken.Unix())
	e.Uint(uint64(m.Taken.Nanosecond()))
	e.Bool(m.Final)
	e.String(o.Store)
	e.String(o.Place)
	e.Int(int64(o.Share.Shard.Index))
	e.Int(int64(o.Share.Shard.Count))
	e.String(o.Share.Fingerprint)
	e.String(o.Share.Listing)
	e.Bool(o.Group)
}

func (e *encoder) position(p checkpoint.Partition, pos checkpoint.Position) {
	e.partition(p)
	e.Int(int64(pos.Next))
	e.Int(int64(pos.LeaderEpoch))
	e.Int(int64(pos.Stop))
	e.Bool(pos.Watermark.Known)
	e.Int(pos.Watermark.At)
}

func (d *decoder) partition() checkpoint.Partition {
	return checkpoint.Partition{Source: d.String(), Topic: d.String(), ID: int32(d.Int())}
}

func (d *decoder) header() (*checkpoint.Manifest, Origin) {
	m := &checkpoint.Manifest{Job: d.String(), ID: checkpoint.ID(d.Int()), Kind: checkpoint.Kind(d.Uint()), Positions: checkpoint.Positions{}}
	sec, nsec := d.Int(), d.Uint()
	m.Taken = time.Unix(sec, int64(nsec)).UTC()
	m.Final = d.Bool()
	o := Origin{Store: d.String(), Place: d.String()}
	o.Share.Shard.Index = int(d.Int())
	o.Share.Shard.Count = int(d.Int())
	o.Share.Fingerprint = d.String()
	o.Share.Listing = d.String()
	o.Group = d.Bool()
	return m, o
}

func (d *decoder) position() (checkpoint.Partition, checkpoint.Position) {
	p := d.partition()
	pos := checkpoint.Position{Next: checkpoint.Offset(d.Int()), LeaderEpoch: int32(d.Int()), Stop: checkpoint.Offset(d.Int())}
	pos.Watermark = checkpoint.Watermark{Known: d.Bool(), At: d.Int()}
	return p, pos
}
