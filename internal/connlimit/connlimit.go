// Package connlimit bounds how many connections of a listener are open at a time.
package connlimit

import (
	"net"
	"sync"
)

// Listener leaves connections beyond a number with the system until one of
// those that are open ends.
type Listener struct {
	net.Listener
	places chan struct{} // has one for each open connection
	closed chan struct{}
	once   sync.Once // closes closed
}

// New bounds l to so many connections.
func New(l net.Listener, most int) *Listener {
	return &Listener{Listener: l, places: make(chan struct{}, most), closed: make(chan struct{})}
}

// Most is how many connections may be open at a time.
func (l *Listener) Most() int { return cap(l.places) }

// Accept waits for a place, and then for a connection.
func (l *Listener) Accept() (net.Conn, error) {
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
	return &conn{Conn: c, from: l}, nil
}

// Close also ends an Accept that waits for a place.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type conn struct {
	net.Conn
	from *Listener
	once sync.Once // gives the place back
}

// Close gives the place back once, however often it is called.
func (c *conn) Close() error {
	defer c.once.Do(func() { <-c.from.places })
	return c.Conn.Close()
}
