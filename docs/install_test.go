package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// install runs make install from programs that stand for the real ones.
func install(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"quorate", "quorate-signer"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("make", append([]string{"--no-print-directory", "-C", "..", "install", "BIN=" + bin}, args...)...).CombinedOutput()
	return string(out), err
}

// A package has these files and no others, with modes for everybody, and no path
// of the folder that it was made in.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	if out, err := install(t, "DESTDIR="+dest, "PREFIX=/usr"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{
		"usr/bin/quorate", "usr/bin/quorate-signer",
		"usr/lib/systemd/system/quorate-agent@.service", "usr/lib/systemd/system/quorate-coordinator.service",
		"usr/lib/systemd/system/quorate-importer@.service", "usr/lib/systemd/system/quorate-signer.service",
		"usr/lib/sysusers.d/quorate.conf", "usr/lib/tmpfiles.d/quorate.conf",
		"usr/share/bash-completion/completions/quorate", "usr/share/bash-completion/completions/quorate-signer",
		"usr/share/doc/quorate/README.md", "usr/share/doc/quorate/openapi.yaml",
		"usr/share/man/man1/quorate-signer.1", "usr/share/man/man1/quorate.1",
	}
	guides, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guides {
		want = append(want, "usr/share/doc/quorate/"+g)
	}
	slices.Sort(want)
	var have []string
	err = fs.WalkDir(os.DirFS(dest), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		have = append(have, path)
		info, err := d.Info()
		if mode := info.Mode().Perm(); err == nil && mode != 0o644 && (mode != 0o755 || !strings.HasPrefix(path, "usr/bin/")) {
			t.Errorf("%s has mode %o", path, mode)
		}
		data, err := os.ReadFile(filepath.Join(dest, path))
		if err == nil && strings.Contains(string(data), dest) {
			t.Errorf("%s has the path %s in it", path, dest)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(have); !slices.Equal(have, want) {
		t.Errorf("installed: %q\nwant: %q", have, want)
	}
}

func TestInstallWithoutBuild(t *testing.T) {
	out, err := install(t, "DESTDIR="+t.TempDir(), "BIN=nowhere")
	if err == nil || !strings.Contains(out, "nowhere/quorate is missing; make build makes it") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The service manager itself reads the units, as they are installed.
func TestUnits(t *testing.T) {
	prefix := t.TempDir()
	if out, err := install(t, "PREFIX="+prefix); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	units, err := filepath.Glob(filepath.Join(prefix, "lib/systemd/system", "*.service"))
	if err != nil || len(units) != 4 {
		t.Fatalf("%q, %v", units, err)
	}
	for _, unit := range units {
		data, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), "\nExecStart="+prefix+"/bin/quorate") {
			t.Errorf("%s does not start the program that was installed", unit)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: the units were not verified")
	}
	out, err := exec.Command(analyze, append([]string{"--man=no", "verify"}, units...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// Go itself is not fetched by the makefile: whoever has an older one must know.
func TestReadmeNamesTheGoThatIsNeeded(t *testing.T) {
	mod, readme := read(t, "../go.mod"), read(t, "../README.md")
	_, rest, _ := strings.Cut(mod, "\ngo ")
	need := strings.Split(strings.Fields(rest)[0], ".")
	if want := "Go (" + need[0] + "." + need[1] + " or later)"; !strings.Contains(readme, want) {
		t.Errorf("README.md does not say %q", want)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
