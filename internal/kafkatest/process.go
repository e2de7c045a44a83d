package kafkatest

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that dies with this one.
type process struct {
	cmd *exec.Cmd
	// done is closed by the goroutine that waits for the child, once it has ended.
	done chan struct{}
}

// noProcess is one that has ended.
func noProcess() *process {
	p := &process{done: make(chan struct{})}
	close(p.done)
	return p
}

// launch starts a child.
func launch(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = childAttributes()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// On Linux the kernel kills the child when the thread that started it ends,
		// so the thread has to stay for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// ended tells whether the child has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends a signal to the child if it runs.
func (p *process) signal(s syscall.Signal) error {
	if p.ended() {
		return errors.New("the process has ended")
	}
	return p.cmd.Process.Signal(s)
}

// kill ends the child at once and waits until it is gone.
func (p *process) kill() {
	if !p.ended() {
		_ = p.cmd.Process.Kill()
	}
	<-p.done
}

// stop asks the child to end, also one that is paused, and kills it if it does
// not. It tells whether it ended by itself.
func (p *process) stop(within time.Duration) bool {
	if !p.ended() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		p.kill()
		return false
	}
}
