// Package broker runs a Kafka broker in this process, so that a pipeline can be
// tried with nothing else installed. It speaks the protocol and keeps its data
// in a folder over restarts; it is no replacement for Kafka: there is one node,
// and nothing is replicated.
//
//	b, err := broker.Start(broker.Options{Listen: "127.0.0.1:9092", Dir: "data/broker"})
//	defer b.Close()
//
// A folder belongs to one broker at a time. A crash loses nothing that was
// acknowledged, a power cut may lose the last moments.
package broker
