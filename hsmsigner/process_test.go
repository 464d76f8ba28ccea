//go:build linux

package hsmsigner_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
	"quorate/hsmsigner/tokenproc"
	"quorate/quorum"
)

// apart is a world whose token is a copy of its own, in a process of its own.
type apart struct {
	*world
	tokens string // folder of the token
	proxy  *tokenproc.Proxy
	log    *journal
}

// newApart starts the token's process, with the faulty module if there is one.
func newApart(t testing.TB, module string, deadline time.Duration) *apart {
	t.Helper()
	w := &apart{world: newWorld(t), tokens: ownToken(t), log: newJournal(t)}
	w.world.log = slog.New(slog.NewTextHandler(w.log, nil))
	config := token.Config{Module: module, Label: tokenLabel, PIN: pinFromFile}
	w.proxy = must(tokenproc.Start(t.Context(), tokenproc.Options{Token: config, Deadline: deadline, StartDeadline: testLimit,
		Backoff: time.Millisecond, Logger: w.world.log}))(t)
	t.Cleanup(func() { _ = w.proxy.Close() })
	w.token.Token = w.proxy
	w.restart()
	return w
}

func pinFromFile() ([]byte, error) { return hsmsigner.ReadPINFile(tokenConfig().PINFile) }

// ownToken has processes that start from here on see a copy of the token.
func ownToken(t testing.TB) (tokens string) {
	t.Helper()
	dir := t.TempDir()
	tokens = filepath.Join(dir, "tokens")
	t.Setenv(softhsm.EnvConf, must(softhsm.NewConfig(dir))(t))
	check(t, os.CopyFS(tokens, os.DirFS(filepath.Join(soft.dir, "tokens"))))
	return tokens
}

// journal is a log that tests read. There must be no PIN in it.
type journal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // closed and replaced by each line
}

func newJournal(t testing.TB) *journal {
	j := &journal{wrote: make(chan struct{})}
	t.Cleanup(func() {
		if strings.Contains(j.String(), userPIN) {
			t.Error("the log shows the PIN")
		}
		if t.Failed() {
			t.Logf("log:\n%s", j)
		}
	})
	return j
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.wrote)
	j.wrote = make(chan struct{})
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await returns when the log has the text.
func (j *journal) await(t testing.TB, text string) {
	t.Helper()
	limit := time.After(testLimit)
	for {
		j.mu.Lock()
		found, wrote := strings.Contains(j.text.String(), text), j.wrote
		j.mu.Unlock()
		if found {
			return
		}
		select {
		case <-wrote:
		case <-limit:
			t.Fatalf("the log never said %q", text)
		}
	}
}

// has wants a line of the log with all of the texts.
func (j *journal) has(t testing.TB, texts ...string) {
	t.Helper()
	for line := range strings.Lines(j.String()) {
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			return
		}
	}
	t.Errorf("no line of the log has all of %q", texts)
}

// signal sends a signal to the token's process, and waits until a stopped one has
// stopped.
func (w *apart) signal(s syscall.Signal) {
	pid := w.proxy.Process().PID
	// It may be dead already; then its number is still its own.
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		w.t.Error(err)
	}
	for s == syscall.SIGSTOP {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			check(w.t, err)
			return
		}
	}
}

// data is a request for a file of its own.
func (w *apart) data(name string) []byte {
	a := w.ask("p256") // ECDSA: a second signature would have other bytes
	a.artifact = name
	return encode(w.t, a.request(w.t))
}

// insist asks as the coordinator does: again, as long as that may help.
func (w *apart) insist(data []byte) ([]byte, error) {
	for {
		reply, err := w.signer.Answer(w.t.Context(), data)
		switch {
		case err != nil:
			return nil, err
		case reply.Refusal == nil:
			return reply.Answer, nil
		case reply.Refusal.Code != quorum.RefuseToken || !reply.Refusal.Retryable:
			return nil, fmt.Errorf("refused: %v", reply.Refusal)
		}
	}
}

// audit opens the ledger anew and wants one answer to each request, which is the
// one that everybody got and that verifies.
func (w *apart) audit(got map[string][]byte) {
	w.t.Helper()
	w.restart()
	if n := len(w.records()); n != len(got) {
		w.t.Errorf("%d answers in the ledger, want %d", n, len(got))
	}
	if n := len(w.commitments()); n != len(got) {
		w.t.Errorf("%d commitments in the ledger, want %d", n, len(got))
	}
	judge := newJudge(w.t, certFile(token.P256))
	content := w.ask("p256").content
	for name, answer := range got {
		a := must(quorum.ParseAnswer(answer))(w.t)
		stored, found, err := w.ledger.Answer(w.t.Context(), a.ID)
		check(w.t, err)
		if !found || a.Artifact != name {
			w.t.Errorf("%s: the ledger has no such answer", name)
		}
		sameBytes(w.t, answer, stored)
		if name == "file-0" { // one for others; the signer verified all
			judge.accept(content, a.Signatures[0].Signature)
		}
	}
}

// TestTokenKilledUnderLoad kills the token's process again and again while eight
// ask, each file twice: every request gets its one answer.
func TestTokenKilledUnderLoad(t *testing.T) {
	const files, asks, between = 48, 2, 12
	w := newApart(t, soft.module, testLimit)
	var mu sync.Mutex
	got := map[string][]byte{}
	work, progress := make(chan string), make(chan struct{}, files*asks)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for name := range work {
				answer, err := w.insist(w.data(name))
				mu.Lock()
				if had := got[name]; err != nil || had != nil && !bytes.Equal(had, answer) {
					t.Errorf("%s: error %v, or a second answer", name, err)
				}
				got[name] = answer
				mu.Unlock()
				progress <- struct{}{}
			}
		})
	}
	go func() {
		defer close(work)
		for i := range files * asks {
			work <- fmt.Sprintf("file-%d", i/asks)
		}
	}()
	for n := range files * asks {
		<-progress
		if n%between == between/2 {
			w.signal(syscall.SIGKILL)
		}
	}
	wg.Wait()
	w.signed(w.data("file-0")) // from the ledger
	if s := w.proxy.Process(); s.Restarts == 0 {
		t.Errorf("nothing was killed: %+v", s)
	}
	w.audit(got)
	w.log.has(t, "token process is replaced", "signal: killed")
}

// TestTokenStopped: a token that never returns costs the deadline, and nothing
// else.
func TestTokenStopped(t *testing.T) {
	w := newApart(t, soft.module, time.Second)
	w.signal(syscall.SIGSTOP)
	got := map[string][]byte{}
	for _, name := range []string{"file-0", "file-1"} {
		reply, _ := w.signed(w.data(name))
		got[name] = reply.Answer
	}
	if s := w.proxy.Process(); s.Deadlines != 1 || s.Restarts != 1 || !s.Up {
		t.Errorf("%+v", s)
	}
	w.audit(got)
	w.log.has(t, "token process is replaced", "a signature exceeded its deadline", "asked_again=1")
}
