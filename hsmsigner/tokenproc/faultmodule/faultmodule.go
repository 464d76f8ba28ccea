//go:build linux

// Package faultmodule is a PKCS#11 module for tests: SoftHSM with faults that a
// test turns on and off while it is in use, by whatever process.
package faultmodule

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"quorate/hsmsigner/token/softhsm"
)

//go:embed testdata/fault.c
var source []byte

// Module is the module of one test.
type Module struct {
	Library string // its path
	Dir     string // its faults, and what it writes
}

// New compiles the module. Processes that load it must have the environment of
// the test, which New changes.
func New(t testing.TB) Module {
	t.Helper()
	real, err := softhsm.Find()
	check(t, err)
	dir := t.TempDir()
	m := Module{filepath.Join(dir, "fault.so"), dir}
	code := filepath.Join(dir, "fault.c")
	check(t, os.WriteFile(code, source, 0o600))
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", m.Library, code, "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("compile the faulty module (make test installs a C compiler): %v\n%s", err, out)
	}
	t.Setenv("FAULT_DIR", dir)
	t.Setenv("FAULT_MODULE", real)
	return m
}

// Set makes a call do wrong from now on.
func (m Module) Set(t testing.TB, call string, faults ...string) {
	t.Helper()
	for _, fault := range faults {
		check(t, os.WriteFile(m.path(call, fault), nil, 0o600))
	}
}

// Clear ends a fault.
func (m Module) Clear(t testing.TB, call, fault string) {
	t.Helper()
	check(t, os.Remove(m.path(call, fault)))
}

// Calls returns how often the module was called.
func (m Module) Calls(t testing.TB, call string) int {
	t.Helper()
	calls, err := os.ReadFile(m.path(call, "calls"))
	if !os.IsNotExist(err) {
		check(t, err)
	}
	return len(calls)
}

// Hangs returns a channel that gets something each time the call hangs.
func (m Module) Hangs(t testing.TB, call string) <-chan struct{} {
	t.Helper()
	path := m.path(call, "hangs")
	check(t, syscall.Mkfifo(path, 0o600))
	r, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	t.Cleanup(func() { r.Close() })
	hangs := make(chan struct{}, 10)
	go func() {
		for {
			if _, err := r.Read(make([]byte, 1)); err != nil {
				return
			}
			hangs <- struct{}{}
		}
	}()
	return hangs
}

func (m Module) path(call, what string) string { return filepath.Join(m.Dir, call+"."+what) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
