package builderagent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processAttributes puts the command into a group of its own, which can be
// killed as a whole and does not hear the terminal's ^C, and has it killed when
// the agent is.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// firstInherited is the first descriptor that is not one of the standard three.
const firstInherited = 3

// dropInherited keeps files that whoever started the agent left open from
// reaching the builds. What the agent opens itself never does.
func dropInherited() {
	_ = unix.CloseRange(firstInherited, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) // before Linux 5.11: as it was
}

// waitUnreaped returns when the child has ended, and leaves it as a zombie.
func waitUnreaped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Killed processes are gone within microseconds, unless a disk or a network
// file system holds them.
const (
	killPasses = 500
	killPause  = 10 * time.Millisecond
)

// killMarked kills every process of this user whose environment says that it
// belongs to the build, until there is none.
func killMarked(mark string) error {
	self := os.Getpid()
	for range killPasses {
		pids, err := marked(mark)
		if err != nil {
			return err
		}
		left := 0
		for _, pid := range pids {
			if pid != self {
				left++
				killIfMarked(pid, mark)
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(killPause)
	}
	return fmt.Errorf("killed processes do not end")
}

func marked(mark string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isMarked(pid, mark) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isMarked is false for processes of other users and for those that have ended:
// their environment cannot be read.
func isMarked(pid int, mark string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	want := []byte(envBuild + mark)
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}

// killIfMarked holds the process while it looks once more, so that a number
// given to another process in the meantime does not get that one killed.
func killIfMarked(pid int, mark string) {
	p, err := os.FindProcess(pid) // a pidfd, where the kernel has them
	if err != nil {
		return
	}
	defer p.Release()
	if isMarked(pid, mark) {
		_ = p.Signal(syscall.SIGKILL)
	}
}
