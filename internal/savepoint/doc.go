// Package savepoint is the portable form of a checkpoint: a file that is written
// from any store and read into any other.
//
//	file, err := savepoint.Open("orders-41.savepoint")       // checked from its first byte to its last
//	merged, err := savepoint.Merge([]*savepoint.File{file}, savepoint.Target{ShardOf: kafka.ShardOf})
//	err = archive.Import(ctx, merged)                         // a store that is empty
//
// # What a store has to do
//
// Snapshot is one checkpoint to be read; a file is one too. A store that nobody
// works with is an Archive. A store that a job works with is a Snapshotter: the
// job goes on while its savepoint is written. Everything above (the command
// `checkpoint`, the savepoints of a running job) knows these interfaces only.
//
// # The file
//
//	preamble = "tidesave", version (4 bytes), CRC-32C of both (4 bytes)
//	block    = kind (1 byte), length (4 bytes), payload, checksum (4 bytes)
//
//	H  once: job, checkpoint, where it comes from
//	P  positions, in order of (source, topic, partition)
//	S  state, in order of (operator, scope, key)
//	T  once: how many blocks, positions and values came before, SHA-256 of every byte before
//
// Numbers of a fixed size are little endian, all others are varints; names and
// values are preceded by their length. A block's checksum (CRC-32C) covers its
// place among the blocks, so that one that is missing, doubled or moved shows. A
// file without its trailer was cut. Nothing of a file is used before all of it
// was checked, and it gets its name only when it is complete and synced.
//
// Memory is flat: a block of state holds some 256 KiB, or one value if that is
// larger. Positions are held as a whole.
//
// # Merging
//
// The shard of a partition is a hash of the partition modulo the number of shards,
// so a change of that number is a matter of sorting: Merge takes the files of all
// old shards and leaves what belongs to one new shard. It refuses what would lose
// or double something: files that overlap, shards that are missing, state of the
// process where the partitions are split.
package savepoint
