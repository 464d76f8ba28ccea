//go:build linux

package hsmsigner_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"quorate/hsmsigner"
)

// crowd is a listener that always has another connection.
type crowd struct{ net.Listener }

func (crowd) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}

func (crowd) Close() error { return nil }

// TestHealthConnectionsAreLimited: a crowd on loopback must not take the signer's
// descriptors, nor keep it from ending.
func TestHealthConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := hsmsigner.LimitListener(crowd{}, 3)
		var conns []net.Conn
		ended := make(chan error, 1)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				conns = append(conns, c)
			}
		}()
		synctest.Wait()
		if len(conns) != 3 {
			t.Fatalf("%d connections, want 3", len(conns))
		}
		first := conns[0]
		check(t, first.Close())
		_ = first.Close() // a second time gives no second place
		synctest.Wait()
		if len(conns) != 4 {
			t.Errorf("%d connections, want one more", len(conns))
		}
		check(t, l.Close())
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

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
