//go:build linux

package tokenproc_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quorate/hsmsigner/token"
	"quorate/hsmsigner/tokenproc"
)

// roles are what the test binary can be besides the test and a token process.
var roles = map[string]func([]string) int{
	"fake-child":  fakeChild,
	"test-parent": testParent,
}

// fakeChild opens a token with one key in software and serves requests, until it
// does wrong in the way of its first argument. If it has a second one, only the
// process that can make the file with that name does wrong.
func fakeChild(args []string) int {
	wrong, seed := args[0], sha256.Sum256([]byte("key"))
	if len(args) > 1 {
		if _, err := os.OpenFile(args[1], os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			wrong = "nothing"
			if args[0] == "other key" {
				seed = sha256.Sum256([]byte("other"))
			}
		}
	}
	if wrong == "exit" {
		os.Stderr.WriteString("not today\n")
		return 7
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	for {
		f, err := tokenproc.ReadFrame(os.Stdin)
		if err != nil {
			os.Stdout.Write(tokenproc.Frame{Kind: tokenproc.KindClosed}.Append(nil))
			return 0
		}
		answer := tokenproc.Frame{Kind: tokenproc.KindState, ID: f.ID, Body: tokenproc.FakeState("key", key.Public().(ed25519.PublicKey))}
		if f.Kind == 2 || f.Kind == tokenproc.KindSignUnverified {
			answer = fakeAnswer(f, key, wrong)
		}
		if _, err := os.Stdout.Write(answer.Append(nil)); err != nil {
			return 1
		}
	}
}

func fakeAnswer(f tokenproc.Frame, key ed25519.PrivateKey, wrong string) tokenproc.Frame {
	_, _, digest, err := tokenproc.ParseSign(f.Body)
	if err != nil {
		panic(err)
	}
	answer := tokenproc.Frame{Kind: tokenproc.KindSignature, ID: f.ID, Body: ed25519.Sign(key, digest)}
	switch wrong {
	case "garbage":
		os.Stdout.WriteString("Segmentation fault (core dumped)\n")
	case "huge frame":
		os.Stdout.Write([]byte{0xff, 0xff, 0xff, 0xff, tokenproc.KindSignature, 0, 0, 0, 0, 0, 0, 0, 1})
	case "half a frame":
		half := answer.Append(nil)
		os.Stdout.Write(half[:len(half)/2])
		os.Exit(0)
	case "close":
		os.Stdout.Close()
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	case "exit later":
		os.Exit(7)
	case "stranger":
		answer.ID += 100
	case "foreign kind":
		answer.Kind = tokenproc.KindLookup
	case "bad state":
		answer = tokenproc.Frame{Kind: tokenproc.KindState, Body: []byte(`{"counts":{},"workers":2,"keys":[],"more":1}`)}
	case "pin twice":
		ask := tokenproc.Frame{Kind: tokenproc.KindAskPIN, ID: 1}.Append(nil)
		os.Stdout.Write(append(ask, ask...))
	case "wrong bit":
		answer.Body[0] ^= 1
	case "wrong key":
		other := sha256.Sum256([]byte("other"))
		answer.Body = ed25519.Sign(ed25519.NewKeyFromSeed(other[:]), digest)
	case "other key":
		os.Exit(0)
	case "helper", "daemon":
		leaveBehind(wrong == "daemon")
		os.Exit(7)
	}
	return answer
}

// leaveBehind starts a program that holds our pipes, as modules do that talk to
// a device through a server of theirs.
func leaveBehind(daemon bool) {
	helper := exec.Command("sleep", "1000")
	helper.Stdout, helper.Stderr = os.Stdout, os.Stderr
	helper.SysProcAttr = &syscall.SysProcAttr{Setsid: daemon}
	if err := helper.Start(); err != nil {
		panic(err)
	}
	if err := os.WriteFile(os.Getenv("FAKE_HELPER"), fmt.Append(nil, helper.Process.Pid), 0o600); err != nil {
		panic(err)
	}
}

func fakes(t testing.TB, args ...string) *fixture {
	t.Helper()
	f := newFixture(t)
	f.options.Command = append([]string{must(os.Executable())(t), "fake-child"}, args...)
	return f
}

// TestMisbehaviour: a child that does wrong is killed, and the request goes to
// the next one. If all of them do wrong, it fails.
func TestMisbehaviour(t *testing.T) {
	for _, wrong := range []string{"garbage", "huge frame", "half a frame", "close", "exit later", "stranger", "foreign kind",
		"bad state", "pin twice", "wrong bit", "wrong key"} {
		t.Run(wrong, func(t *testing.T) {
			f := fakes(t, wrong, filepath.Join(t.TempDir(), "done"))
			f.options.Token.PIN = slowPIN(t)
			p := f.start(t)
			mustSign(t, p, "key")
			mustSign(t, p, "key")
			if s := p.Process(); s.Restarts != 1 || s.Deadlines != 0 {
				t.Errorf("%+v", s)
			}
			if n := strings.Count(f.log.String(), "token process is replaced"); n != 1 {
				t.Errorf("logged %d times", n)
			}
		})
		t.Run("always "+wrong, func(t *testing.T) {
			f := fakes(t, wrong)
			f.options.Token.PIN = slowPIN(t)
			p := f.start(t)
			_, err := p.Sign(t.Context(), "key", crypto.SHA256, digest(1))
			if strings.HasPrefix(wrong, "wrong ") {
				wantIs(t, err, token.ErrBadSignature, token.Permanent)
			} else {
				wantClass(t, err, token.Unavailable)
			}
		})
	}
}

// TestUnverifiedFromALiar: what was not asked to be verified comes as the child gave
// it. Sign finds out, and ends the child.
func TestUnverifiedFromALiar(t *testing.T) {
	p := fakes(t, "wrong bit", filepath.Join(t.TempDir(), "done")).start(t)
	sig := must(p.SignUnverified(t.Context(), "key", crypto.SHA256, digest(1)))(t)
	if key := must(p.Key("key"))(t).Public.(ed25519.PublicKey); ed25519.Verify(key, digest(1), sig) {
		t.Error("the child was to lie")
	}
	if s := p.Process(); s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	f := fakes(t, "wrong bit")
	liar := f.start(t)
	must(liar.SignUnverified(t.Context(), "key", crypto.SHA256, digest(1)))(t)
	_, err := liar.Sign(t.Context(), "key", crypto.SHA256, digest(1))
	wantIs(t, err, token.ErrBadSignature, token.Permanent)
	if !strings.Contains(f.log.String(), "returned a signature that does not verify") {
		t.Error("the child was not found out")
	}
}

// slowPIN gives no PIN before the test is over, so that the child's second
// question comes before the answer to the first.
func slowPIN(t *testing.T) func() ([]byte, error) {
	return func() ([]byte, error) {
		<-t.Context().Done()
		return nil, t.Context().Err()
	}
}

// TestLeftBehind: what the child started ends with it, and what left its group
// does not keep the next child from starting.
func TestLeftBehind(t *testing.T) {
	for _, wrong := range []string{"helper", "daemon"} {
		note := filepath.Join(t.TempDir(), "pid")
		t.Setenv("FAKE_HELPER", note)
		p := fakes(t, wrong, filepath.Join(t.TempDir(), "done")).start(t)
		mustSign(t, p, "key")
		pid := must(strconv.Atoi(string(must(os.ReadFile(note))(t))))(t)
		if wrong == "daemon" {
			check(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		awaitEnd(t, pid)
		check(t, p.Close())
	}
}

// awaitEnd returns when the process has ended, whosever child it is.
func awaitEnd(t testing.TB, pid int) {
	t.Helper()
	watch, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	check(t, err)
	defer unix.Close(watch)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			check(t, err)
			return
		}
	}
}

// TestExchangedKey: the second child sees another key under the label, and signs
// well with it.
func TestExchangedKey(t *testing.T) {
	f := fakes(t, "other key", filepath.Join(t.TempDir(), "done"))
	p := f.start(t)
	before := must(p.Key("key"))(t)
	for range 5 {
		_, err := p.Sign(t.Context(), "key", crypto.SHA256, digest(1))
		wantIs(t, err, token.ErrBadSignature, token.Permanent)
	}
	if s := p.Process(); s.Restarts != 1 || !s.Up {
		t.Errorf("each request costs a child: %+v", s)
	}
	if after := must(p.Key("key"))(t); !before.Public.(ed25519.PublicKey).Equal(after.Public) {
		t.Error("the key changed")
	}
	if n := strings.Count(f.log.String(), "another key under a known label"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestStartFails: what is no token process, or one that does not answer.
func TestStartFails(t *testing.T) {
	f := fakes(t, "exit")
	_, err := tokenproc.Start(t.Context(), f.options)
	wantClass(t, err, token.Unavailable)
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "not today") {
		t.Errorf("%v", err)
	}
	f.options.Command = []string{"/does/not/exist"}
	_, err = tokenproc.Start(t.Context(), f.options)
	wantIs(t, err, fs.ErrNotExist, token.Permanent)
	f.options.Command = []string{"sleep", "1000"}
	f.options.StartDeadline = 10 * time.Millisecond
	_, err = tokenproc.Start(t.Context(), f.options)
	wantClass(t, err, token.Unavailable)
}

// TestChildAlone: what a person gets who runs the hidden command, and what a
// child does about a parent that makes no sense.
func TestChildAlone(t *testing.T) {
	for name, in := range map[string][]byte{
		"nothing":       nil,
		"not a frame":   []byte("hello, are you there?"),
		"not open":      tokenproc.Frame{Kind: 2}.Append(nil),
		"other version": tokenproc.Frame{Kind: 1, Body: []byte(`{"version":1}`)}.Append(nil),
		"unknown field": tokenproc.Frame{Kind: 1, Body: []byte(`{"version":2,"extra":0}`)}.Append(nil),
	} {
		var out bytes.Buffer
		if err := tokenproc.Child(t.Context(), bytes.NewReader(in), &out); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, output %q", name, err, out.Bytes())
		}
	}
	err := tokenproc.Child(t.Context(), brokenReader{errors.New("pipe broke")}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pipe broke") {
		t.Errorf("%v", err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }
