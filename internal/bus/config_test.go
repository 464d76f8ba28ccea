package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"quorate/internal/bus"
)

// The text works for a server started from a file, as people who run their own
// NATS do it.
func TestServerConfigOnAnExternalServer(t *testing.T) {
	b := newBroker(t)
	b.Shutdown()
	path := filepath.Join(b.dir, "nats.conf")
	config := bus.ConfigOptions{ServerName: "own", Listen: "127.0.0.1:-1", StoreDir: filepath.Join(b.dir, "own store")}
	check(t, os.WriteFile(path, []byte(bus.ServerConfig(b.users, config)), 0o600))
	opts := must(server.ProcessConfigFile(path))(t)
	if !opts.SyncAlways || opts.MaxPayload != bus.MaxPayload {
		t.Errorf("sync always %v, max payload %d", opts.SyncAlways, opts.MaxPayload)
	}
	opts.NoSigs, opts.NoLog = true, true
	s := must(server.NewServer(opts))(t)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(testLimit) {
		t.Fatal("server does not get ready")
	}

	o := b.options("coord")
	o.URL = s.ClientURL()
	coord := must(bus.Connect(o))(t)
	defer coord.Close()
	check(t, bus.EnsureStreams(testContext(t), coord.JS(), 1))
	o = b.options("alice")
	o.URL = s.ClientURL()
	alice := must(bus.Connect(o))(t)
	defer alice.Close()
	check(t, publish(t, alice, "quorate.statements.core.alice", "mine"))
	wantDenied(t, publish(t, alice, "quorate.statements.core.bob", "not mine"), "quorate.statements.core.bob")

	b.enrol("carol", bus.RoleBuilder)
	check(t, os.WriteFile(path, []byte(bus.ServerConfig(b.users, config)), 0o600))
	check(t, s.Reload())
	check(t, s.Reload()) // as the text says
	o = b.options("carol")
	o.URL = s.ClientURL()
	carol := must(bus.Connect(o))(t)
	defer carol.Close()
	check(t, publish(t, carol, "quorate.statements.core.carol", "mine"))
	check(t, publish(t, alice, "quorate.statements.core.alice", "still mine"))
}

func TestServerConfigLeavesOutInvalidUsers(t *testing.T) {
	_, public, err := bus.GenerateSeed()
	check(t, err)
	text := bus.ServerConfig([]bus.User{
		{Name: "evil\n}\naccounts { OPEN", Role: bus.RoleBuilder, NKey: public},
		{Name: "x", Role: "root", NKey: public},
	}, bus.ConfigOptions{})
	if strings.Contains(text, public) || strings.Contains(text, "\naccounts { OPEN") {
		t.Errorf("an invalid user got in:\n%s", text)
	}
}
