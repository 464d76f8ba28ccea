package coordinator_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

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
