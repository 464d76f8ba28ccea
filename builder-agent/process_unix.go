//go:build unix && !linux

package builderagent

import (
	"errors"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitUnreaped is not available: the group is killed after its leader was reaped.
func waitUnreaped(int) error { return errors.ErrUnsupported }

// killMarked does nothing: other processes' environments cannot be read.
func killMarked(string) error { return nil }

// dropInherited does nothing: there is no call for it.
func dropInherited() {}
