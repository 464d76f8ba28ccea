package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// killGrace is how long the output of a killed diffoscope is waited for: a process
// that got away from its group may still hold it open.
const killGrace = 5 * time.Second

// stderrKept is how much of what diffoscope complains of is shown.
const stderrKept = 2 << 10

// diffoscope runs the program on two files in dir and returns its report. It exits with 1
// when the files differ (diffoscope(1)). The limits hold for all of it: its
// processes are one group, which is killed.
func (d *differ) diffoscope(ctx context.Context, program, dir string, paths []string) ([]byte, error) {
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return nil, err
	}
	form := "--text"
	if d.HTML != "" {
		form = "--html"
	}
	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	out := &limited{limit: int(d.Output) << 20, full: func() { kill(errReport) }}
	complaints := &limited{limit: stderrKept, full: func() {}}
	cmd := exec.CommandContext(ctx, program, "--no-progress", form, "-", paths[0], paths[1])
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, out, complaints, killGrace // the report has the paths as they are given
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp, "LANG=C.UTF-8"}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start diffoscope: %w", err)
	}
	if err := limitMemory(cmd.Process.Pid, uint64(d.Memory)<<20); err != nil {
		say("diffoscope runs without a limit on its memory: %v", err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errReport):
		return nil, fmt.Errorf("diffoscope was stopped: its report is longer than %d MiB (--output)", d.Output)
	case errors.Is(cause, context.DeadlineExceeded):
		return nil, fmt.Errorf("diffoscope was stopped: it did not end within %s (--time)", d.Time)
	case cause != nil:
		return nil, cause
	case err == nil, errors.As(err, &exit) && exit.ExitCode() == 1 && out.kept.Len() > 0:
		return out.kept.Bytes(), nil
	}
	return nil, fmt.Errorf("diffoscope failed (%w): %s", err, strings.TrimSpace(complaints.kept.String()))
}

var errReport = errors.New("report too long")

// limited keeps the first bytes, and tells when there are more. The buffer is not
// embedded: its ReadFrom would be found and used past Write.
type limited struct {
	kept  bytes.Buffer
	limit int
	full  func()
}

func (l *limited) Write(p []byte) (int, error) {
	room := l.limit - l.kept.Len()
	if len(p) > room {
		l.full()
	}
	l.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}
