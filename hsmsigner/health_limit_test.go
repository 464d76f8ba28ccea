//go:build linux

package hsmsigner_test

import (
	"errors"
	"net"
	"testing"

	"quorate/hsmsigner"
)

// TestHealthAnswersACrowd: more at once than have a place are answered one after
// the other.
func TestHealthAnswersACrowd(t *testing.T) {
	ownToken(t)
	s := openHealthy(t, "127.0.0.1:0")
	if n := hsmsigner.HealthPlaces(s.service); n < 8 || n > 64 {
		t.Errorf("health takes %d connections", n)
	}
	s.client.CloseIdleConnections()
	errs := make(chan error)
	const many = 200
	for range many {
		go func() {
			c, err := net.Dial("tcp", hsmsigner.HealthAddress(s.service))
			if err == nil {
				_, err = c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
			}
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if c != nil {
				err = errors.Join(err, c.Close())
			}
			errs <- err
		}()
	}
	for range many {
		check(t, <-errs)
	}
}
