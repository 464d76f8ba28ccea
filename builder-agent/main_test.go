package builderagent_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"

	builderagent "quorate/builder-agent"
)

// The test binary is also the agent process that gets killed: these variables
// say on which state directory, and after which step it kills itself.
const (
	envState = "TEST_AGENT_STATE"
	envCrash = "TEST_AGENT_CRASH"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envState); dir != "" {
		os.Exit(agentProcess(dir, os.Getenv(envCrash)))
	}
	os.Exit(m.Run())
}

func agentProcess(dir, crash string) int {
	s, err := builderagent.Open(dir)
	if err == nil {
		err = builderagent.Run(context.Background(), s, builderagent.Options{
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}.WithStep(func(step string) {
			if step == crash {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // nothing happens after it
			}
		}))
	}
	slog.Error("agent process ended", "error", err)
	return 1
}

// process starts an agent that ends itself with SIGKILL after the step.
func (k *kit) process(crash string) *exec.Cmd {
	k.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envState+"="+k.state(), envCrash+"="+crash)
	cmd.Stderr = os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(k.t, cmd.Start())
	k.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// killed waits until the process was killed, and not ended in another way.
func killed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("agent process: %v", cmd.ProcessState)
	}
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	check(t, syscall.Mkfifo(path, 0o600))
}
