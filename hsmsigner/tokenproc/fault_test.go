//go:build linux

package tokenproc_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
	"quorate/hsmsigner/tokenproc/faultmodule"
)

// faulty is a fixture whose module is SoftHSM with faults.
type faulty struct {
	*fixture
	faultmodule.Module
}

func newFaulty(t testing.TB) faulty {
	t.Helper()
	f := faulty{newFixture(t), faultmodule.New(t)}
	f.options.Token.Module = f.Library
	return f
}

// TestSignFault: the module dies or hangs in C_Sign, once or always.
func TestSignFault(t *testing.T) {
	for _, fault := range []string{"abort", "exit", "hang"} {
		t.Run(fault, func(t *testing.T) {
			f := newFaulty(t)
			if fault == "hang" {
				f.options.Deadline = time.Second
			}
			p := f.start(t)
			f.Set(t, "C_Sign", "once", fault)
			mustSign(t, p, token.P256)
			once := p.Process()
			if once.Restarts == 0 || (once.Deadlines > 0) != (fault == "hang") {
				t.Errorf("%+v", once)
			}
			f.Set(t, "C_Sign", fault)
			wantClass(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.Unavailable)
			f.Clear(t, "C_Sign", fault)
			mustSign(t, p, token.P256)
			// Two retries, so three children of each request's own.
			if s := p.Process(); s.Restarts < once.Restarts+3 || !s.Up {
				t.Errorf("%+v after %+v", s, once)
			}
			if text := f.log.String(); fault == "abort" && !strings.Contains(text, "module: cannot go on, pin was [pin]!") {
				t.Error("the log does not have the module's last words")
			}
		})
	}
}

// TestLiar: the token's own check sees it, and says so as without a child.
func TestLiar(t *testing.T) {
	f := newFaulty(t)
	p := f.start(t)
	f.Set(t, "C_Sign", "liar")
	wantIs(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.ErrBadSignature, token.Permanent)
	f.Clear(t, "C_Sign", "liar")
	mustSign(t, p, token.P256)
	if s := p.Process(); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

// TestLiarUnverified: the token's own check is not made when it was not asked for.
func TestLiarUnverified(t *testing.T) {
	f := newFaulty(t)
	p := f.start(t)
	key := must(p.Key("p256"))(t).Public.(*ecdsa.PublicKey)
	good := func() bool {
		sig := must(p.SignUnverified(t.Context(), "p256", crypto.SHA256, digest(1)))(t)
		half := len(sig) / 2
		return ecdsa.Verify(key, digest(1), new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	}
	if !good() {
		t.Error("a good token signs badly")
	}
	f.Set(t, "C_Sign", "liar")
	if good() {
		t.Error("the token was to lie")
	}
	wantIs(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.ErrBadSignature, token.Permanent)
	if s := p.Process(); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

// TestStartFault: the module dies or hangs before the token is open, at first or
// in the child that is to replace one.
func TestStartFault(t *testing.T) {
	for _, call := range []string{"C_Initialize", "C_Login"} {
		for _, fault := range []string{"abort", "hang"} {
			t.Run(call+" "+fault, func(t *testing.T) {
				f := newFaulty(t)
				hangs := f.Hangs(t, call)
				p := f.start(t)
				f.Set(t, call, fault)
				f.options.StartDeadline = time.Second
				_, err := tokenproc.Start(t.Context(), f.options)
				wantClass(t, err, token.Unavailable)
				kill(t, p, syscall.SIGKILL)
				if fault == "abort" {
					wantClass(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.Unavailable)
				} else {
					<-hangs // that was Start
					<-hangs // this one has a minute, which Close does not wait for
				}
				check(t, p.Close())
			})
		}
	}
}

// TestRestartHangs: the next child hangs in C_Initialize, and the one after it
// does not.
func TestRestartHangs(t *testing.T) {
	f := newFaulty(t)
	f.options.StartDeadline = 3 * time.Second
	p := f.start(t)
	f.Set(t, "C_Initialize", "once", "hang")
	kill(t, p, syscall.SIGKILL)
	mustSign(t, p, token.P256)
	if n := strings.Count(f.log.String(), "token process does not start"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestWrongPIN: it is tried once by Start, and once by all children together.
func TestWrongPIN(t *testing.T) {
	f := newFaulty(t)
	var current atomic.Pointer[string]
	set := func(s string) { current.Store(&s) }
	f.options.Token.PIN = func() ([]byte, error) { return []byte(*current.Load()), nil }
	set("wrong")
	_, err := tokenproc.Start(t.Context(), f.options)
	wantIs(t, err, token.ErrPINIncorrect, token.Permanent)
	if n := f.Calls(t, "C_Login"); n != 1 {
		t.Errorf("%d logins", n)
	}
	set(userPIN)
	p := f.start(t)
	mustSign(t, p, token.P256)
	set("wrong")
	kill(t, p, syscall.SIGKILL)
	for range 5 {
		wantIs(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.ErrPINIncorrect, token.Permanent)
	}
	if n := f.Calls(t, "C_Login"); n != 3 {
		t.Errorf("%d logins, want 3: wrong, right, wrong", n)
	}
	s := p.Process()
	wantIs(t, s.Failure, token.ErrPINIncorrect, token.Permanent)
	if s.Up {
		t.Errorf("%+v", s)
	}
	check(t, p.Close())
}

// TestCloseHangs: Close gives up on a module that does not return, and ends it.
func TestCloseHangs(t *testing.T) {
	for _, call := range []string{"C_Sign", "C_Finalize"} {
		f := newFaulty(t)
		f.options.Deadline = time.Second
		f.options.MaxRetries = -1
		hangs := f.Hangs(t, call)
		p := f.start(t)
		f.Set(t, call, "hang")
		asked := make(chan error, 1)
		if call == "C_Sign" {
			go func() { asked <- ask(t.Context(), p, "p256", crypto.SHA256, digest(1)) }()
			<-hangs
		}
		pid := p.Process().PID
		wantClass(t, p.Close(), token.Unavailable)
		if call == "C_Sign" {
			if err := <-asked; err == nil {
				t.Error("signed")
			}
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s: the child is still there: %v", call, err)
		}
	}
}

// TestHardened asks the module what it sees around itself.
func TestHardened(t *testing.T) {
	f := newFaulty(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	// Left open for whoever comes, as careless programs do.
	secret := filepath.Join(f.Dir, "secret")
	fd := must(syscall.Open(secret, syscall.O_RDWR|syscall.O_CREAT, 0o600))(t)
	defer syscall.Close(fd)
	t.Setenv("FAULT_PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	t.Setenv("FAULT_SECRET", secret)
	for _, network := range []bool{false, true} {
		f.options.Network = network
		p := f.start(t)
		s := p.Process()
		if s.Isolated && network {
			t.Errorf("%+v", s)
		}
		reaches := 1
		if s.Isolated {
			reaches = 0
		}
		want := fmt.Sprintf("dumpable=0 no_new_privs=1 core=0 inherited=0 network=%d pin_in_environment=0\n", reaches)
		if got := must(os.ReadFile(filepath.Join(f.Dir, "report")))(t); string(got) != want {
			t.Errorf("network %v: %swant %s", network, got, want)
		}
		noPIN(t, string(must(os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID)))(t)))
		kill(t, p, syscall.SIGTERM) // as a service manager does to all of a service
		mustSign(t, p, token.P256)
		if again := p.Process(); again.Restarts != 0 {
			t.Errorf("%+v", again)
		}
		check(t, p.Close())
	}
}

// testParent is a process that has a token process, until it is killed.
func testParent(args []string) int {
	p, err := tokenproc.Start(context.Background(), tokenproc.Options{Token: token.Config{Module: args[0], Label: label, PIN: pin(userPIN)}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(p.Process().PID)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestParentKilled: the child ends with its parent, even one that is stopped and
// will never see that its input ended.
func TestParentKilled(t *testing.T) {
	f := newFixture(t)
	for _, stopped := range []bool{false, true} {
		cmd := exec.Command(must(os.Executable())(t), "test-parent", f.options.Token.Module)
		cmd.Stderr = os.Stderr
		_ = must(cmd.StdinPipe())(t)
		out := must(cmd.StdoutPipe())(t)
		check(t, cmd.Start())
		line := must(bufio.NewReader(out).ReadString('\n'))(t)
		pid := must(strconv.Atoi(strings.TrimSpace(line)))(t)
		if stopped {
			check(t, syscall.Kill(pid, syscall.SIGSTOP))
		}
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
		awaitEnd(t, pid)
	}
}
