// Package softhsm finds SoftHSM and configures it for tests and demonstrations.
// It loads nothing and needs no cgo. SoftHSM keeps keys in files: it is a
// stand-in for a token, not a place for a key that matters.
//
// Another module can take its place, by [EnvModule]: one that uses SoftHSM, such
// as p11-kit's proxy, or Kryoptic, whose configuration is written beside.
package softhsm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Environment variables: EnvModule overrides the search for the library,
// EnvConf is where SoftHSM itself looks for its configuration, and EnvKryoptic
// where Kryoptic does.
const (
	EnvModule   = "SOFTHSM2_MODULE"
	EnvConf     = "SOFTHSM2_CONF"
	EnvKryoptic = "KRYOPTIC_CONF"
)

// kryopticSlots is how many tokens a test may make. SoftHSM always has a free
// slot more, Kryoptic those that are configured.
const kryopticSlots = 8

// Env are the variables, as name and value, by which modules find what
// [NewConfig] made.
func Env(conf string) map[string]string {
	return map[string]string{EnvConf: conf, EnvKryoptic: filepath.Join(filepath.Dir(conf), "kryoptic.conf")}
}

// Environ is the environment with the variables of [Env].
func Environ(environ []string, conf string) []string {
	for name, value := range Env(conf) {
		environ = append(environ, name+"="+value)
	}
	return environ
}

// places where distributions install the library; the patterns cover the
// multiarch folders of Debian and Ubuntu.
var places = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/*/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib/pkcs11/libsofthsm2.so",
	"/usr/lib64/libsofthsm2.so",
	"/usr/lib/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Find returns the path of SoftHSM's PKCS#11 library.
func Find() (string, error) {
	if path := os.Getenv(EnvModule); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find softhsm: %s: %w", EnvModule, err)
		}
		return path, nil
	}
	for _, place := range places {
		// The patterns are constant and well formed, so there is no error.
		if found, _ := filepath.Glob(place); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("find softhsm: libsofthsm2.so is not installed; install the package softhsm2 (Debian, Ubuntu) or softhsm (Fedora, Arch), or set %s", EnvModule)
}

// NewConfig makes a token folder and a softhsm2.conf below dir and returns the
// path of the latter, for the environment variable SOFTHSM2_CONF. Both are
// readable by their owner only. An existing configuration is an error: it may
// belong to tokens that hold keys.
func NewConfig(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("configure softhsm: %w", err)
	}
	if strings.ContainsAny(dir, "\n\r") {
		return "", fmt.Errorf("configure softhsm: folder name contains a line break")
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return "", fmt.Errorf("configure softhsm: %w", err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	f, err := os.OpenFile(conf, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("configure softhsm: %w", err)
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tokens)
	if err != nil {
		return "", fmt.Errorf("configure softhsm: %w", err)
	}
	return conf, writeKryoptic(Env(conf)[EnvKryoptic], tokens)
}

// writeKryoptic writes the configuration of Kryoptic (kryoptic.conf(5)): a token is
// an SQLite file, which it makes itself.
func writeKryoptic(path, tokens string) error {
	var b strings.Builder
	for n := range kryopticSlots {
		fmt.Fprintf(&b, "[[slots]]\nslot = %d\ndbtype = \"sqlite\"\ndbargs = %q\n", n, filepath.Join(tokens, fmt.Sprintf("kryoptic-%d.sql", n)))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("configure kryoptic: %w", err)
	}
	return nil
}
