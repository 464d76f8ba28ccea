package freeport_test

import (
	"net"
	"testing"

	"quorate/internal/freeport"
)

func TestPick(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port, err := freeport.Pick()
		if err != nil || seen[port] {
			t.Fatalf("port %d, given before: %v; %v", port, seen[port], err)
		}
		seen[port] = true
		l, err := net.Listen("tcp", freeport.Address(port))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
