// Package store keeps checkpoints. Directory, a checkpoint.Store, keeps them in
// a folder of one process, by means of the embedded key-value store Pebble. Topic
// keeps them in a compacted Kafka topic, for any number of processes of a job.
//
// # Directory
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
//
// # Topic
//
// A Topic turns checkpoints into records and reads them back. It begins and ends no
// transaction, fences nobody and decides nothing about ownership: whoever owns the
// transactional producer does.
//
//	n, err := store.EnsureTopic(ctx, client, "orders-state", store.TopicSpec{})
//	t, err := store.OpenTopic(client, store.TopicOptions{Topic: "orders-state", Partitions: n, Job: "orders"})
//	ids, err := t.Look(ctx, scopes)            // whom to fence if they are gone
//	… write t.Claim(id, positions) in a transaction …
//	claims, err := t.ReadClaims(ctx, scopes)   // whom else to fence, and who has won
//	last, err := t.Restore(ctx, scopes)        // state and positions; only after the fencing
//	w, err := t.Checkpoint(manifest, changes, id)
//	… write w.Records in the transaction of the checkpoint, and commit it …
//	err = t.Applied(w)
//
// A scope is a partition of a source, or the process (the zero Scope). All there is of
// it lies in one partition of the topic, see HomeOf, so that its checkpoint, its state
// and the claims to it are in one order. Everything is atomic for readers of committed
// records because it is written in one transaction.
//
// The topic must have a partition that holds every scope, so its number of partitions
// must not change. The first partition holds a record of each job which says what that
// number was, nothing else (if it is not the only one), so that whoever opens the store
// can check it without reading state.
//
// The local copy is Pebble in memory or in a folder that is emptied at open. It has the
// state of the scopes that were restored, as of the last Applied; what was committed
// without it (an end that was not known, another owner) comes with the next Restore.
// Tombstones may be gone from the topic after delete.retention.ms, so a copy that is
// not fresh is read anew.
//
// A value that does not go into a record is cut into chunks with keys of their own;
// chunks that a smaller value does not need are deleted along with it.
//
// # Moving
//
// What a store holds can leave it as a savepoint, and come from one. A Directory's
// Snapshot gives out the last checkpoint while a job goes on, Archive any checkpoint of a
// folder that no job works with, and Importer makes a store out of one. An import writes
// its state before STORE says that there is a store, so that there never is half of one.
//
// A Topic's Snapshot gives out what its process has, as of the checkpoint that was just
// applied. TopicArchive reads a whole job from outside, which may run: it reads on until
// the topic, asked for its end, has nothing that was not read, so that no checkpoint is
// there in part. TopicImporter and TopicArchive.DeleteAll write in one transaction that begins by
// claiming every scope concerned. Once those claims are in the log, and nobody else's, any
// process that takes one of the scopes over has to read past an open transaction: it waits
// for the end, or fences whoever began it, and so never meets a part of it.
package store
