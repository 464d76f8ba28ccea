package hsmsigner

import (
	"net"
	"sync"
)

// maxHealthConns is how many connections health has at a time. Any account of the
// machine may open them on loopback, and each takes a descriptor that the signer
// needs for its token, its ledger and the bus.
const maxHealthConns = 32

// limitedListener leaves connections beyond a number with the system until one of
// those that are open ends.
type limitedListener struct {
	net.Listener
	places chan struct{} // has one for each open connection
	closed chan struct{}
	once   sync.Once // closes closed
}

func limitListener(l net.Listener, most int) *limitedListener {
	return &limitedListener{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept waits for a place, and then for a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, from: l}, nil
}

// Close also ends an Accept that waits for a place.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	from *limitedListener
	once sync.Once // gives the place back
}

// Close gives the place back once, however often it is called.
func (c *limitedConn) Close() error {
	defer c.once.Do(func() { <-c.from.places })
	return c.Conn.Close()
}
