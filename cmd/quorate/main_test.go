package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"quorate/quorum"
	"quorate/quorum/statement"
)

var update = flag.Bool("update", false, "write what is compared with standard output anew")

// TestMain makes the real command available to scripts: as quorate, and as q,
// which says the exit code on standard error and exits with 0.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"quorate": main,
		"q": func() {
			fmt.Fprintf(os.Stderr, "exit %d\n", run(os.Args[1:]))
		},
	})
}

// TestToolingScripts runs the scripts of the commands for repository tooling
// and maintainers.
func TestToolingScripts(t *testing.T) {
	var files []string
	for _, topic := range []string{"wait", "signstar", "show", "diff", "list", "evidence", "verify", "policy", "usage", "import"} {
		found, err := filepath.Glob(filepath.Join("testdata", topic+"*.txt"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no scripts about %s: %v", topic, err)
		}
		files = append(files, found...)
	}
	testscript.Run(t, testscript.Params{
		Files: files, UpdateScripts: *update,
		Condition: func(c string) (bool, error) {
			if c == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", c)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("QUORATE_SERVER", "http://127.0.0.1:1") // nobody, until serve
			e.Setenv("GORACE", "atexit_sleep_ms=0")          // the race detector would sleep a second in each command
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"keys": func(ts *testscript.TestScript, _ bool, _ []string) { newWorld().writeKeys(ts.MkAbs(".")) },
			"serve": func(ts *testscript.TestScript, _ bool, _ []string) {
				w := newWorld()
				w.writeKeys(ts.MkAbs("."))
				w.start()
				ts.Defer(w.stop)
				ts.Setenv("QUORATE_SERVER", w.server.URL)
				worlds.Store(ts, w)
				ts.Defer(func() { worlds.Delete(ts) })
			},
			"vote":      inWorld(5, scriptVote),
			"facts":     inWorld(3, scriptFacts),
			"upload":    inWorld(1, scriptUpload),
			"log":       inWorld(2, scriptLog),
			"logstate":  inWorld(3, scriptLogState),
			"novote":    inWorld(5, scriptNoVote),
			"sign":      inWorld(3, scriptSign),
			"refuse":    inWorld(5, scriptRefuse),
			"fault":     inWorld(1, scriptFault),
			"connected": inWorld(1, scriptConnected),
			"resumed":   inWorld(2, scriptResumed),
			"forge":     scriptForge,

			"signstar-request":   scriptSignstarRequest,
			"signstar-signature": scriptSignstarSignature,

			"gpgverify": scriptGPG,
			"sshverify": scriptSSH,
		},
	})
}

// worlds has the world of each running script.
var worlds sync.Map

// inWorld makes a script command of a function on the script's world. A panic of
// the world is a mistake in the script.
func inWorld(args int, do func(*testscript.TestScript, *world, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, a []string) {
		w, ok := worlds.Load(ts)
		if !ok || len(a) != args {
			ts.Fatalf("needs serve before it, and %d arguments", args)
		}
		do(ts, w.(*world), a)
	}
}

func caseOf(channel, target string) statement.Case {
	return statement.Case{Channel: channel, Target: target}
}

// vote BUILDER CHANNEL TARGET FILE NAME
func scriptVote(ts *testscript.TestScript, w *world, a []string) {
	name, err := strconv.Unquote(`"` + a[4] + `"`)
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	file := artifactOf(ts.MkAbs(a[3]), name)
	if a[1] == "files" {
		file.Signables = []statement.Signable{linesOf(ts.ReadFile(a[3])).Signable()}
	}
	w.state(a[0], caseOf(a[1], a[2]), &statement.Statement{Artifacts: []statement.Artifact{file}})
}

// novote BUILDER CHANNEL TARGET STATUS REASON
func scriptNoVote(ts *testscript.TestScript, w *world, a []string) {
	reason, err := strconv.Unquote(`"` + a[4] + `"`)
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state(a[0], caseOf(a[1], a[2]), &statement.Statement{Status: statement.Status(a[3]), Reason: reason})
}

// sign CHANNEL TARGET NAME
func scriptSign(_ *testscript.TestScript, w *world, a []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sign(caseOf(a[0], a[1]), a[2])
}

// refuse CHANNEL TARGET NAME CODE retryable|final
func scriptRefuse(_ *testscript.TestScript, w *world, a []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse(caseOf(a[0], a[1]), a[2], quorum.RefusalCode(a[3]), a[4] == "retryable")
}

// fault mute|unmute|reset|drop|none or the name of a fault of the server
func scriptFault(_ *testscript.TestScript, w *world, a []string) {
	if a[0] == "drop" {
		w.drop()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a[0] {
	case "mute", "unmute":
		w.muted = a[0] == "mute"
	case "reset":
		w.reset++
		w.wake()
	case "none":
		w.fault = ""
	default:
		w.fault = a[0]
	}
}

// connected N: N streams of events were opened in all, the last one by somebody
// who has read the state since
func scriptConnected(ts *testscript.TestScript, w *world, a []string) {
	n, err := strconv.Atoi(a[0])
	ts.Check(err)
	if !w.await(n) {
		ts.Fatalf("there are no %d streams", n)
	}
}

// resumed N ID: the N-th stream asked for what came after the event ID
func scriptResumed(ts *testscript.TestScript, w *world, a []string) {
	n, err := strconv.Atoi(a[0])
	ts.Check(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.resume[n-1]; got != a[1] {
		ts.Fatalf("Last-Event-ID %q, want %q", got, a[1])
	}
}

// forge KIND IN OUT
func scriptForge(ts *testscript.TestScript, _ bool, a []string) {
	ts.Check(os.WriteFile(ts.MkAbs(a[2]), forge(a[0], []byte(ts.ReadFile(a[1]))), 0o644))
}

// gpgverify CERT SIGNATURE FILE
func scriptGPG(ts *testscript.TestScript, neg bool, a []string) {
	home, err := os.MkdirTemp("", "gpg") // the work folder's path may be too long for a socket
	ts.Check(err)
	defer os.RemoveAll(home)
	gpg := func(args ...string) error {
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-tty", "--no-autostart", "--trust-model", "always"}, args...)...)
		out, err := cmd.CombinedOutput()
		ts.Logf("%s", out)
		return err
	}
	ts.Check(gpg("--import", ts.MkAbs(a[0])))
	if err := gpg("--verify", ts.MkAbs(a[1]), ts.MkAbs(a[2])); (err != nil) != neg {
		ts.Fatalf("gpg --verify: %v", err)
	}
}

// sshverify PUBLIC SIGNATURE FILE
func scriptSSH(ts *testscript.TestScript, neg bool, a []string) {
	allowed := ts.MkAbs("allowed_signers")
	ts.Check(os.WriteFile(allowed, []byte(`us namespaces="file" `+ts.ReadFile(a[0])), 0o600))
	file, err := os.Open(ts.MkAbs(a[2]))
	ts.Check(err)
	defer file.Close()
	cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "us", "-n", "file", "-s", ts.MkAbs(a[1]))
	cmd.Stdin = file
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	if (err != nil) != neg {
		ts.Fatalf("ssh-keygen -Y verify: %v", err)
	}
}
