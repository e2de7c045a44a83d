package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Keys of the records in a store's topic: a version, the job, and the place, which is the
// same as in Pebble where there is one.
//
//	v job j                                              that there is the job
//	v job o source topic partition id                    claim or release of a transactional id
//	v job p source topic partition                       the last checkpoint of a scope
//	v job s operator source topic partition key chunk    operator state
//
// Version and job stay the same in all versions, so that every build can tell the records
// of other jobs without looking at the rest. The chunk is four bytes, from 0.
const (
	topicKeyVersion = 1
	jobTag          = 'j'
	ownerTag        = 'o'
	chunkSize       = 4
)

// jobPrefix is how the keys of a job begin, apart from the version.
func jobPrefix(job string) []byte { return appendName(nil, job) }

// scopeKey is the part of a key that names a scope.
func scopeKey(s checkpoint.Scope) []byte { return appendPartition(nil, s) }

// place is a key of a job taken apart. Its slices are parts of the key.
type place struct {
	tag byte
	// scope is the encoded scope; nil for the record of the job itself.
	scope []byte
	// space is operator and scope, encoded, of state.
	space []byte
	// id is the transactional id of a claim.
	id []byte
	// local is the key of state in Pebble.
	local []byte
	chunk uint32
}

// ours tells whether a key is one of a job, and of a version that this build knows. rest is
// what comes after the job.
func ours(key, prefix []byte) (rest []byte, known, mine bool) {
	if len(key) <= len(prefix) || !bytes.Equal(key[1:1+len(prefix)], prefix) {
		return nil, false, false
	}
	return key[1+len(prefix):], key[0] == topicKeyVersion, true
}

// parsePlace takes apart what comes after the job.
func parsePlace(rest []byte) (p place, ok bool) {
	if len(rest) == 0 {
		return p, false
	}
	p.tag = rest[0]
	body := rest[1:]
	switch p.tag {
	case jobTag:
		return p, len(body) == 0
	case positionTag:
		n := scopeLen(body)
		p.scope = body
		return p, n == len(body)
	case ownerTag:
		n := scopeLen(body)
		if n < 0 {
			return p, false
		}
		p.scope, p.id = body[:n], body[n:]
		return p, true
	case stateTag:
		operator := nameLen(body)
		if operator < 0 {
			return p, false
		}
		n := scopeLen(body[operator:])
		if n < 0 || len(body) < operator+n+chunkSize {
			return p, false
		}
		p.space, p.scope = body[:operator+n], body[operator:operator+n]
		p.local, p.chunk = rest[:len(rest)-chunkSize], binary.BigEndian.Uint32(rest[len(rest)-chunkSize:])
		return p, true
	}
	return p, false
}

// nameLen is the length of an encoded name at the start of b, its end included, or -1.
func nameLen(b []byte) int {
	for at := 0; ; at += 2 {
		i := bytes.IndexByte(b[at:], 0)
		if i < 0 || at+i+1 >= len(b) {
			return -1
		}
		at += i
		switch b[at+1] {
		case 1:
			return at + 2
		case 0xff:
		default:
			return -1
		}
	}
}

// scopeLen is the length of an encoded scope at the start of b, or -1.
func scopeLen(b []byte) int {
	source := nameLen(b)
	if source < 0 {
		return -1
	}
	topic := nameLen(b[source:])
	if topic < 0 || len(b) < source+topic+4 {
		return -1
	}
	return source + topic + 4
}

// parseScope reads an encoded scope.
func parseScope(b []byte) (checkpoint.Scope, bool) {
	return parsePositionKey(append([]byte{positionTag}, b...))
}

// HomeOf returns the partition of a store's topic, of count, that holds all there is of a
// scope of a job. With one partition it is 0. With more it is never 0, which holds the
// records of the jobs themselves:
//
//	1 + mix(FNV-1a(job, source, topic, id)) mod (count - 1)
//
// where each name goes into the 64-bit FNV-1a hash terminated, the id as four bytes (as in
// the keys of the records), and mix is the finisher of MurmurHash3. It depends on nothing
// else, and must never change.
func HomeOf(job string, s checkpoint.Scope, count int) int32 {
	if count <= 1 {
		return 0
	}
	h := fnv.New64a()
	h.Write(jobPrefix(job))
	h.Write(scopeKey(s))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return 1 + int32(x%uint64(count-1))
}

// describe names a place for people.
func (p place) describe() string {
	scope, _ := parseScope(p.scope)
	switch p.tag {
	case jobTag:
		return "the job's record"
	case ownerTag:
		return fmt.Sprintf("the claim of %q for %s", p.id, scope)
	case positionTag:
		return fmt.Sprintf("the checkpoint of %s", scope)
	}
	operator, rest, _ := cutName(p.local[1:])
	key := rest[len(p.scope):]
	return fmt.Sprintf("state of %q, %s, key %q, chunk %d", operator, scope, key, p.chunk)
}
