// Package soak proves that Tidemark loses nothing, by hurting the built binary.
//
// Each harness runs the binary as a child process against a real Kafka, feeds it
// numbered records, and makes life hard for it: kill -9 at random moments and at
// chosen ones (between the flush of a checkpoint and its commit, which a Proxy
// holds back), group members that come and go, a sink that fails, brokers that go
// away, records that nobody can deliver, tickets that end every minute. An Audit follows the output topic and the
// group's commits record by record while that happens:
//
//	r := soak.NewRig(t, broker, soak.Load{Partitions: 4, Rate: 40_000})
//	c := r.Start(soak.Copy{Interval: time.Second})
//	…
//	c.Kill9()
//	r.Settle()       // nobody is left who could commit; what it did is known
//	r.Drain(…)       // everything that was fed is delivered and committed
//	r.Audit.Verdict()
//
// # What is checked
//
//   - Nothing is lost: every number is in the output, with its key and value.
//   - Nothing is committed early: for every commit that shows up in
//     __consumer_offsets the end of the output is taken then, and every lower
//     source offset must be below it.
//   - A restart is exact: the first record that a partition reads again is the
//     offset that was committed at that moment, neither an earlier nor a later one.
//   - Repeats are bounded: what is read again was delivered within the last
//     checkpoint interval before the crash.
//   - Order: between two restarts numbers follow each other without a gap.
//
// Of a pipeline that delivers exactly once (FollowOnce) more is asked, of what a reader
// of committed transactions sees:
//
//   - Every record is there once, and in order, whatever happens; or every result of a
//     window is, and is what the records of it add up to (Load.Windows).
//   - The group's offsets never go back, where the group says who reads what.
//   - What dead processes had open is over within seconds, long before it would time out.
//   - Of two processes that are configured to be the same, the older one ends.
//
// That is asked of a group without a store and with one, of shards whose number changes, of
// windows that move between members, and of a group on another cluster than the output
// (Load.Output).
//
// # Running it
//
// Without further ado each harness runs for TIDEMARK_SOAK_BUDGET (20s), with a new
// seed each time, which is printed. TIDEMARK_SOAK_ROUNDS=200 runs as many rounds
// that count instead, whatever time they take, TIDEMARK_SEED=… repeats the choices
// of an earlier run, and TIDEMARK_SOAK_RESULTS=<folder> writes all verdicts into
// soak-<date>.json there. TIDEMARK_SOAK_LOGS=<folder> keeps the processes' logs:
//
//	TIDEMARK_SOAK_ROUNDS=200 TIDEMARK_SOAK_RESULTS=bench/results go test -count=1 -timeout 0 -v ./internal/soak
//
// A round counts if the kill hit enough records that were delivered and not
// committed yet, and a checkpoint had completed before it; with exactly-once delivery,
// if the broker says that the fault came in the midst of a transaction.
//
// TestExactlyOnceRounds of internal/behaviour plays rounds of the exactly-once harness in
// virtual time, against Kafka in the same process, with the same variables; of
// TIDEMARK_SEED it takes one number more for each of its clusters.
//
// # Proof that it can fail
//
// The tests TestHarnessTurnsRed_… build the binary from sources of which single lines
// are replaced (go build -overlay; the tree is not touched): one that does not
// flush, one that commits a record too far, and those that leave out one of the things
// that make delivery exactly once. The same harness must find violations then.
package soak
