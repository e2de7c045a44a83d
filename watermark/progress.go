package watermark

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Progress is what has to survive of a partition: as of a checkpoint it says where to
// go on, so that what was late stays late and what was on time stays on time.
type Progress struct {
	// Own is the watermark that the partition's records have led to.
	Own Time
	// Seen is the highest combined watermark while the partition was among those that
	// are read. Windows of the partition have fired up to it: it never falls, also
	// where partitions come that are further back.
	Seen Time
}

// Start is the progress of a partition of which nothing was read.
var Start = Progress{None, None}

// The version that Progress is written with, and how long that is: the version, the two
// times, and the CRC-32C of what is before it.
const (
	progressVersion = 1
	progressSize    = 1 + 8 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MarshalBinary implements encoding.BinaryMarshaler.
func (p Progress) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, progressSize)
	b = append(b, progressVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Own))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Seen))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. An unknown version and bytes
// that were altered are errors.
func (p *Progress) UnmarshalBinary(b []byte) error {
	switch {
	case len(b) == 0:
		return errors.New("the progress of a partition is empty")
	case b[0] != progressVersion:
		return fmt.Errorf("the progress of a partition has version %d, and this build reads version %d: use the build that wrote it, or a newer one", b[0], progressVersion)
	case len(b) != progressSize:
		return fmt.Errorf("the progress of a partition has %d bytes instead of %d: it was cut off", len(b), progressSize)
	}
	body, sum := b[:progressSize-4], binary.BigEndian.Uint32(b[progressSize-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return errors.New("the progress of a partition does not match its checksum: it was altered")
	}
	p.Own = Time(binary.BigEndian.Uint64(body[1:]))
	p.Seen = Time(binary.BigEndian.Uint64(body[9:]))
	return nil
}
