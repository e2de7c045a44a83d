package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// host stands in for a test, so that the brokers that tests use serve here too.
// What ends a test ends the process.
type host struct {
	testing.TB
	cleanups []func()
}

// Name implements testing.TB.
func (h *host) Name() string { return "bench" }

// Helper implements testing.TB.
func (h *host) Helper() {}

// Failed implements testing.TB.
func (h *host) Failed() bool { return false }

// Context implements testing.TB.
func (h *host) Context() context.Context { return context.Background() }

// Logf implements testing.TB.
func (h *host) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Fatalf implements testing.TB.
func (h *host) Fatalf(format string, args ...any) {
	h.Logf(format, args...)
	h.close()
	os.Exit(1)
}

// Skipf implements testing.TB. A benchmark without a broker has failed.
func (h *host) Skipf(format string, args ...any) { h.Fatalf(format, args...) }

// Cleanup implements testing.TB.
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// TempDir implements testing.TB.
func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "tidemark-bench-")
	if err != nil {
		h.Fatalf("making a folder: %v", err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// close undoes what was set up, the last first.
func (h *host) close() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	h.cleanups = nil
}

// startBroker starts what the benchmark runs on and says what it is.
func startBroker(t testing.TB, fake bool) (kafkatest.Endpoint, string) {
	if fake {
		return kafkatest.Fake(t), "in process (kfake)"
	}
	// Topics come and go with every run, and each is large.
	return kafkatest.Real(t, kafkatest.Newest, "log.segment.delete.delay.ms=0"), "Apache Kafka " + kafkatest.Newest
}
