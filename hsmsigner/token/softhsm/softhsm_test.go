package softhsm_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quorate/hsmsigner/token/softhsm"
)

func TestFind(t *testing.T) {
	t.Setenv(softhsm.EnvModule, "")
	path, err := softhsm.Find()
	if err != nil {
		t.Fatalf("%v: run make test, which installs it", err)
	}
	if filepath.Base(path) != "libsofthsm2.so" {
		t.Errorf("found %s", path)
	}
	other := filepath.Join(t.TempDir(), "mine.so")
	t.Setenv(softhsm.EnvModule, other)
	if _, err := softhsm.Find(); err == nil || !strings.Contains(err.Error(), softhsm.EnvModule) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := softhsm.Find(); err != nil || got != other {
		t.Errorf("%s, %v", got, err)
	}
}

func TestNewConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hsm")
	conf, err := softhsm.NewConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{conf: 0o600, filepath.Join(dir, "tokens"): 0o700 | os.ModeDir, dir: 0o700 | os.ModeDir} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	text, err := os.ReadFile(conf)
	if err != nil || !strings.Contains(string(text), "directories.tokendir = "+dir+"/tokens\n") {
		t.Errorf("%s, %v", text, err)
	}
	kryoptic := softhsm.Env(conf)[softhsm.EnvKryoptic]
	text, err = os.ReadFile(kryoptic)
	if err != nil || !strings.Contains(string(text), "dbtype = \"sqlite\"\ndbargs = \""+dir+"/tokens/kryoptic-0.sql\"\n") {
		t.Errorf("%s, %v", text, err)
	}
	if got := softhsm.Environ([]string{"A=b"}, conf); len(got) != 3 || got[0] != "A=b" || !slices.Contains(got, "KRYOPTIC_CONF="+kryoptic) {
		t.Errorf("environment %q", got)
	}
	if _, err := softhsm.NewConfig(dir); err == nil {
		t.Error("an existing configuration was overwritten")
	}
	if _, err := softhsm.NewConfig(filepath.Join(t.TempDir(), "a\nb")); err == nil {
		t.Error("a folder name with a line break was accepted")
	}
}
