// Package checkpoint is the pure core of Tidemark: what a checkpoint is, how one
// is taken, and who takes part in it.
//
// It imports nothing but the standard library, starts no goroutine and reads no
// clock: events and the time go in as arguments, decisions come out as values.
// The goroutines, timers and Benthos glue that drive it live in internal/engine;
// stores that keep checkpoints implement Store elsewhere.
//
// # Taking part
//
// A Benthos plugin takes part in the checkpoints of its stream through a
// Coordinator, which the root package hands out:
//
//	c := tidemark.Coordinator(res)
//	state, err := c.JoinOperator("totals", op)
//
// There are three roles.
//
//   - A Source emits batches. Its duties: (1) call SourceHandle.Restore before
//     the first read and start where it says; (2) call SourceHandle.Enter before
//     a batch leaves it and SourceHandle.Leave when the batch was acknowledged,
//     after it has advanced its own position; (3) report, in Positions, nothing
//     but what was acknowledged; (4) drop everything it holds in Rewind.
//   - An Operator keeps state. Its duties: (1) keep everything that must survive
//     in its State; (2) write back what it holds in memory in Freeze; (3) forget
//     it in Restore; (4) enter a batch that it emits by itself into the ledger
//     before it lets go of what caused it.
//   - A Sink delivers. Its duties: (1) start a new epoch in Rotate; (2) in Flush
//     return only when everything of that epoch and all earlier ones is durable;
//     (3) after Discard drop what arrives and answer with success; (4) return
//     from Abort only when nothing of the abandoned attempt can reach its target.
//
// # Who owns a partition
//
// Under exactly-once a checkpoint is a transaction, and no two processes may commit
// for one partition. Owner decides, for one partition in one process, how it is taken
// over, whether it is still owned after trouble with the producer or the group, and
// how it is given up; ClaimLog is what the store says about that. The duties of who
// drives an Owner: (1) perform its actions in order, one that waits for an answer at a
// time; (2) tell every Owner of the process of each InitProducerID on the process's
// id, Initialised or Refused, before anything else is written; (3) let nothing out for
// a partition but between Own and the next Suspend, Drop or Stop; (4) hold the group's
// callbacks back while it Excludes them; (5) wait for what it has under way before it
// tells Lost or Revoke, or abort that afterwards.
//
// The tests explore this code in every order of steps that a few processes, brokers
// and faults can take, and show for each of its rules what breaks without it:
//
//	go test -v -run Ownership ./checkpoint
//	TIDEMARK_EXPLORE=full go test -v -timeout 0 -run Ownership ./checkpoint
//
// # What is safe to share
//
// A Coordinator and the handles it returns are safe for concurrent use. Ledger,
// Machine, Overlay and Owner are not: whoever drives them holds a lock.
package checkpoint
