package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"quorate/hsmsigner/token/softhsm"
)

func TestMain(m *testing.M) {
	// The race detector lets each process sleep a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	testscript.Main(m, map[string]func(){"quorate-signer": main, "foreign-key": foreignKey})
}

// TestScripts runs the command as people do, one topic a file. Each has a soft
// token library of its own, and the PINs that it uses never appear.
func TestScripts(t *testing.T) {
	module, err := softhsm.Find()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			conf, err := softhsm.NewConfig(filepath.Join(env.WorkDir, "softhsm"))
			for name, value := range softhsm.Env(conf) {
				env.Setenv(name, value)
			}
			env.Setenv("MODULE", module)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "chmodpin": chmodPIN},
	})
}

// code runs a command and wants an exit code: code N COMMAND... . It also wants
// that no PIN of the script's files is shown.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	shown := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	for _, path := range pinFiles(ts) {
		pin, err := os.ReadFile(path)
		if pin = bytes.TrimSpace(pin); err == nil && len(pin) > 0 && strings.Contains(shown, string(pin)) {
			ts.Fatalf("the output shows the PIN of %s", filepath.Base(path))
		}
	}
}

func pinFiles(ts *testscript.TestScript) []string {
	files, err := filepath.Glob(ts.MkAbs("*pin*"))
	ts.Check(err)
	return files
}

// chmodPIN gives the PIN files of a script the mode that they need: an archive
// keeps no modes.
func chmodPIN(ts *testscript.TestScript, _ bool, _ []string) {
	for _, path := range pinFiles(ts) {
		ts.Check(os.Chmod(path, 0o600))
	}
}
