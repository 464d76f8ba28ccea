package main

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"quorate/internal/bus"
	"quorate/internal/pgpsig"
	"quorate/quorum/statement"
)

// TestCoordinatorScripts runs the scripts of the commands for whoever runs the
// coordinator. Each finds a policy, its certificate and the public key of a
// builder on the bus, as UKEY; SEED is the secret that belongs to it.
func TestCoordinatorScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "coordinator*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files: files, UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			seed, public, err := bus.GenerateSeed()
			if err != nil {
				return err
			}
			e.Setenv("UKEY", public)
			e.Setenv("SEED", string(seed))
			return coordinatorFiles(e.WorkDir)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": awaitCoordinator},
	})
}

func coordinatorFiles(dir string) error {
	builder := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := statement.NewPublicKey(builder.Public())
	if err != nil {
		return err
	}
	policy := fmt.Sprintf("version = 1\nexpires = 2100-01-01T00:00:00Z\n[[operator]]\nname = \"alice\"\n[[operator.builder]]\nname = \"alice\"\nkey = %q\n"+
		"[[channel]]\nname = \"core\"\ntargets = [\"pkg:*\"]\nquorum = \"alice\"\nsign = [{format = \"openpgp\", key = \"core-key\"}]\n", public)
	if err := os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(policy), 0o600); err != nil {
		return err
	}
	sign := func(_ crypto.Hash, digest []byte) ([]byte, error) { return ed25519.Sign(builder, digest), nil }
	cert, err := pgpsig.MakeCertificate(builder.Public(), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), "test", sign)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "core-key.asc"), cert, 0o600)
}

// awaitCoordinator waits until the coordinator of a state directory answers, by
// trying to connect as one of its users would.
func awaitCoordinator(ts *testscript.TestScript, _ bool, args []string) {
	state := ts.MkAbs(args[0])
	for deadline := time.Now().Add(time.Minute); ; {
		url, err := os.ReadFile(filepath.Join(state, "bus-url"))
		if err == nil {
			ts.Setenv("QUORATE_NATS", string(url[:len(url)-1]))
			var conn *bus.Conn
			conn, err = bus.Connect(bus.Options{URL: string(url[:len(url)-1]), Name: "tooling", SeedFile: filepath.Join(state, "tooling.nk")})
			if err == nil {
				conn.Close()
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the coordinator does not answer: %v", err)
		}
	}
}
