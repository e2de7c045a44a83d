package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkhq/tidemark/watermark"
)

// The first byte of a key in the state says what is behind it:
//
//	k key            an entry
//	t time key       the entry of that key may be due then
//
// Times are 8 bytes that sort as the times do.
const (
	spaceEntry = 'k'
	spaceTimer = 't'
)

// entryVersion is the version that entries are written with. The store adds a checksum.
//
//	1  version (1 byte), when it expires (8 bytes), time to live in milliseconds
//	   (varint), value
const entryVersion = 1

// entry is what is kept under a key.
type entry struct {
	// expires is when it is gone: watermark.End if never; watermark.None if its time to
	// live begins when the watermark is first known.
	expires watermark.Time
	ttl     time.Duration
	value   []byte
}

func (e entry) encode() []byte {
	b := make([]byte, 0, 1+8+binary.MaxVarintLen64+len(e.value))
	b = binary.BigEndian.AppendUint64(append(b, entryVersion), sortable(e.expires))
	b = binary.AppendUvarint(b, uint64(e.ttl/time.Millisecond))
	return append(b, e.value...)
}

func decode(b []byte) (e entry, err error) {
	if len(b) > 0 && b[0] != entryVersion {
		return e, fmt.Errorf("an entry has version %d, and this build reads version %d: use the build that wrote it, or a newer one", b[0], entryVersion)
	}
	if len(b) < 9 {
		return e, errCutOff
	}
	e.expires = unsortable(binary.BigEndian.Uint64(b[1:]))
	ms, n := binary.Uvarint(b[9:])
	if n <= 0 {
		return e, errCutOff
	}
	e.ttl, e.value = time.Duration(ms)*time.Millisecond, b[9+n:]
	return e, nil
}

var errCutOff = errors.New("an entry was cut off")

func sortable(t watermark.Time) uint64   { return uint64(t) ^ 1<<63 }
func unsortable(u uint64) watermark.Time { return watermark.Time(u ^ 1<<63) }

func entryName(key string) []byte { return append([]byte{spaceEntry}, key...) }

func timerName(at watermark.Time, key string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{spaceTimer}, sortable(at)), key...)
}

func timerOf(name []byte) (at watermark.Time, key string, err error) {
	if len(name) < 9 {
		return 0, "", fmt.Errorf("a timer: %w", errCutOff)
	}
	return unsortable(binary.BigEndian.Uint64(name[1:])), string(name[9:]), nil
}
