package coordinator_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/internal/bus"
)

// wantConfigError fails unless the error is one for the person who configures,
// says the text, and has a hint.
func wantConfigError(t *testing.T, err error, text string) {
	t.Helper()
	var ce *coordinator.ConfigError
	if !errors.As(err, &ce) {
		t.Fatalf("got error %v, want a ConfigError", err)
	}
	if !strings.Contains(err.Error(), text) || ce.Hint == "" {
		t.Errorf("error %q, hint %q, want %q and a hint", err, ce.Hint, text)
	}
}

// Somebody else has the port: which setting to change is said.
func TestAddressInUse(t *testing.T) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	taken := l.Addr().String()
	for text, o := range map[string]coordinator.InitOptions{
		"nats.listen: ": {Listen: "127.0.0.1:0", BusListen: taken},
		"listen: ":      {Listen: taken, BusListen: "127.0.0.1:0"},
	} {
		w := newWorld(t)
		o.State, o.Policy, o.Now = w.path("second"), w.path("policy.toml"), time.Now()
		check(t, coordinator.Init(o))
		check(t, os.WriteFile(filepath.Join(o.State, "core-key.asc"), must(os.ReadFile(filepath.Join(w.state(), "core-key.asc")))(t), 0o600))
		_, err := coordinator.Start(t.Context(), coordinator.Options{State: o.State, Log: quiet()})
		wantConfigError(t, err, text)
		wantConfigError(t, err, "address already in use")
	}
}

func TestInitRefusesWhatExists(t *testing.T) {
	w := newWorld(t)
	err := coordinator.Init(coordinator.InitOptions{State: w.state(), Policy: w.path("policy.toml"), Now: time.Now()})
	wantConfigError(t, err, "not empty")
	err = coordinator.Init(coordinator.InitOptions{State: w.path("new"), Policy: w.path("missing.toml"), Now: time.Now()})
	wantConfigError(t, err, "no such file")
	if _, err := os.Stat(w.path("new")); err == nil {
		t.Error("a failed init leaves a directory")
	}
	left := must(filepath.Glob(w.path(".quorate-init-*")))(t)
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A package makes the directory for a user who cannot write beside it, and a volume
// comes with a folder of its own: the directory itself must stay.
func TestInitKeepsAnEmptyDirectory(t *testing.T) {
	w := newWorld(t)
	dir := w.path("given")
	check(t, os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755))
	before := must(os.Stat(dir))(t)
	check(t, coordinator.Init(coordinator.InitOptions{State: dir, Policy: w.path("policy.toml"), Now: time.Now()}))
	after := must(os.Stat(dir))(t)
	if !os.SameFile(before, after) {
		t.Error("the directory was replaced")
	}
	if after.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", after.Mode())
	}
	var names []string
	for _, e := range must(os.ReadDir(dir))(t) {
		names = append(names, e.Name())
	}
	want := []string{"coordinator.db", "coordinator.nk", "coordinator.toml", "lost+found", "tooling.nk", "users.toml"}
	if !slices.Equal(names, want) {
		t.Errorf("in it: %q, want %q", names, want)
	}
	must(coordinator.LoadConfig(dir))(t)
	err := coordinator.Init(coordinator.InitOptions{State: dir, Policy: w.path("policy.toml"), Now: time.Now()})
	wantConfigError(t, err, "not empty")
}

func TestSecretsAreForTheOwnerOnly(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"coordinator.nk", "tooling.nk", "users.toml", "coordinator.db", "coordinator.toml", "."} {
		info := must(os.Stat(filepath.Join(w.state(), name)))(t)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestStartRefusesWhatIsNotWhole(t *testing.T) {
	change := func(name, old, with string) func(*world) {
		return func(w *world) {
			path := filepath.Join(w.state(), name)
			text := string(must(os.ReadFile(path))(w.t))
			if !strings.Contains(text, old) {
				w.t.Fatalf("%q is not in %s", old, name)
			}
			check(w.t, os.WriteFile(path, []byte(strings.Replace(text, old, with, 1)), 0o600))
		}
	}
	remove := func(name string) func(*world) {
		return func(w *world) { check(w.t, os.Remove(filepath.Join(w.state(), name))) }
	}
	tests := []struct {
		name  string
		spoil func(*world)
		text  string
	}{
		{"unknown key", change("coordinator.toml", "log =", "logg ="), "unknown key"},
		{"unknown log", change("coordinator.toml", `log = "text"`, `log = "xml"`), "xml"},
		{"bad limit", change("coordinator.toml", "bytes_per_builder_day = 1", "bytes_per_builder_day = -1"), "bytes_per_builder_day is negative"},
		{"bad duration", change("coordinator.toml", `first = "10s"`, `first = "-1s"`), "negative"},
		{"no policy", change("coordinator.toml", "policy.toml", "gone.toml"), "gone.toml"},
		{"no configuration", remove("coordinator.toml"), "no configuration"},
		{"no certificate", remove("core-key.asc"), `certificate of key "core-key"`},
		{"key not configured", change("coordinator.toml", `name = "core-key"`, `name = "old-key"`), `no certificate is configured for key "core-key"`},
		{"certificate is none", func(w *world) {
			check(w.t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), []byte("x"), 0o600))
		}, "parse certificate"},
		{"no users", remove("users.toml"), "users.toml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(w)
			_, err := coordinator.Start(limit(t), w.options())
			wantConfigError(t, err, tt.text)
		})
	}
}

func TestMissingDatabaseIsNeverMade(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.state(), "coordinator.db")
	check(t, os.Remove(path))
	_, err := coordinator.Start(limit(t), w.options())
	wantConfigError(t, err, "there is no database")
	if _, err := os.Stat(path); err == nil {
		t.Error("the database was made by the way")
	}
}

func TestTwoProcessesOnOneStateDirectory(t *testing.T) {
	w := newWorld(t)
	w.start()
	_, err := coordinator.Start(limit(t), w.options())
	wantConfigError(t, err, "lock state directory")
	_, err = coordinator.Rebuild(limit(t), w.options())
	wantConfigError(t, err, "lock state directory")
}

func TestEnrollingWhileItRuns(t *testing.T) {
	w := newWorld(t)
	c := w.start()
	public := must(bus.WriteSeedFile(w.path("late.nk")))(t)
	u := bus.User{Name: "late", Role: bus.RoleBuilder, NKey: public}
	if changed := must(coordinator.Enroll(w.state(), u))(t); !changed {
		t.Error("nothing changed")
	}
	check(t, c.ReloadUsers(limit(t)))
	must(w.as("late").Publish(limit(t), "quorate.statements.core.late", "x", []byte("x")))(t)

	if changed := must(coordinator.Enroll(w.state(), u))(t); changed {
		t.Error("the same user again changes something")
	}
	u.NKey = must(bus.WriteSeedFile(w.path("other.nk")))(t)
	_, err := coordinator.Enroll(w.state(), u)
	wantConfigError(t, err, "taken")
	_, err = coordinator.Enroll(w.state(), bus.User{Name: "boss", Role: bus.RoleCoordinator, NKey: u.NKey})
	wantConfigError(t, err, "not given away")
}

func TestAgentsFindTheirConsumers(t *testing.T) {
	w := newWorld(t)
	w.start()
	for _, name := range builders {
		must(w.as(name).AgentConsumer(limit(t)))(t)
	}
	must(w.as("signer").SignerConsumer(limit(t), "core-key"))(t)
}
