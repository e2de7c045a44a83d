// Package zookeeper keeps the offsets of consumers where Kafka's consumers of version 0.8
// keep them: in ZooKeeper, as the node
//
//	/consumers/<group>/offsets/<topic>/<partition>
//
// with the offset of the next record as decimal text. So a job can go on where another
// consumer stopped, and tools that watch offsets there see the job's.
//
//	z, err := zookeeper.Open(ctx, zookeeper.Config{Connect: "zk1:2181,zk2:2181/kafka", Group: "g"})
//	offsets, err := z.Fetch(ctx, partitions)
//	err = z.Commit(ctx, offsets)
//
// What was committed last stays: a write whose outcome nobody knows, because the connection
// was lost, never takes effect after a later one, because every write names the version of the
// node that it replaces.
//
// An Offsets is safe for concurrent use. It connects again by itself; what is asked of it
// meanwhile waits as long as its context lasts.
package zookeeper
