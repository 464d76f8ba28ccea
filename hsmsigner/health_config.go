package hsmsigner

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// HealthConfig is where the signer says how it is, to the machine that it runs on.
// It is off as long as Listen is empty.
type HealthConfig struct {
	// Listen is a loopback address such as "127.0.0.1:9464", or "unix:" and the
	// path of a socket, which the owner and the group of the process can use.
	Listen string `toml:"listen"`

	// Canary is the pause between two test signatures of each key, give or take a
	// tenth; "5m" if it is zero.
	Canary Duration `toml:"canary"`
}

const (
	defaultCanary = Duration(5 * time.Minute)
	minCanary     = Duration(time.Second)
	maxCanary     = Duration(24 * time.Hour)

	// unixPrefix stands before the path of a socket.
	unixPrefix = "unix:"
)

// Check reports what is wrong with the configuration.
func (h *HealthConfig) Check() error {
	path, isPath := strings.CutPrefix(h.Listen, unixPrefix)
	switch {
	case h.Canary != 0 && (h.Canary < minCanary || h.Canary > maxCanary):
		return fmt.Errorf("health: canary is %s, want %s to %s", h.Canary, minCanary, maxCanary)
	case h.Listen == "" && h.Canary != 0:
		return errors.New("health: canary is set and listen is missing: nobody would see it")
	case isPath && path == "":
		return errors.New("health: listen has no path behind its unix: prefix")
	case h.Listen == "" || isPath:
		return nil
	}
	addr, err := netip.ParseAddrPort(h.Listen)
	if err != nil {
		return fmt.Errorf("health: listen %q is neither unix:PATH nor ADDRESS:PORT with a number for the address", h.Listen)
	}
	if !addr.Addr().IsLoopback() {
		return fmt.Errorf("health: listen %q is not loopback: the signer is not reached from other machines (hint: 127.0.0.1:%d, or unix:PATH)",
			h.Listen, addr.Port())
	}
	return nil
}

// resolve makes the path of a socket relative to the file's folder.
func (h *HealthConfig) resolve(dir string) {
	if path, isPath := strings.CutPrefix(h.Listen, unixPrefix); isPath && !filepath.IsAbs(path) {
		h.Listen = unixPrefix + filepath.Join(dir, path)
	}
}
