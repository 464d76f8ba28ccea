package tokenproc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Command is the first argument that makes the program a token process. It is
// not for people.
const Command = "token-process"

// IsCommand reports whether a command line, with the program's name in front,
// is that of a token process. It is asked before anything else is parsed.
func IsCommand(args []string) bool { return len(args) > 1 && args[1] == Command }

// Main is all that a token process does; the result is its exit code.
func Main() int {
	// ^C and a service's stop reach the whole group or control group. The
	// parent finishes what is under way and then closes our input.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	in, out, err := harden()
	if err == nil {
		err = Child(context.Background(), in, out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "token process:", err)
		return 1
	}
	return 0
}
