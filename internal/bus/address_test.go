package bus_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"quorate/internal/bus"
)

func TestCheckAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"nats://127.0.0.1:4222": true, "tls://bus.example.org": true, "nats://[::1]:4222": true, "127.0.0.1:4222": true,
		"nats://a:1, nats://b:2": true, "wss://bus.example.org:443": true,
		"http://127.0.0.1:7780": false, "https://example.org": false, "nats://": false, "nats://a b": false, "": false,
		"nats://a:1,": false, "nats://a:1,http://b": false, "nats://:4222": false, "nats://a:port": false,
	} {
		if err := bus.CheckAddress(address); (err == nil) != good || err != nil && !errors.Is(err, bus.ErrAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// What cannot be an address is refused at once, also by who would try again for
// ever; and no error has a password in it.
func TestConnectRefusesAddress(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "seed")
	must(bus.WriteSeedFile(seed))(t)
	for _, address := range []string{"http://alice:hunter2@127.0.0.1:1", "nats://alice:hunter2@127.0.0.1:port", "nats://b:1,x://alice:hunter2@c"} {
		_, err := bus.Connect(bus.Options{URL: address, Name: "alice", SeedFile: seed, Retry: true})
		if !errors.Is(err, bus.ErrAddress) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
	_, err := bus.Connect(bus.Options{URL: "nats://alice:hunter2@127.0.0.1:1", Name: "alice", SeedFile: seed})
	if !errors.Is(err, bus.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("no server: %v", err)
	}
}
