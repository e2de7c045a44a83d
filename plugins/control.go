package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/tidemarkhq/tidemark/internal/engine"
)

// controlVariable is where to listen for requests, host:port; unset = nowhere. Benthos
// offers plugins no way to add an endpoint to its own server, hence a server of ours.
const controlVariable = "TIDEMARK_CONTROL_ADDRESS"

// control takes requests for savepoints, by signal and by HTTP.
type control struct {
	ctx    context.Context
	cancel context.CancelFunc
	// signals are sent by the system; nobody closes it.
	signals chan os.Signal
	server  *http.Server
	work    sync.WaitGroup
}

// newControl begins to take signals: without a listener they would end the process.
func newControl(ctx context.Context) *control {
	// Room for one: a signal that comes while a savepoint is written asks for another,
	// and so do all that come after it.
	c := &control{signals: make(chan os.Signal, 1)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if len(savepointSignals) == 0 {
		return c
	}
	signal.Notify(c.signals, savepointSignals...)
	c.work.Go(func() {
		for {
			select {
			case <-c.signals:
				// Streams log what becomes of it.
				if len(engine.Savepoints(c.ctx)) == 0 {
					fmt.Fprintln(os.Stderr, "no savepoint was taken: no stream is running")
				}
			case <-c.ctx.Done():
				return
			}
		}
	})
	return c
}

// listen serves requests at an address, if there is one.
func (c *control) listen(address string) error {
	if address == "" || c.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s is %q: %w; set it to host:port of this machine that is free, such as 127.0.0.1:4196, or unset it",
			controlVariable, address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /savepoint", c.savepoint)
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	c.work.Go(func() {
		if err := c.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(os.Stderr, "serving %s: %v\n", controlVariable, err)
		}
	})
	return nil
}

// outcome is a savepoint as the response shows it.
type outcome struct {
	Stream     string `json:"stream"`
	Job        string `json:"job"`
	File       string `json:"file,omitempty"`
	Checkpoint int64  `json:"checkpoint,omitempty"`
	Partitions int    `json:"partitions"`
	Keys       int64  `json:"keys"`
	Bytes      int64  `json:"bytes"`
	// State is false without a store: then there are positions only.
	State bool   `json:"state"`
	Error string `json:"error,omitempty"`
}

// savepoint answers when all savepoints are written. One that was begun is finished
// although the client goes away: it may take longer than a client waits.
func (c *control) savepoint(w http.ResponseWriter, _ *http.Request) {
	outcomes := []outcome{}
	status := http.StatusOK
	for _, s := range engine.Savepoints(c.ctx) {
		o := outcome{
			Stream: s.Stream, Job: s.Job, File: s.File, Checkpoint: int64(s.ID),
			Partitions: s.Positions, Keys: s.Keys(), Bytes: s.Bytes(), State: s.Stored,
		}
		if s.Err != nil {
			o.Error, status = s.Err.Error(), http.StatusInternalServerError
		}
		outcomes = append(outcomes, o)
	}
	answer := map[string]any{"savepoints": outcomes}
	if len(outcomes) == 0 {
		status = http.StatusConflict
		answer["error"] = "no stream is running"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // The client may be gone.
}

// end waits until nothing of it runs any more.
func (c *control) end() {
	c.cancel()
	signal.Stop(c.signals)
	if c.server != nil {
		_ = c.server.Close() // Whoever still waits has his answer in the log.
	}
	c.work.Wait()
}
