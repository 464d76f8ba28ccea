package tokenproc

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// again follows Command in the arguments of a process that executed itself once
// more. It keeps a kernel that forgets the flag from making that a loop.
const again = "no-new-privileges"

// harden gives up what a token process does not need, and returns the streams
// of the protocol. What the kernel does not allow stays as it was: the process
// is no worse for it than the parent, where the module would run otherwise.
func harden() (in, out *os.File, err error) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	dropPrivileges()
	// After the last exec, which sets it again: no core dump by a program that
	// ignores the limit, no ptrace and no /proc/PID/mem for others of this user.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	closeInherited()
	return takeStreams()
}

// dropPrivileges makes set-user-id programs run as anybody else. The flag
// belongs to a thread, and this program has several by now; so it is set on one
// that then executes the program once more, whose threads all inherit it.
func dropPrivileges() {
	if len(os.Args) > 2 && os.Args[2] == again {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if has, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); has == 1 {
		return // the service manager did it
	}
	if unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != nil {
		return
	}
	_ = syscall.Exec("/proc/self/exe", []string{os.Args[0], Command, again}, os.Environ())
}

// closeInherited closes what somebody left open for us. Descriptors of this
// process itself are marked to be closed on exec, and those that are so marked
// cannot have come through one.
func closeInherited() {
	for _, fd := range openDescriptors() {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

func openDescriptors() (fds []int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil { // no /proc: look at the usual ones
		for fd := range 1024 {
			fds = append(fds, fd)
		}
		return fds
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

// takeStreams moves the pipes away from standard input and output, because
// modules print there when they are asked to be verbose, and programs that they
// start inherit both.
func takeStreams() (in, out *os.File, err error) {
	if in, err = moveAway(0, "requests"); err != nil {
		return nil, nil, err
	}
	if out, err = moveAway(1, "answers"); err != nil {
		return nil, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), 0, 0); err != nil {
		return nil, nil, fmt.Errorf("replace standard input: %w", err)
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		return nil, nil, fmt.Errorf("replace standard output: %w", err)
	}
	return in, out, nil
}

func moveAway(fd int, name string) (*os.File, error) {
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("move descriptor %d: %w", fd, err)
	}
	// Then waiting takes no thread, and what comes is noticed sooner.
	if err := unix.SetNonblock(moved, true); err != nil {
		return nil, fmt.Errorf("move descriptor %d: %w", fd, err)
	}
	return os.NewFile(uintptr(moved), name), nil
}
