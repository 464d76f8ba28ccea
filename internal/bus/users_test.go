package bus_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/bus"
)

func newUser(t *testing.T, name string, role bus.Role, keys ...string) bus.User {
	t.Helper()
	_, public, err := bus.GenerateSeed()
	check(t, err)
	return bus.User{Name: name, Role: role, NKey: public, Keys: keys}
}

func TestUsersRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.toml")
	want := []bus.User{
		newUser(t, "coord", bus.RoleCoordinator), newUser(t, "alice", bus.RoleBuilder),
		newUser(t, "hsm", bus.RoleSigner, "core-2026", "extra-2026"),
	}
	check(t, bus.SaveUsers(path, want[:1]))
	check(t, bus.SaveUsers(path, want))
	if diff := cmp.Diff(want, must(bus.LoadUsers(path))(t)); diff != "" {
		t.Error(diff)
	}
	entries := must(os.ReadDir(filepath.Dir(path)))(t)
	if len(entries) != 1 {
		t.Errorf("files left behind: %v", entries)
	}
	if mode := must(os.Stat(path))(t).Mode(); mode != 0o600 {
		t.Errorf("mode %v", mode)
	}
}

func TestInvalidUsers(t *testing.T) {
	alice, hsm := newUser(t, "alice", bus.RoleBuilder), newUser(t, "hsm", bus.RoleSigner, "k")
	seed, _, err := bus.GenerateSeed()
	check(t, err)
	change := func(u bus.User, f func(*bus.User)) bus.User { f(&u); return u }
	for name, users := range map[string][]bus.User{
		"repeated name":      {alice, change(hsm, func(u *bus.User) { u.Name = "alice" })},
		"repeated nkey":      {alice, change(hsm, func(u *bus.User) { u.NKey = alice.NKey })},
		"empty name":         {change(alice, func(u *bus.User) { u.Name = "" })},
		"wildcard":           {change(alice, func(u *bus.User) { u.Name = "*" })},
		"two tokens":         {change(alice, func(u *bus.User) { u.Name = "a.b" })},
		"seed as nkey":       {change(alice, func(u *bus.User) { u.NKey = string(seed) })},
		"broken nkey":        {change(alice, func(u *bus.User) { u.NKey = u.NKey[:len(u.NKey)-1] })},
		"unknown role":       {change(alice, func(u *bus.User) { u.Role = "root" })},
		"no role":            {change(alice, func(u *bus.User) { u.Role = "" })},
		"signer without key": {change(hsm, func(u *bus.User) { u.Keys = nil })},
		"wildcard key":       {change(hsm, func(u *bus.User) { u.Keys = []string{"*"} })},
		"repeated key":       {change(hsm, func(u *bus.User) { u.Keys = []string{"k", "k"} })},
		"builder with keys":  {change(alice, func(u *bus.User) { u.Keys = []string{"k"} })},
	} {
		path := filepath.Join(t.TempDir(), "users.toml")
		err := bus.SaveUsers(path, users)
		wantIs(t, err, bus.ErrInvalidUser)
		if strings.Contains(err.Error(), string(seed)) {
			t.Errorf("%s: the seed is in the error", name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: written nevertheless", name)
		}
	}
}

func TestLoadUsersIsStrict(t *testing.T) {
	alice := newUser(t, "alice", bus.RoleBuilder)
	good := "[[user]]\nname = \"alice\"\nrole = \"builder\"\nnkey = \"" + alice.NKey + "\"\n"
	for name, text := range map[string]string{
		"unknown key":   good + "kyes = [\"k\"]\n",
		"unknown table": good + "[[usr]]\nname = \"bob\"\n",
		"not toml":      good + "???",
		"wrong type":    strings.Replace(good, `"alice"`, "7", 1),
		"repeated user": good + good,
	} {
		path := filepath.Join(t.TempDir(), "users.toml")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		if users, err := bus.LoadUsers(path); err == nil {
			t.Errorf("%s: loaded as %v", name, users)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
}

func TestLoadUsersMissingFile(t *testing.T) {
	_, err := bus.LoadUsers(filepath.Join(t.TempDir(), "users.toml"))
	wantIs(t, err, fs.ErrNotExist)
	if !strings.Contains(err.Error(), "hint") {
		t.Errorf("no hint: %v", err)
	}
}

func TestSeedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed")
	public := must(bus.WriteSeedFile(path))(t)
	if mode := must(os.Stat(path))(t).Mode(); mode != 0o600 {
		t.Errorf("mode %v", mode)
	}
	if got := must(bus.PublicFromSeedFile(path))(t); got != public {
		t.Errorf("got %s, want %s", got, public)
	}
	before := must(os.ReadFile(path))(t)
	_, err := bus.WriteSeedFile(path)
	wantIs(t, err, fs.ErrExist)
	if string(must(os.ReadFile(path))(t)) != string(before) {
		t.Error("the seed was overwritten")
	}
}

func TestSeedFileRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "seed")
	account := "SAAPN4W3EG6KCJGUQTKTJ5GSB5NHK5CHAJL4DBGFUM3HHROI4XUEP4OBK4"
	for name, text := range map[string]string{
		"empty": "", "prose": "secret words", "account seed": account, "large": strings.Repeat("S", 1<<16),
	} {
		check(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := bus.PublicFromSeedFile(path)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: content in the error: %v", name, err)
		}
	}
	if _, err := bus.PublicFromSeedFile(dir); err == nil {
		t.Error("a directory is no seed file")
	}
	_, err := bus.PublicFromSeedFile(filepath.Join(dir, "missing"))
	wantIs(t, err, fs.ErrNotExist)
}

// systemd shows a credential's access list as the group's read bit.
func TestSeedFileFromCredentialsDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "seed")
	must(bus.WriteSeedFile(path))(t)
	check(t, os.Chmod(path, 0o440))
	if _, err := bus.PublicFromSeedFile(path); err == nil {
		t.Error("readable for the group and accepted")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	must(bus.PublicFromSeedFile(path))(t)
	check(t, os.Chmod(path, 0o444))
	if _, err := bus.PublicFromSeedFile(path); err == nil {
		t.Error("readable for all and accepted")
	}
}
