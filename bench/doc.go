// Command bench copies a topic with several programs, side by side on one broker,
// and says how fast each was and what it cost:
//
//	cd bench && go run .                      # throughput, CPU and memory
//	cd bench && go run . -mode checkpoints    # what checkpoints cost
//	cd bench && go run . -mode exactly_once   # what exactly-once delivery costs
//	cd bench && go run . -mode latency        # how long records take through a copy
//	cd bench && go run . -mode formats        # json, csv and others, and Benthos's own parsing
//	cd bench && go run . -mode handover       # state that moves to another process
//	cd bench && go run . -mode startup        # time to the first record
//	cd bench && go run . -short               # a check that all this works
//
// It starts a real Kafka of its own, builds the programs, fills a topic, and then
// runs each program as a child process, one after the other, in an order that
// changes with every repetition. The programs are:
//
//   - raw: a loop around the franz-go client that polls and produces, without
//     groups, commits or any guarantee. Nothing built on that client is faster.
//   - Redpanda Connect, which is built from the module below connect. It has its
//     own go.mod, so that it runs with exactly the dependencies of its release.
//   - the tidemark binary of this working tree.
//
// The output of every run is read back: each record must be there once, unaltered,
// in the order of its partition. A run that fails this fails the benchmark.
//
// Rates are counted between the first and the last record that the broker
// appended to the output topic. CPU is that of the whole life of the child,
// start and stop included. Results go to the folder results, as Markdown for
// people and as JSON with every single run.
package main
