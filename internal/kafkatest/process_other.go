//go:build unix && !linux

package kafkatest

import "syscall"

// childAttributes leaves a child in this process's group, where at least Ctrl-C
// reaches it: other systems than Linux cannot tie its life to ours.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
