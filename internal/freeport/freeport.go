// Package freeport picks ports on loopback for what is configured before it runs: the
// processes of a test, and a bus that comes back where it was.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Below what Linux gives to sockets that name no port: between the choice and its
// use nobody is given the port by chance.
const (
	first = 20000
	ports = 12000
)

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Pick returns a port of 127.0.0.1 that nothing listens on, and that it has not
// returned before.
func Pick() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 100 {
		port := first + rand.IntN(ports)
		if given[port] {
			continue
		}
		l, err := net.Listen("tcp", Address(port))
		if err != nil {
			continue // somebody has it
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		given[port] = true
		return port, nil
	}
	return 0, errors.New("find a free port: none of 100 was free")
}

// Address is the port on loopback, as configurations have it.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
