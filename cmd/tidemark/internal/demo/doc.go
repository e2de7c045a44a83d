// Package demo runs the pipeline of config/demo.yaml so that its checkpoints can
// be watched: with a broker in the same process, a generator that fills its
// source topic, and a line of progress each second.
//
// Interrupted, it stops with a final checkpoint; started again on the same
// folder, it says where it goes on. With KAFKA_BROKERS set it uses that Kafka
// instead of a broker of its own.
package demo
