package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a child may take to end once it is told to.
const patience = 30 * time.Second

// child is a process under measurement.
type child struct {
	cmd    *exec.Cmd
	start  time.Time
	stderr tail
	// done is closed by the goroutine that waits for the process, after err is set.
	done chan struct{}
	err  error
	// peak is the largest resident set seen, in bytes.
	peak int64
}

// spawn starts a process.
func spawn(args []string) (*child, error) {
	c := &child{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.stderr, &c.stderr
	c.start = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// ended returns an error if the process has ended, which it never should by
// itself.
func (c *child) ended() error {
	select {
	case <-c.done:
		return fmt.Errorf("the process ended by itself (%w); its last words:\n%s", errors.Join(c.err, io.EOF), c.stderr.String())
	default:
		return nil
	}
}

// sample looks at the memory of the process. The kernel's own account at exit
// (rusage) cannot be used: it begins with the memory of the process that forked,
// which is this one.
func (c *child) sample() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return
	}
	_, rest, ok := strings.Cut(string(status), "VmHWM:")
	if !ok {
		return
	}
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		return
	}
	c.peak = max(c.peak, kib<<10)
}

// stop tells the process to end and waits until it has.
func (c *child) stop() error {
	if err := c.ended(); err != nil {
		return err
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping the process: %w", err)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-c.done:
			if c.err != nil {
				return fmt.Errorf("stopping the process: %w; its last words:\n%s", c.err, c.stderr.String())
			}
			return nil
		case <-look.C:
			c.sample()
		case <-late.C:
			c.kill()
			return fmt.Errorf("stopping the process: it did not end within %v; its last words:\n%s", patience, c.stderr.String())
		}
	}
}

// kill ends the process if it runs, and waits until it is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// cpu is the processor time of the whole life of a process that has ended.
func (c *child) cpu() time.Duration {
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
}

// tail keeps the last bytes written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	t.text = append(t.text, p...)
	if extra := len(t.text) - keep; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.text)) }

// metric sums a metric over all its labels, as a child serves it to Prometheus.
func metric(address, name string) (float64, error) { return metricOf(address, name, "") }

// medianMillis returns the median of a timer in nanoseconds, in milliseconds.
func medianMillis(address, name string) (float64, error) {
	v, err := metricOf(address, name, `quantile="0.5"`)
	if err == nil && math.IsNaN(v) {
		err = fmt.Errorf("reading metric %s: it has no value", name)
	}
	if err != nil {
		return 0, err
	}
	return v / 1e6, nil
}

// metricOf sums a metric over all its series with a label.
func metricOf(address, name, label string) (float64, error) {
	text, err := metricsPage(address)
	if err != nil {
		return 0, fmt.Errorf("reading metric %s: %w", name, err)
	}
	return parseMetric(text, name, label)
}

// metricsPage is all that a child serves to Prometheus.
func metricsPage(address string) (string, error) {
	cl := http.Client{Timeout: 5 * time.Second}
	res, err := cl.Get("http://" + address + "/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func parseMetric(text, name, label string) (float64, error) {
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') || !strings.Contains(rest, label) {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err != nil {
			return 0, fmt.Errorf("reading metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("reading metric %s: there is none", name)
	}
	return sum, nil
}
