//go:build unix

package main

import (
	"os"
	"syscall"
	"testing"
)

// savepointSignal asks a process for savepoints.
func savepointSignal(*testing.T) os.Signal { return syscall.SIGUSR2 }
