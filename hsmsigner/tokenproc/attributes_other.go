//go:build unix && !linux

package tokenproc

import (
	"errors"
	"os"
	"syscall"
)

func self() (string, error) { return os.Executable() }

const canIsolate = false

func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitUnreaped is not available: the group is killed after its leader was reaped.
func waitUnreaped(int) error { return errors.ErrUnsupported }
