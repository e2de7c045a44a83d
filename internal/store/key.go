package store

import (
	"bytes"
	"encoding/binary"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Keys in Pebble. The first byte says what a record is.
//
//	b                                           base record, written once
//	c                                           the manifest of the checkpoint
//	h id                                        chain link of checkpoint id
//	p source topic partition                    a position
//	s operator source topic partition key       operator state
//
// Names are terminated: 0x00 0x01 ends one and a 0x00 in it is written 0x00 0xff,
// so that any bytes can be a name, no two lists of names share a key, and keys
// sort like the names. Numbers are big endian, a partition with its sign flipped.
// The operator's own key comes last and as it is, so a prefix of it is a prefix.
const (
	linkTag     = 'h'
	positionTag = 'p'
	stateTag    = 's'
)

var (
	baseKey     = []byte{'b'}
	manifestKey = []byte{'c'}
)

func linkKey(id checkpoint.ID) []byte {
	return binary.BigEndian.AppendUint64([]byte{linkTag}, uint64(id))
}

func positionKey(p checkpoint.Partition) []byte {
	key := make([]byte, 0, len(p.Source)+len(p.Topic)+9)
	return appendPartition(append(key, positionTag), p)
}

func stateKey(operator string, s checkpoint.Scope, key []byte) []byte {
	k := make([]byte, 0, len(operator)+len(s.Source)+len(s.Topic)+len(key)+11)
	k = appendName(append(k, stateTag), operator)
	return append(appendPartition(k, s), key...)
}

func appendPartition(dst []byte, p checkpoint.Partition) []byte {
	dst = appendName(appendName(dst, p.Source), p.Topic)
	return binary.BigEndian.AppendUint32(dst, uint32(p.ID)^1<<31)
}

func appendName(dst []byte, name string) []byte {
	for i := range len(name) {
		dst = append(dst, name[i])
		if name[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

func parsePositionKey(key []byte) (p checkpoint.Partition, ok bool) {
	if len(key) == 0 || key[0] != positionTag {
		return p, false
	}
	rest := key[1:]
	if p.Source, rest, ok = cutName(rest); !ok {
		return p, false
	}
	if p.Topic, rest, ok = cutName(rest); !ok || len(rest) != 4 {
		return p, false
	}
	p.ID = int32(binary.BigEndian.Uint32(rest) ^ 1<<31)
	return p, true
}

func cutName(b []byte) (name string, rest []byte, ok bool) {
	var raw []byte
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 || i+1 >= len(b) {
			return "", nil, false
		}
		raw = append(raw, b[:i]...)
		switch b[i+1] {
		case 1:
			return string(raw), b[i+2:], true
		case 0xff:
			raw = append(raw, 0)
			b = b[i+2:]
		default:
			return "", nil, false
		}
	}
}

// prefixEnd returns the first key after all keys with the prefix. Prefixes begin
// with a tag below 0xff, so there always is one.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
