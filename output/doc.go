// Package output is the kafka_checkpointed output: it writes messages to Kafka
// and takes part in the checkpoints of its stream.
//
// # The way of a batch
//
// WriteBatch turns messages into records (shape.go), looks every topic up before
// anything is enqueued (topic.go), and hands the records to the client
// (producer.go). Then there are two ways:
//
//   - Covered records come from a source that goes back to its last checkpoint
//     if they do not arrive. They are acknowledged at once; the checkpoint waits
//     for them (sink.go). This is several times faster than the other way.
//   - All others wait for the broker before they are acknowledged (await.go). If
//     the broker refuses several together, it finds out which one is to blame.
//
// A batch is written the first way only if all of it may be.
//
// # Epochs
//
// What is enqueued is counted in slabs, each of which belongs to the epoch that
// was current when it was enqueued. Rotate closes an epoch under the number of a
// checkpoint, Flush waits until the slabs of all epochs up to that number are
// done. A flush of the whole client would wait for later records as well, and
// under load might never end.
//
// # Locks
//
// Rotate, Discard and Accept are called with locks of the coordinator held, so
// nothing here calls the coordinator with a lock of its own held, and they wait
// for no more than the enqueueing of one slab. The order is producer.lane,
// producer.gate, then one of room.mu and epochs.mu. The client settles records
// on a goroutine of its own, one at a time; that takes none of the first two.
//
// # Partitioners
//
// A custom build adds its own with RegisterPartitioner, from an init function.
package output
