package coordinator_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quorate/coordinator"
)

// childState is set for processes that this test binary starts to be killed.
const childState = "QUORATE_TEST_COORDINATOR"

// childFiles is how many files such a process may have open, if it is set.
const childFiles = "QUORATE_TEST_FILES"

func TestMain(m *testing.M) {
	if state := os.Getenv(childState); state != "" {
		os.Exit(runChild(state))
	}
	os.Exit(m.Run())
}

// runChild is a coordinator in a process of its own. It says where its bus is, and
// then where its pages are. With SIGUSR1 it gives memory back that it does not need.
func runChild(state string) int {
	if n, err := strconv.ParseUint(os.Getenv(childFiles), 10, 32); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	free := make(chan os.Signal, 1)
	signal.Notify(free, unix.SIGUSR1)
	go func() {
		for range free {
			debug.FreeOSMemory()
		}
	}()
	c, err := coordinator.Start(context.Background(), coordinator.Options{State: state, Log: quiet()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.BusURL())
	fmt.Println(c.URL())
	if err := c.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child starts such a process and returns the address of its bus.
func (w *world) child() (cmd *exec.Cmd, bus string) {
	w.t.Helper()
	cmd, bus, _ = w.childWithPages()
	return cmd, bus
}

func (w *world) childWithPages() (cmd *exec.Cmd, bus, pages string) {
	w.t.Helper()
	cmd = exec.Command(must(os.Executable())(w.t))
	cmd.Env = append(os.Environ(), childState+"="+w.state())
	cmd.Stderr = os.Stderr
	out := must(cmd.StdoutPipe())(w.t)
	check(w.t, cmd.Start())
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	in := bufio.NewReader(out)
	bus, pages = must(in.ReadString('\n'))(w.t), must(in.ReadString('\n'))(w.t)
	return cmd, strings.TrimSpace(bus), strings.TrimSpace(pages)
}
