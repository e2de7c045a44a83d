package soak

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Child is a program that runs a pipeline in a process of its own, which dies with
// this one.
type Child struct {
	t    testing.TB
	name string
	log  string
	cmd  *exec.Cmd
	http string
	// done is closed by the goroutine that waits for the process.
	done chan struct{}
}

// startChild runs binary with a configuration. Its log is printed if the test
// fails.
func startChild(t testing.TB, binary, name, config string, env ...string) *Child {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatalf("writing a configuration: %v", err)
	}
	logs := dir
	if kept := os.Getenv("TIDEMARK_SOAK_LOGS"); kept != "" {
		logs = kept
	}
	c := &Child{t: t, name: name, log: filepath.Join(logs, name+".log"), done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		t.Fatalf("making a log: %v", err)
	}
	defer log.Close()
	c.cmd = exec.Command(binary, "run", path)
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Dir = log, log, dir
	c.cmd.SysProcAttr = childAttributes()
	started := make(chan error)
	go func() {
		// On Linux the kernel kills the child when the thread that started it ends,
		// so the thread has to stay for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", binary, err)
	}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, c.story())
		}
	})
	return c
}

// Ended tells whether the process has ended.
func (c *Child) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Kill9 kills the process, and returns when it is gone. It must run: one that has
// ended by itself is an error, of which the audit has to know.
func (c *Child) Kill9() error {
	if c.Ended() {
		return fmt.Errorf("%s ended by itself with code %d:\n%s", c.name, c.cmd.ProcessState.ExitCode(), c.logEnd(20))
	}
	c.kill()
	return nil
}

// Freeze stops the process where it is, until Thaw: to others it is gone, and it does not
// know.
func (c *Child) Freeze() { _ = c.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (c *Child) Thaw() { _ = c.cmd.Process.Signal(syscall.SIGCONT) }

// Name returns its client id.
func (c *Child) Name() string { return c.name }

func (c *Child) kill() {
	if !c.Ended() {
		_ = c.cmd.Process.Kill()
	}
	<-c.done
}

// Terminate asks the process to end, as Ctrl-C would, and returns its exit code.
func (c *Child) Terminate(within time.Duration) (int, error) {
	if !c.Ended() {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	return c.Wait(within)
}

// errStuck says that a process had to be killed.
var errStuck = errors.New("it does not end")

// Wait waits for the end of the process and returns its exit code.
func (c *Child) Wait(within time.Duration) (int, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode(), nil
	case <-timer.C:
		c.dump()
		return -1, fmt.Errorf("waiting %v for %s: %w; its log ends:\n%s", within, c.name, errStuck, c.story())
	}
}

// dump ends the process, with its goroutines in the log.
func (c *Child) dump() {
	if c.Ended() {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.done:
	case <-time.After(5 * time.Second):
		c.kill()
	}
}

// Log returns what the process has printed.
func (c *Child) Log() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// story is the end of the log, of what came before the goroutines if it was dumped,
// and the goroutines that are in our code.
func (c *Child) story() string {
	log, goroutines, _ := strings.Cut(c.Log(), "SIGQUIT: quit")
	lines := slices.DeleteFunc(strings.Split(strings.TrimRight(log, "\n"), "\n"), func(l string) bool {
		// The client says so several times a second.
		return strings.Contains(l, "msg=flushing") || strings.Contains(l, "level=debug") && strings.Contains(l, " transaction")
	})
	text := strings.Join(lines[max(0, len(lines)-200):], "\n")
	for _, g := range strings.Split(goroutines, "\n\n") {
		if strings.Contains(g, modulePath+"/") {
			text += "\n\n" + g
		}
	}
	return text
}

func (c *Child) logEnd(n int) string {
	lines := strings.Split(strings.TrimRight(c.Log(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Metric returns the sum of all series of a metric, or an error if the process
// does not serve metrics yet. The metric is 0 if there is no series of it.
func (c *Child) Metric(name string) (float64, error) {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get("http://" + c.http + "/metrics")
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	sum := 0.0
	for _, line := range strings.Split(string(text), "\n") {
		series, value, ok := strings.Cut(line, " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("reading metric %q: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

// Run starts a child of the project's own binary with a configuration.
func Run(t testing.TB, name, config string) *Child {
	t.Helper()
	return startChild(t, Tidemark(t), name, config)
}
