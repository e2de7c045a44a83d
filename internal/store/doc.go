// Package store keeps checkpoints. Directory, a checkpoint.Store, keeps them in
// a folder of one process, by means of the embedded key-value store Pebble.
//
//	dir, err := store.Open(ctx, store.Options{Directory: "/var/lib/orders", Job: "orders", Retain: 5})
//	last, err := dir.Load(ctx) // or checkpoint.ErrNoCheckpoint
//	n, err := dir.Persist(ctx, next, changes)
//
// # What Persist promises
//
// A checkpoint is one synced Pebble batch: its manifest, the positions that
// moved and the state that changed. When Persist returns nil all of it is true
// and durable; when it returns an error the previous checkpoint stands for
// everybody who reads through the same Directory. An error that does not wrap
// checkpoint.ErrFatal changed nothing and may be tried again with a later id.
//
// # What is in the folder
//
//	STORE              identity: job, shard, which live folder counts (replaced atomically)
//	ACKNOWLEDGED       the id of the last checkpoint that Persist acknowledged, in two slots
//	LOCK, HOLDER       who works with the folder
//	live-000001/       the Pebble store of the last checkpoint
//	retained/41/       an earlier checkpoint: state/ is a Pebble store of hard links,
//	                   CHECKPOINT repeats its manifest and positions
//
// # How damage is noticed
//
// Pebble checks what it reads, but by its nature takes the end of a log for a
// crash: cut or altered there, it would go on from an older state in silence.
// So every record and file of ours carries a version and a checksum that also
// covers its key, and Open compares three things.
//
//  1. STORE says that a store is there: if Pebble finds none, or no base record,
//     it was removed or cut.
//  2. ACKNOWLEDGED is written after each sync: a store that holds an older
//     checkpoint has lost its end.
//  3. Each batch writes a chain link and deletes the link before: a store with
//     more than one link, or a wrong one, has lost batches in the middle.
//
// Open first reads the store without writing to it, positions always and state
// for up to Options.Verify; state beyond that is checked when it is read. What
// fails is checkpoint.ErrCorrupt or checkpoint.ErrVersion, naming the place; a
// damaged store is left as it was found, and Options.RestoreFrom can go back to
// a retained checkpoint of it.
//
// # Going back
//
// Options.RestoreFrom starts from a retained checkpoint, in a live folder of its
// own. Until the first Persist after that the newer history stays as it was, and
// a start without RestoreFrom (or with another one) undoes the step; the first
// Persist drops the newer history. After it the same RestoreFrom has no effect,
// so that a process which is restarted with the same configuration goes on where
// it was instead of going back again; a start without RestoreFrom re-arms it.
// Ids are never reused: go on from LastID, not from the id that was restored.
package store
