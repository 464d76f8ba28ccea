//go:build unix

package builderagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// envBuild marks every process of a build, also those that left its process
// group.
const envBuild = envPrefix + "BUILD="

// drainTime is how long output is still read after everything was killed. Only
// a process that escaped can keep the pipe open that long.
const drainTime = 2 * time.Second

// command is a process to run to its end.
type command struct {
	argv    []string
	dir     string
	env     []string
	mark    string // value of QUORATE_BUILD in env
	out     io.Writer
	errs    io.Writer // of standard error; nil: it goes to out as well
	timeout time.Duration
	grace   time.Duration
	log     *slog.Logger
}

// ending is how it ended.
type ending struct {
	startErr error  // it could not be started
	status   string // "exit status 3"; empty means success
	timedOut bool
}

// run starts the command, waits for it to end, for the time limit or for ctx,
// and in every case kills what it left behind before it returns. The error is
// ctx's, or a failure of ours.
func (c *command) run(ctx context.Context) (ending, error) {
	out, err := openPipe(c.out)
	if err != nil {
		return ending{}, err
	}
	defer out.close()
	errs := out // one pipe, so that the order of lines is kept
	if c.errs != nil {
		if errs, err = openPipe(c.errs); err != nil {
			return ending{}, err
		}
		defer errs.close()
	}
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.Stdout, cmd.Stderr = out.w, errs.w // stdin is /dev/null
	cmd.SysProcAttr = processAttributes()

	p, err := start(cmd)
	_, _ = out.w.Close(), errs.w.Close()
	if isMissing(err) {
		return ending{startErr: err}, nil
	}
	if err != nil {
		return ending{}, fmt.Errorf("start command: %w", err)
	}
	out.drain()
	if errs != out {
		errs.drain()
	}

	e, stopped := c.await(ctx, p)
	killGroup(p.pid, syscall.SIGKILL)
	c.killMarked()
	p.reap()
	err = out.end()
	if errs != out {
		err = errors.Join(err, errs.end())
	}
	if err != nil {
		return e, fmt.Errorf("read output of command: %w", err)
	}
	if stopped {
		return e, context.Cause(ctx)
	}
	if !e.timedOut && !cmd.ProcessState.Success() {
		e.status = cmd.ProcessState.String()
	}
	return e, nil
}

// isMissing tells a command that is not there, which is the answer to a job, from
// a machine that has run out of processes or memory, which is not.
func isMissing(err error) bool {
	for _, e := range []error{exec.ErrNotFound, syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELOOP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// await returns when the command itself has ended. One that must end is asked
// first, so that a build in a container can take it down.
func (c *command) await(ctx context.Context, p *process) (e ending, stopped bool) {
	limit := time.NewTimer(c.timeout)
	defer limit.Stop()
	select {
	case <-p.exited:
		return e, false
	case <-limit.C:
		e.timedOut = true
	case <-ctx.Done():
		stopped = true
	}
	killGroup(p.pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(c.grace):
	}
	return e, stopped
}

// pipe is an output of a command on its way to a writer.
type pipe struct {
	r, w   *os.File
	to     io.Writer
	copied chan error
}

func openPipe(to io.Writer) (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run command: %w", err)
	}
	return &pipe{r: r, w: w, to: to, copied: make(chan error, 1)}, nil
}

func (p *pipe) close() { _, _ = p.r.Close(), p.w.Close() }

// drain copies until the pipe is closed or its deadline passes. The writer must
// not block the build, so it never fails before the end.
func (p *pipe) drain() {
	go func() {
		_, err := io.Copy(p.to, p.r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		p.copied <- err
	}()
}

// end waits for what is still in the pipe, but not for long.
func (p *pipe) end() error {
	_ = p.r.SetReadDeadline(time.Now().Add(drainTime))
	return <-p.copied
}

// process is a started command.
type process struct {
	pid    int
	exited chan struct{} // closed when it has ended; it may not be reaped yet
	reaped chan struct{}
	doReap chan struct{}
}

// start keeps one thread for the life of the process: the kernel kills a child
// with parent-death signal when the thread that made it ends, and Go ends
// threads as it likes.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{exited: make(chan struct{}), reaped: make(chan struct{}), doReap: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		defer close(p.reaped)
		// Until it is reaped its number, and so its group's, is not given to
		// anybody else: the group can be killed without hitting strangers.
		if waitUnreaped(p.pid) == nil {
			close(p.exited)
			<-p.doReap
			_ = cmd.Wait() // the result is in cmd.ProcessState
			return
		}
		_ = cmd.Wait()
		close(p.exited)
		<-p.doReap
	}()
	return p, <-started
}

// reap is called once, after everything was killed.
func (p *process) reap() {
	close(p.doReap)
	<-p.reaped
}

func killGroup(pid int, sig syscall.Signal) {
	// A group that is gone is what we want.
	_ = syscall.Kill(-pid, sig)
}

// killMarked is for processes that left the group, such as daemons.
func (c *command) killMarked() {
	if err := killMarked(c.mark); err != nil {
		c.log.Warn("processes of a build may still run", "build", c.mark, "error", err)
	}
}
