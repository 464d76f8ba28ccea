package connlimit_test

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"quorate/internal/connlimit"
)

// crowd is a listener that always has another connection.
type crowd struct{ net.Listener }

func (crowd) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}

func (crowd) Close() error { return nil }

// TestConnectionsAreLimited: a crowd must not take the descriptors of a process, nor
// keep it from ending.
func TestConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connlimit.New(crowd{}, 3)
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
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		_ = first.Close() // a second time gives no second place
		synctest.Wait()
		if len(conns) != 4 {
			t.Errorf("%d connections, want one more", len(conns))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
