package checkpoint_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

var update = flag.Bool("update", false, "write the output of the scripts in testdata anew")

// TestMachine plays every script in testdata/machine. A script is a line of
// commands; what the machine answers, and its state, stand indented below each:
//
//	config interval=1s timeout=30s tolerable=-1 …   before start
//	start complete=3 used=5
//	kind aligned                                     what kind a cut has from here on
//	tick 1s                                          time passes, then Tick
//	wake                                             time passes until Wake, then Tick
//	request [final]
//	aligned · cut-taken [ERR] · flushed ID [ERR] · persisted ID [ERR] · committed ID
//	fail ERR · drained · aborted [ERR] · restored [ERR] · kill ERR
//
// ERR is any text; after "fatal:" or "corrupt:" it is marked so. go test
// ./checkpoint -run TestMachine -update writes the answers anew.
func TestMachine(t *testing.T) {
	scripts, err := filepath.Glob("testdata/machine/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			got := play(t, string(want))
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got)
		})
	}
}

func play(t *testing.T, script string) string {
	p := newPlayer(t)
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		for _, a := range p.command(line) {
			fmt.Fprintf(&out, "  %s\n", describe(a))
		}
		fmt.Fprintf(&out, "  = %s\n", p.state())
	}
	return out.String()
}

func describe(a checkpoint.Action) string {
	if a.Wait != 0 {
		return fmt.Sprintf("%s (back-off %v)", a, a.Wait)
	}
	return a.String()
}

// player is a machine with a clock of its own.
type player struct {
	t      *testing.T
	conf   checkpoint.Config
	random float64
	kind   checkpoint.Kind
	began  time.Time
	now    time.Time
	m      *checkpoint.Machine
}

func newPlayer(t *testing.T) *player {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := &player{t: t, kind: checkpoint.Running, random: 0.5, began: began, now: began}
	p.conf = checkpoint.Config{
		Interval: 10 * time.Second, Timeout: 30 * time.Second, TolerableFailures: -1, Restart: checkpoint.DefaultRestart,
	}
	return p
}

func (p *player) state() string {
	if p.m == nil {
		return "no machine yet"
	}
	s := p.m.String()
	if at := p.m.Wake(); !at.IsZero() {
		s += fmt.Sprintf(", wakes at %v", at.Sub(p.began))
	}
	s += fmt.Sprintf(", complete %d", p.m.LastComplete())
	if err := p.m.Fatal(); err != nil {
		s += ": " + err.Error()
	}
	return s
}

func (p *player) command(line string) []checkpoint.Action {
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "config", "start", "kind", "tick", "wake":
		return p.drive(name, rest)
	case "flushed", "persisted", "committed":
		num, cause, _ := strings.Cut(rest, " ")
		id := checkpoint.ID(p.number(num))
		switch name {
		case "flushed":
			return p.m.Flushed(p.now, p.kind, id, parseError(cause))
		case "persisted":
			return p.m.Persisted(p.now, p.kind, id, parseError(cause))
		}
		return p.m.Committed(p.now, p.kind, id)
	case "request":
		return p.m.Request(p.now, p.kind, rest == "final")
	case "aligned":
		return p.m.Aligned(p.now)
	case "cut-taken":
		return p.m.CutTaken(p.now, p.kind, parseError(rest))
	case "fail":
		return p.m.Fail(p.now, parseError(rest))
	case "drained":
		return p.m.Drained(p.now)
	case "aborted":
		return p.m.Aborted(p.now, p.kind, parseError(rest))
	case "restored":
		return p.m.Restored(p.now, parseError(rest))
	case "kill":
		return p.m.Kill(parseError(rest))
	}
	p.t.Fatalf("unknown command %q", line)
	return nil
}

func (p *player) drive(name, rest string) []checkpoint.Action {
	switch name {
	case "config":
		for field := range strings.FieldsSeq(rest) {
			p.configure(field)
		}
	case "start":
		var complete, used checkpoint.ID
		for field := range strings.FieldsSeq(rest) {
			k, v, _ := strings.Cut(field, "=")
			*map[string]*checkpoint.ID{"complete": &complete, "used": &used}[k] = checkpoint.ID(p.number(v))
		}
		p.m = checkpoint.NewMachine(p.conf, func() float64 { return p.random })
		p.m.Start(p.now, complete, used)
	case "kind":
		p.kind = map[string]checkpoint.Kind{"running": checkpoint.Running, "aligned": checkpoint.Aligned}[rest]
	case "tick":
		p.now = p.now.Add(p.duration(rest))
		return p.m.Tick(p.now, p.kind)
	case "wake":
		require.False(p.t, p.m.Wake().IsZero(), "the machine wakes never")
		p.now = p.m.Wake()
		return p.m.Tick(p.now, p.kind)
	}
	return nil
}

func (p *player) configure(field string) {
	k, v, _ := strings.Cut(field, "=")
	switch k {
	case "interval":
		p.conf.Interval = p.duration(v)
	case "timeout":
		p.conf.Timeout = p.duration(v)
	case "min_pause":
		p.conf.MinPause = p.duration(v)
	case "tolerable":
		p.conf.TolerableFailures = p.number(v)
	case "initial_backoff":
		p.conf.Restart.InitialBackoff = p.duration(v)
	case "max_restarts":
		p.conf.Restart.MaxRestarts = p.number(v)
	case "window":
		p.conf.Restart.Window = p.duration(v)
	default:
		p.t.Fatalf("unknown setting %q", field)
	}
}

func (p *player) number(s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(p.t, err)
	return n
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	require.NoError(p.t, err)
	return d
}

func parseError(s string) error {
	if s == "" {
		return nil
	}
	kind, rest, marked := strings.Cut(s, ":")
	switch {
	case marked && kind == "fatal":
		return checkpoint.Fatal(errors.New(strings.TrimSpace(rest)))
	case marked && kind == "corrupt":
		return fmt.Errorf("%s: %w", strings.TrimSpace(rest), checkpoint.ErrCorrupt)
	}
	return errors.New(s)
}
