//go:build linux

package tokenproc_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
)

// TestSign: every type of key; the same keys, statistics and errors as without a
// child.
func TestSign(t *testing.T) {
	f := newFixture(t)
	p := f.start(t)
	direct, err := token.Open(t.Context(), f.options.Token)
	check(t, err)
	defer direct.Close()
	for _, kt := range keyTypes {
		mustSign(t, p, kt)
		_ = must(direct.Sign(t.Context(), string(kt), crypto.SHA256, digest(1)))(t)
	}
	if !reflect.DeepEqual(p.Keys(), direct.Keys()) {
		t.Errorf("keys %v, want %v", p.Keys(), direct.Keys())
	}
	for name, fails := range map[string]func(signer) error{
		"unknown key":  func(s signer) error { return ask(t.Context(), s, "none", crypto.SHA256, digest(1)) },
		"no label":     func(s signer) error { return ask(t.Context(), s, "", crypto.SHA256, digest(1)) },
		"odd label":    func(s signer) error { return ask(t.Context(), s, "\xff\x00\"", crypto.SHA256, digest(1)) },
		"short digest": func(s signer) error { return ask(t.Context(), s, "p256", crypto.SHA256, digest(1)[1:]) },
		"other hash":   func(s signer) error { return ask(t.Context(), s, "rsa3072", crypto.MD5, digest(1)[:16]) },
		"no such hash": func(s signer) error { return ask(t.Context(), s, "rsa3072", 1<<40, digest(1)) },
		"cancelled":    func(s signer) error { return ask(cancelled(), s, "p256", crypto.SHA256, digest(1)) },
		"look up":      func(s signer) error { _, err := s.Key("none"); return err },
	} {
		sameError(t, name, fails(p), fails(direct))
	}
	if a, b := p.Stats(), direct.Stats(); a != b {
		t.Errorf("statistics %+v, want %+v", a, b)
	}
	check(t, p.Close())
	check(t, direct.Close())
	sameError(t, "closed", ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), ask(t.Context(), direct, "p256", crypto.SHA256, digest(1)))
	check(t, p.Close())
}

type signer interface {
	Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
	Key(label string) (token.Key, error)
}

func ask(ctx context.Context, s signer, label string, hash crypto.Hash, digest []byte) error {
	_, err := s.Sign(ctx, label, hash, digest)
	return err
}

func cancelled() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}

// sameError compares what callers see: text, class, and what it is.
func sameError(t *testing.T, name string, got, want error) {
	t.Helper()
	if got == nil || want == nil || got.Error() != want.Error() {
		t.Errorf("%s: error %q, want %q", name, got, want)
		return
	}
	if token.IsUnavailable(got) != token.IsUnavailable(want) {
		t.Errorf("%s: class differs: %v", name, got)
	}
	for _, s := range tokenproc.Sentinels() {
		if errors.Is(got, s) != errors.Is(want, s) {
			t.Errorf("%s: error %v is, or is not, %v", name, got, s)
		}
	}
}

// TestOpenErrors: what token.Open says, Start says.
func TestOpenErrors(t *testing.T) {
	lost := fmt.Errorf("read pin file: %w", fs.ErrNotExist)
	for name, change := range map[string]func(*token.Config){
		"no module":    func(c *token.Config) { c.Module = "" },
		"wrong module": func(c *token.Config) { c.Module = "/does/not/exist.so" },
		"not a module": func(c *token.Config) { c.Module = must(os.Executable())(t) },
		"no token":     func(c *token.Config) { c.Label = "" },
		"wrong token":  func(c *token.Config) { c.Label = "other" },
		"workers":      func(c *token.Config) { c.Workers = 65 },
		"wrong pin":    func(c *token.Config) { c.PIN = pin("wrong") },
		"no pin":       func(c *token.Config) { c.PIN = nil },
		"pin lost":     func(c *token.Config) { c.PIN = func() ([]byte, error) { return nil, lost } },
	} {
		f := newFixture(t)
		change(&f.options.Token)
		_, got := tokenproc.Start(t.Context(), f.options)
		_, want := token.Open(t.Context(), f.options.Token)
		sameError(t, name, got, want)
		if errors.Is(want, lost) != errors.Is(got, lost) {
			t.Errorf("%s: error %v lost its cause", name, got)
		}
	}
	_, err := tokenproc.Start(cancelled(), newFixture(t).options)
	wantIs(t, err, context.Canceled, token.Unavailable)
}

// TestKillUnderLoad: sixteen sign while the child is killed again and again. No
// request is lost, and none gets anything but its own signature.
func TestKillUnderLoad(t *testing.T) {
	const signers, each, between = 16, 40, 60
	p := newFixture(t).start(t)
	var done, failed atomic.Int64
	progress := make(chan struct{}, signers*each)
	var wg sync.WaitGroup
	for i := range signers {
		wg.Go(func() {
			for n := range each {
				err := sign(t.Context(), p, keyTypes[1+n%3], i*each+n)
				switch {
				case token.IsUnavailable(err):
					failed.Add(1)
				case err != nil:
					t.Error(err)
				}
				done.Add(1)
				progress <- struct{}{}
			}
		})
	}
	kills := 0
	for n := range signers * each {
		<-progress
		if n%between == between/2 {
			kills++
			kill(t, p, syscall.SIGKILL)
		}
	}
	wg.Wait()
	mustSign(t, p, token.P256)
	s := p.Process()
	if done.Load() != signers*each || s.Restarts == 0 || s.Restarts > uint64(kills) || s.Deadlines != 0 {
		t.Errorf("%d requests done after %d kills: %+v", done.Load(), kills, s)
	}
	if got := p.Stats(); got.Retries == 0 || got.Generation != s.Restarts+1 || got.Failures != uint64(failed.Load()) || got.QueueDepth != 0 || got.Busy != 0 {
		t.Errorf("%+v with %d restarts", got, s.Restarts)
	}
	t.Logf("%d kills, %d restarts, %d of %d unavailable, %d asked again", kills, s.Restarts, failed.Load(), done.Load(), p.Stats().Retries)
}

// kill sends a signal to the child.
func kill(t testing.TB, p *tokenproc.Proxy, s syscall.Signal) (pid int) {
	t.Helper()
	pid = p.Process().PID
	// It may be dead already; nobody has reaped it who would not say so.
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	return pid
}

// stop stops the child, and returns when it has.
func stop(t testing.TB, p *tokenproc.Proxy) {
	t.Helper()
	pid := kill(t, p, syscall.SIGSTOP)
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			check(t, err)
			return
		}
	}
}

// TestStopped: a stopped child is a module that does not return.
func TestStopped(t *testing.T) {
	f := newFixture(t)
	f.options.Deadline = time.Second
	p := f.start(t)
	mustSign(t, p, token.P256)
	stop(t, p)
	var wg sync.WaitGroup
	for range 10 { // more than the child takes at once
		wg.Go(func() {
			if err := sign(t.Context(), p, token.P256, 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := p.Process()
	if s.Deadlines == 0 || s.Restarts != s.Deadlines {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(f.log.String(), "token process is replaced"); n != int(s.Deadlines) {
		t.Errorf("%d deadlines are logged %d times", s.Deadlines, n)
	}
}

// TestCallerLeaves: Sign returns when its context ends, and the deadline of what
// it left in the child still counts.
func TestCallerLeaves(t *testing.T) {
	f := newFixture(t)
	f.options.Deadline = time.Second
	p := f.start(t)
	stop(t, p)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- ask(ctx, p, "p256", crypto.SHA256, digest(1)) }()
	for p.Stats().Busy == 0 {
		runtime.Gosched()
	}
	leave()
	wantIs(t, <-left, context.Canceled, token.Unavailable)
	for p.Process().Restarts == 0 {
		runtime.Gosched()
	}
	mustSign(t, p, token.P256)
}

// TestTokenAway: the token's files are moved away and back, with the same child
// and with one that is killed meanwhile.
func TestTokenAway(t *testing.T) {
	for _, killed := range []bool{false, true} {
		f := newFixture(t)
		p := f.start(t)
		mustSign(t, p, token.P256)
		check(t, os.Rename(f.dir+"/tokens", f.dir+"/away"))
		if killed {
			kill(t, p, syscall.SIGKILL)
		}
		for range 3 {
			wantClass(t, ask(t.Context(), p, "p256", crypto.SHA256, digest(1)), token.Unavailable)
		}
		if _, err := p.Key("p256"); err != nil {
			t.Errorf("the key is not known while the token is away: %v", err)
		}
		check(t, os.Rename(f.dir+"/away", f.dir+"/tokens"))
		for err := errors.New("not yet"); err != nil; {
			if err = sign(t.Context(), p, token.P256, 1); err != nil {
				wantClass(t, err, token.Unavailable)
			}
		}
		want := token.Stats{Generation: 2}
		if !killed {
			want.Reopens = 1
		}
		if s := p.Stats(); s.Generation != want.Generation || s.Reopens != want.Reopens {
			t.Errorf("killed %v: %+v", killed, s)
		}
		if s := p.Process(); (s.Restarts > 0) != killed || s.Failure != nil || !s.Up {
			t.Errorf("killed %v: %+v", killed, s)
		}
		check(t, p.Close())
	}
}

// TestCloseInFlight: Close while sixteen sign; each gets its signature or is
// told.
func TestCloseInFlight(t *testing.T) {
	p := newFixture(t).start(t)
	var wg sync.WaitGroup
	begun := make(chan struct{}, 16)
	for i := range 16 {
		wg.Go(func() {
			for {
				err := sign(t.Context(), p, token.RSA3072, i)
				if err != nil {
					wantIs(t, err, token.ErrClosed, token.Permanent)
					return
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	check(t, p.Close())
	wg.Wait()
}

// TestNothingLeft: no descriptor, goroutine or process stays.
func TestNothingLeft(t *testing.T) {
	f := newFixture(t)
	check(t, f.start(t).Close()) // whatever stays for ever is there now
	before := descriptors(t)
	for range 3 {
		p := f.start(t)
		for range 2 {
			mustSign(t, p, token.P256)
			kill(t, p, syscall.SIGKILL)
			mustSign(t, p, token.P256)
		}
		if now := descriptors(t); len(now) > len(before)+6 { // pipes and what the runtime has of the process
			t.Errorf("descriptors %v, before %v", now, before)
		}
		pid := p.Process().PID
		check(t, p.Close())
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the child is still there: %v", err)
		}
	}
	f.options.Token.Label = "other"
	_, err := tokenproc.Start(t.Context(), f.options)
	wantIs(t, err, token.ErrTokenNotFound, token.Unavailable)
	if after := descriptors(t); len(after) != len(before) {
		t.Errorf("descriptors %v, before %v", after, before)
	}
	for ours() > 0 { // the last of them are about to return
		runtime.Gosched()
	}
}

func descriptors(t testing.TB) (open []string) {
	t.Helper()
	for _, e := range must(os.ReadDir("/proc/self/fd"))(t) {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		open = append(open, to)
	}
	return open
}

// ours counts the goroutines that the package started.
func ours() int {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	return strings.Count(stacks, "created by quorate/hsmsigner/tokenproc.")
}
