//go:build !unix

package plugins

import "os"

// savepointSignals is empty: this system has no signal to spare.
var savepointSignals []os.Signal
