// Package config holds ready-to-run pipelines. Each file says in its first lines
// what it shows and how to run it; a test lints and runs every one of them.
//
// Brokers are taken from the environment variable KAFKA_BROKERS, a comma
// separated list of host:port, by default 127.0.0.1:9092, where
//
//	tidemark broker
//
// runs one.
package config

import _ "embed"

// Demo is demo.yaml, which the demo command runs.
//
//go:embed demo.yaml
var Demo string
