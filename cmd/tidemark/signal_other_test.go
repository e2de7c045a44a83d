//go:build !unix

package main

import (
	"os"
	"testing"
)

// savepointSignal skips the test: this system has no such signal.
func savepointSignal(t *testing.T) os.Signal {
	t.Helper()
	t.Skip("no signal asks for savepoints here")
	return nil
}
