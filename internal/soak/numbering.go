package soak

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// keysPerPartition is how many keys a partition has.
const keysPerPartition = 8

// minSize is what a value needs for its numbers.
const minSize = 40

// Numbering makes records that tell where they belong: number i of source
// partition p has a key that hashes to p, and a value that follows from p and i.
// A copy into a topic of as many partitions so keeps each partition to itself, and
// of every record it can be told whether it came through unharmed.
type Numbering struct {
	keys [][][]byte
	size int
}

// NewNumbering returns a numbering for topics of that many partitions, with values
// of size bytes, at least 40.
func NewNumbering(partitions, size int) *Numbering {
	n := &Numbering{keys: make([][][]byte, partitions), size: max(size, minSize)}
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for i, open := 0, partitions; open > 0; i++ {
		key := []byte("key-" + strconv.Itoa(i))
		p := hash.Partition(&kgo.Record{Key: key}, partitions)
		if len(n.keys[p]) == keysPerPartition {
			continue
		}
		if n.keys[p] = append(n.keys[p], key); len(n.keys[p]) == keysPerPartition {
			open--
		}
	}
	return n
}

// Partitions returns the number of partitions.
func (n *Numbering) Partitions() int { return len(n.keys) }

// Record makes number i of partition p.
func (n *Numbering) Record(topic string, p int32, i int64) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: p, Key: n.key(p, i), Value: n.appendValue(nil, p, i)}
}

func (n *Numbering) key(p int32, i int64) []byte { return n.keys[p][i%keysPerPartition] }

func (n *Numbering) appendValue(b []byte, p int32, i int64) []byte {
	start := len(b)
	b = strconv.AppendInt(b, int64(p), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, i, 10)
	b = append(b, '/')
	b = strconv.AppendUint(b, uint64(Amount(p, i)), 10)
	b = append(b, '/')
	for len(b)-start < n.size {
		b = append(b, 'a'+byte((i+int64(len(b)-start)/16)%26))
	}
	return b
}

// Amount is a number in each record's value that is unlike its neighbours', so
// that a sum over them tells a missing record from a doubled other one.
func Amount(p int32, i int64) uint32 {
	x := uint64(i)*0x9e3779b97f4a7c15 + uint64(p)*0xbf58476d1ce4e5b9 + 1
	x ^= x >> 29
	x *= 0x94d049bb133111eb
	return uint32(x >> 40)
}

// Number tells which record this is. It is an error if key or value are not what
// Record made.
func (n *Numbering) Number(r *kgo.Record) (p int32, i int64, err error) {
	if p, i, err = ParseValue(r.Value); err != nil {
		return 0, 0, err
	}
	if p < 0 || int(p) >= len(n.keys) || i < 0 {
		return 0, 0, fmt.Errorf("value %.60q names partition %d of %d", r.Value, p, len(n.keys))
	}
	if !bytes.Equal(r.Key, n.key(p, i)) {
		return p, i, fmt.Errorf("record %d/%d has the key %q, want %q", p, i, r.Key, n.key(p, i))
	}
	var scratch [256]byte
	if want := n.appendValue(scratch[:0], p, i); !bytes.Equal(r.Value, want) {
		return p, i, fmt.Errorf("record %d/%d has the value %.200q, want %.200q", p, i, r.Value, want)
	}
	return p, i, nil
}

var errNotNumbered = errors.New("it does not begin with partition/number/")

// ParseValue reads partition and number from the value of a record.
func ParseValue(value []byte) (p int32, i int64, err error) {
	first, rest, ok := bytes.Cut(value, []byte("/"))
	second, _, found := bytes.Cut(rest, []byte("/"))
	if !ok || !found {
		return 0, 0, fmt.Errorf("reading value %.60q: %w", value, errNotNumbered)
	}
	part, err := strconv.ParseInt(string(first), 10, 32)
	if err == nil {
		i, err = strconv.ParseInt(string(second), 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading value %.60q: %w", value, err)
	}
	return int32(part), i, nil
}
