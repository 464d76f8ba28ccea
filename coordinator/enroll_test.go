package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/internal/bus"
)

// Everybody who enrols at the same moment is enrolled.
func TestEnrolAtTheSameInstant(t *testing.T) {
	w := newWorld(t)
	const n = 30
	var all []bus.User
	for i := range n {
		name := fmt.Sprintf("tool-%d", i)
		all = append(all, bus.User{Name: name, Role: bus.RoleTooling, NKey: must(bus.WriteSeedFile(w.path(name + ".nk")))(t)})
	}
	var wg sync.WaitGroup
	for _, u := range all {
		wg.Go(func() {
			if changed, err := coordinator.Enroll(w.state(), u); err != nil || !changed {
				t.Errorf("%s: %t, %v", u.Name, changed, err)
			}
		})
	}
	wg.Wait()
	found := map[string]bool{}
	for _, u := range must(bus.LoadUsers(filepath.Join(w.state(), "users.toml")))(t) {
		found[u.Name] = true
	}
	for _, u := range all {
		if !found[u.Name] {
			t.Errorf("%s was lost", u.Name)
		}
	}
}

// When enrolling has returned, the bus answers: a signer of a new key finds the
// consumer that it reads with.
func TestEnrolledIsAdmitted(t *testing.T) {
	w := newWorld(t)
	check(t, coordinator.AwaitAdmission(limit(t), w.state())) // nobody runs
	w.start()
	for i := range 5 {
		name := fmt.Sprintf("signer-%d", i)
		public := must(bus.WriteSeedFile(w.path(name + ".nk")))(t)
		must(coordinator.Enroll(w.state(), bus.User{Name: name, Role: bus.RoleSigner, NKey: public, Keys: []string{"key-of-" + name}}))(t)
		check(t, coordinator.AwaitAdmission(limit(t), w.state()))
		must(w.as(name).SignerConsumer(limit(t), "key-of-"+name))(t)
	}
	address := must(os.ReadFile(filepath.Join(w.state(), "bus-url")))(t)
	w.stop()
	// What a killed coordinator leaves behind holds nobody up.
	check(t, os.WriteFile(filepath.Join(w.state(), "bus-url"), address, 0o600))
	check(t, coordinator.AwaitAdmission(limit(t), w.state()))
}

// A coordinator that cannot use the file of users lets nobody believe that they
// are in.
func TestNotAdmitted(t *testing.T) {
	w := newWorld(t)
	w.start()
	path := filepath.Join(w.state(), "users.toml")
	good := must(os.ReadFile(path))(t)
	check(t, os.WriteFile(path, append(good, "[[user]]\n"...), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := coordinator.AwaitAdmission(ctx, w.state()); !errors.Is(err, coordinator.ErrNotAdmitted) {
		t.Errorf("admitted: %v", err)
	}
	check(t, os.WriteFile(path, good, 0o600))
	check(t, coordinator.AwaitAdmission(limit(t), w.state()))
}
