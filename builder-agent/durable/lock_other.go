//go:build !unix || solaris || illumos || aix

package durable

import "errors"

// Lock refuses: without a lock that ends with the process, two senders could
// not be kept apart.
func Lock(string, bool) (unlock func(), err error) {
	return nil, errors.New("file locks are not supported on this system")
}
