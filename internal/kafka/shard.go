package kafka

import (
	"encoding/binary"
	"hash/fnv"
)

// ShardOf returns which of count shards, counted from 0, reads a partition. It
// depends on the topic's name and the partition's number alone, so that a topic
// or a partition that comes or goes moves no other. It must never change: a shard
// keeps the positions of its own partitions only.
func ShardOf(topic string, partition int32, count int) int {
	if count <= 1 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(topic)) // a hash never fails
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(partition)))
	return int(mix(h.Sum64()) % uint64(count))
}

// mix spreads every bit of x over all of the result (the finisher of MurmurHash3):
// FNV's low bits alone would put neighbouring partitions into few shards.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
