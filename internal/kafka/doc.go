// Package kafka holds what Tidemark knows about Kafka and Benthos does not need
// to: how to connect, what a subscription means, where a partition starts and
// stops, how positions are committed, and what each error of the protocol means.
//
// It imports neither Benthos nor another package of this module, so that every
// decision here can be tested against a broker alone.
//
// A component of the stream uses it in this order:
//
//  1. Connection.Options gives the client options that all clients of a
//     component share; NewClient or kgo.NewClient makes a client of them.
//  2. Probe says within seconds whether the cluster answers, and why not.
//  3. Subscription.List finds the partitions; Start.Resolve and Stop.Resolve turn
//     "earliest", "latest", a timestamp or group offsets into numbers, once.
//  4. CommitGroup and CommitStatic publish positions, with a Mark that says which
//     job and which checkpoint they belong to; FetchCommitted reads them back.
//  5. Classify says what to do about an error.
//
// Nothing here keeps state between calls and nothing logs, except through the
// logger that a Connection carries.
package kafka
