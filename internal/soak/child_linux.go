package soak

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// does not reach it, and has the kernel kill it with this process.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
