package client

import "testing"

// SetMaxPages makes lists end sooner, until the test does.
func SetMaxPages(t *testing.T, n int) {
	old := maxPages
	maxPages = n
	t.Cleanup(func() { maxPages = old })
}
