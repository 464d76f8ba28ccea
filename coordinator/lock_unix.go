//go:build unix && !solaris && !illumos && !aix

package coordinator

import (
	"os"
	"syscall"
)

// lockFile takes an exclusive lock that ends with the process, however it ends.
// Two processes on one state directory would undo each other's work.
func lockFile(path string) (*os.File, error) { return lock(path, syscall.LOCK_NB) }

// awaitLock is lockFile that waits for its turn.
func awaitLock(path string) (*os.File, error) { return lock(path, 0) }

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|how); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
