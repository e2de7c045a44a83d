package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/lintrule"
	"github.com/tidemarkhq/tidemark/plugins/internal/checkpoints"
)

// errReported ends the command line with exit code 1 and no further word.
var errReported = errors.New("reported already")

// Failed returns the first fatal error of any stream of this process, else why a
// stream ended without its final checkpoint, nil if nothing failed. Benthos ends
// such a stream as if its input had come to an end, so a program that does not use
// Main asks here. A stream that was built anew meanwhile has not failed: the new
// build goes on at the last checkpoint that there is.
func Failed() error { return engine.Failed() }

// Main is the main function of a build with Tidemark: it runs the Benthos command
// line and exits the process. See Run.
func Main(opts ...service.CLIOptFunc) {
	os.Exit(Run(context.Background(), opts...))
}

// Run runs the Benthos command line with these differences, and returns the exit
// code:
//
//   - the code is 1 after a fatal error, and the run ends then, also if an input
//     that is not ours keeps the stream alive; in streams mode the other streams
//     go on, and the code is 1 in the end;
//   - the code is 1 if a stream ended without its final checkpoint;
//   - what the checkpoints of a stream need of its configuration as a whole is
//     checked before the stream is built; the lint command knows the rules too;
//   - a component of ours that was replaced after it was registered is an error;
//   - the command `checkpoint` lists, exports and imports checkpoints;
//   - running streams take savepoints when the process gets SIGUSR2 (not on Windows)
//     or, with TIDEMARK_CONTROL_ADDRESS set to host:port, a POST to /savepoint there.
//
// Options are applied after Run's own, so they win. One that sets
// service.CLIOptOnConfigParse takes the place of the check before the start.
func Run(ctx context.Context, opts ...service.CLIOptFunc) int {
	// Another package may have replaced ours since this one's init.
	if err := clashes(service.GlobalEnvironment()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{cancel: cancel, done: make(chan struct{}), control: newControl(ctx)}
	defer w.end()

	base := append([]service.CLIOptFunc{service.CLIOptOnConfigParse(w.configured)}, opts...)
	all := append([]service.CLIOptFunc{service.CLIOptAddCommand(lintCommand(base)),
		service.CLIOptAddCommand(checkpoints.Command())}, base...)
	code, err := service.RunCLIToCode(ctx, all...)
	if err != nil && !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, err)
	}
	if failed := cmp.Or(engine.Failed(), engine.Unfinished()); failed != nil && code == 0 {
		fmt.Fprintf(os.Stderr, "exiting with code 1: %v\n", failed)
		code = 1
	}
	return code
}

// watch ends a run that goes on after a fatal error.
type watch struct {
	cancel context.CancelFunc
	// done is closed when the run has ended.
	done    chan struct{}
	remove  func()
	control *control
}

// configured is called with the main configuration before streams are built.
func (w *watch) configured(conf *service.ParsedConfig) error {
	parsed, err := conf.FieldAny()
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	findings, err := lintrule.Check(parsed)
	if err != nil {
		return err
	}
	if err := lintrule.Err(findings); err != nil {
		return err
	}
	if err := w.control.listen(os.Getenv(controlVariable)); err != nil {
		return err
	}
	log := conf.Resources().Logger()
	for _, f := range findings {
		log.Warnf("%s: %s", f.Path, f.What)
	}
	// In streams mode the main configuration has no stream.
	if conf.Contains("input") {
		w.remove = engine.OnFatal(func(error) { w.stop() })
	}
	return nil
}

// Times of watch: a stream whose inputs all end after a fatal error is given
// grace to end the run by itself; after that the run is told to stop, and told
// again, for the first time may come before anybody listens.
const (
	grace = time.Second
	again = 5 * time.Second
)

// stop sends the signal that makes Benthos stop in order. Cancelling its context
// does not: the shutdown would have no time at all.
func (w *watch) stop() {
	// Without a listener the signal would kill the process.
	listener := make(chan os.Signal, 1)
	signal.Notify(listener, syscall.SIGTERM)
	defer signal.Stop(listener)
	self, err := os.FindProcess(os.Getpid())
	for wait := grace; ; wait = again {
		select {
		case <-w.done:
			return
		case <-time.After(wait):
		}
		if err != nil || self.Signal(syscall.SIGTERM) != nil {
			// Not every system lets a process signal itself.
			w.cancel()
			return
		}
	}
}

func (w *watch) end() {
	if w.remove != nil {
		w.remove()
	}
	close(w.done)
	w.control.end()
}

// binaryName is what the process was started as, for use in messages.
func binaryName() string { return filepath.Base(os.Args[0]) }
