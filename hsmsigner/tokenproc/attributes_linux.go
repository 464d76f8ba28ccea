package tokenproc

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program, even if its file was replaced by a newer version: that
// one might speak another protocol.
func self() (string, error) {
	const exe = "/proc/self/exe"
	if _, err := os.Stat(exe); err == nil {
		return exe, nil
	}
	return os.Executable()
}

// canIsolate says that attributes can take the network away.
const canIsolate = true

// attributes puts the child into a process group, so that it is killed with
// whatever the module started, and has it killed when the starting thread ends,
// which is when this process does.
func attributes(isolate bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if !isolate {
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWNET
	if os.Geteuid() == 0 {
		return a // a user namespace would take root its right to open others' files
	}
	a.Cloneflags |= syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	return a
}

// waitUnreaped returns when the child has ended, and leaves it as a zombie, so
// that its number is still its own.
func waitUnreaped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
