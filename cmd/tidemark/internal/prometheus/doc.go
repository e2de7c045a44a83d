// Package prometheus is a metrics exporter for the tidemark binary. Benthos has
// none of its own; distributions that do, bring theirs, so only the binary
// registers this one:
//
//	err := prometheus.Register(service.GlobalEnvironment())
//
// Registered under the name prometheus it becomes Benthos's default, served by
// its HTTP server at /metrics. Field names and meaning are those of Redpanda
// Connect. Beyond it, series can be deleted.
package prometheus
