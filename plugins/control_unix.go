//go:build unix

package plugins

import (
	"os"
	"syscall"
)

// savepointSignals ask running streams for savepoints.
var savepointSignals = []os.Signal{syscall.SIGUSR2}
