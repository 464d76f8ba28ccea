//go:build !unix || solaris || illumos || aix

package coordinator

import "os"

// lockFile only opens the file: there is no lock that ends with the process.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// awaitLock is lockFile, too: there, nobody must enrol at the same moment.
func awaitLock(path string) (*os.File, error) { return lockFile(path) }
