//go:build !unix || solaris || illumos || aix

package coordinator

// descriptors is how many files this process may have open, as far as is known.
func descriptors() uint64 { return 1024 }
