package coordinator_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/freeport"
	"quorate/quorum"
)

// ownNATS is a NATS server that is not the coordinator's.
func (w *world) ownNATS(port int) *embedded.Server {
	w.t.Helper()
	users := must(bus.LoadUsers(filepath.Join(w.state(), "users.toml")))(w.t)
	s := must(embedded.Start(embedded.Options{StoreDir: w.path("nats"), Port: port, Users: users, Logger: quiet()}))(w.t)
	w.t.Cleanup(s.Shutdown)
	return s
}

// useNATS points the configuration of the state directory to a server.
func (w *world) useNATS(addr string) {
	w.t.Helper()
	for _, name := range []string{"users.toml", "coordinator.nk", "signer.nk", "tooling.nk"} {
		check(w.t, os.Rename(filepath.Join(w.state(), name), w.path("keep-"+name)))
	}
	check(w.t, os.RemoveAll(w.state()))
	check(w.t, coordinator.Init(coordinator.InitOptions{State: w.state(), Policy: w.path("policy.toml"), NATS: addr, Listen: "127.0.0.1:0", Now: time.Now()}))
	for _, name := range []string{"users.toml", "coordinator.nk", "signer.nk", "tooling.nk"} {
		check(w.t, os.Rename(w.path("keep-"+name), filepath.Join(w.state(), name)))
	}
	check(w.t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), w.cert.Bytes(), 0o600))
}

func TestNATSOfOnesOwnComesAndGoes(t *testing.T) {
	w := newWorld(t)
	port := must(freeport.Pick())(t)
	s := w.ownNATS(port)
	w.useNATS(s.URL())
	s.Shutdown()
	c := w.start() // nobody is there yet
	if status, _ := w.fetch("/readyz"); status != 503 {
		t.Errorf("readyz: status %d without a bus", status)
	}
	s = w.ownNATS(port)
	check(t, coordinator.AwaitAttached(limit(t), c))
	w.agree("alice", "bob")
	w.wantState(quorum.Waiting)
	s.Shutdown()
	s = w.ownNATS(port)
	check(t, coordinator.AwaitConnected(limit(t), c))
	w.agree("carol")
	w.wantState(quorum.Agreed)

	// Now it comes back without what it had.
	s.Shutdown()
	check(t, os.RemoveAll(w.path("nats")))
	w.ownNATS(port)
	wantStreamError(t, c.Wait())
}
