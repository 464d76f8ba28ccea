package hsmsigner_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/internal/bus"
)

const goodConfig = `name = "hsm"
nats = "nats://127.0.0.1:4222"
seed_file = "signer.seed"
policy = "policy.toml"
ledger = "/var/ledger.db"
[token]
module = "libsofthsm2.so"
label = "quorate"
pin_file = "pin"
[[key]]
label = "core-2026"
certificate = "core.asc"
`

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	c := must(hsmsigner.LoadConfig(writeFile(t, filepath.Join(dir, "signer.toml"), []byte(goodConfig), 0o600)))(t)
	want := &hsmsigner.Config{Name: "hsm", NATS: "nats://127.0.0.1:4222", SeedFile: filepath.Join(dir, "signer.seed"),
		Policy: filepath.Join(dir, "policy.toml"), Ledger: "/var/ledger.db",
		Token: hsmsigner.TokenConfig{Module: "libsofthsm2.so", Label: "quorate", PINFile: filepath.Join(dir, "pin")},
		Keys:  []hsmsigner.KeyConfig{{Label: "core-2026", Certificate: filepath.Join(dir, "core.asc")}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestBadConfig(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(goodConfig, old, new, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"not TOML":                  {"name = = 1\n", "line 1, column 8"},
		"unknown key":               {replace("pin_file", "pin_fiel"), `line 9: unknown key ["token" "pin_fiel"]`},
		"pin in the file":           {replace(`pin_file = "pin"`, `pin = "`+userPIN+`"`), `unknown key ["token" "pin"]`},
		"key in another case":       {replace("policy", "Policy"), `unknown key "Policy"`},
		"no name":                   {replace(`name = "hsm"`, ""), `name "" is not a name`},
		"no bus":                    {replace(`nats = "nats://127.0.0.1:4222"`, ""), "nats is missing"},
		"bus that is none":          {replace(`nats://127.0.0.1:4222`, "http://127.0.0.1:7780"), "nats: \"http://127.0.0.1:7780\" is not the address of a bus"},
		"no seed file":              {replace(`seed_file = "signer.seed"`, ""), "seed_file is missing"},
		"no policy":                 {replace(`policy = "policy.toml"`, ""), "policy is missing"},
		"no ledger":                 {replace(`ledger = "/var/ledger.db"`, ""), "ledger is missing"},
		"no module":                 {replace(`module = "libsofthsm2.so"`, ""), "module is missing"},
		"no token":                  {replace(`label = "quorate"`, ""), "label or serial is missing"},
		"two PINs":                  {replace(`pin_file = "pin"`, "pin_file = \"pin\"\npin_credential = \"pin\""), "exclude each other"},
		"credential with a path":    {replace(`pin_file = "pin"`, `pin_credential = "../pin"`), "is a name, not a path"},
		"workers":                   {replace(`pin_file = "pin"`, `workers = -1`), "workers is -1"},
		"wrong type":                {replace(`pin_file = "pin"`, `workers = "two"`), "line 9"},
		"no key":                    {goodConfig[:strings.Index(goodConfig, "[[key]]")], "there is no [[key]]"},
		"label":                     {replace("core-2026", "core 2026"), `key label "core 2026" is not a name`},
		"deadline too short":        {replace("[[key]]", "deadline = \"10ms\"\n[[key]]"), "token: deadline is 10ms, want 1s to 10m0s"},
		"deadline too long":         {replace("[[key]]", "deadline = \"1h\"\n[[key]]"), "token: deadline is 1h0m0s"},
		"deadline that is none":     {replace("[[key]]", "deadline = \"soon\"\n[[key]]"), "soon"},
		"negative deadline":         {replace("[[key]]", "deadline = \"-1s\"\n[[key]]"), "negative"},
		"key twice":                 {goodConfig + "[[key]]\nlabel = \"core-2026\"\ncertificate = \"x\"\n", "stands twice"},
		"health for everybody":      {goodConfig + "[health]\nlisten = \"0.0.0.0:9464\"\n", "is not loopback"},
		"health on another address": {goodConfig + "[health]\nlisten = \"192.0.2.1:9464\"\n", "is not loopback"},
		"health without a port":     {goodConfig + "[health]\nlisten = \"127.0.0.1\"\n", "neither unix:PATH nor ADDRESS:PORT"},
		"health under a name":       {goodConfig + "[health]\nlisten = \"localhost:9464\"\n", "neither unix:PATH nor"},
		"health at no path":         {goodConfig + "[health]\nlisten = \"unix:\"\n", "no path behind its unix: prefix"},
		"canary that nobody sees":   {goodConfig + "[health]\ncanary = \"5m\"\n", "listen is missing"},
		"canary too often":          {goodConfig + "[health]\nlisten = \"[::1]:9464\"\ncanary = \"1ms\"\n", "canary is 1ms, want 1s to 24h0m0s"},
		"huge":                      {goodConfig + strings.Repeat("#", 1<<20), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hsmsigner.LoadConfig(writeFile(t, filepath.Join(t.TempDir(), "signer.toml"), []byte(c.text), 0o600))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, hsmsigner.ErrConfig) {
				t.Errorf("got %v, want one that says %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), userPIN) {
				t.Errorf("the error shows a PIN: %v", err)
			}
		})
	}
	if _, err := hsmsigner.LoadConfig(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "hint: quorate-signer init") {
		t.Errorf("got %v", err)
	}
}

// TestInit: what init writes is what run reads, whatever stands in it.
func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	odd := "/a\\b/\"quoted\"\t/ü"
	nkey := must(hsmsigner.Init(t.Context(), dir, hsmsigner.Config{Policy: odd, Token: hsmsigner.TokenConfig{Module: odd, Serial: "0123", PINCredential: "pin",
		Network: true, Deadline: hsmsigner.Duration(90 * time.Second)},
		Health: hsmsigner.HealthConfig{Listen: "unix:health.sock", Canary: hsmsigner.Duration(time.Minute)}}))(t)
	path := filepath.Join(dir, hsmsigner.ConfigFile)
	c := must(hsmsigner.LoadConfig(path))(t)
	if c.Policy != odd || c.Token.Module != odd || c.Token.Serial != "0123" || c.Token.Label != "" || c.Token.PINCredential != "pin" || c.Token.PINFile != "" ||
		!c.Token.Network || c.Token.Deadline != hsmsigner.Duration(90*time.Second) {
		t.Errorf("got %+v", c)
	}
	if public := must(bus.PublicFromSeedFile(c.SeedFile))(t); public != nkey {
		t.Errorf("nkey %s, want %s", nkey, public)
	}
	if listen := filepath.Join(dir, "health.sock"); c.Health.Listen != "unix:"+listen || c.Health.Canary != hsmsigner.Duration(time.Minute) {
		t.Errorf("got %+v", c.Health)
	}
	if _, err := hsmsigner.Init(t.Context(), dir, hsmsigner.Config{}); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("got %v", err)
	}
	// A new configuration keeps what must not be lost.
	check(t, os.Remove(path))
	if again := must(hsmsigner.Init(t.Context(), dir, hsmsigner.Config{}))(t); again != nkey {
		t.Errorf("another nkey: %s", again)
	}
	for _, name := range []string{"signer.toml", "signer.seed", "ledger.db"} {
		if mode := must(os.Stat(filepath.Join(dir, name)))(t).Mode(); mode.Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
}

func TestPINFile(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, content, want string
		mode                os.FileMode
	}{
		{"plain", userPIN, "", 0o600},
		{"line", userPIN + "\n", "", 0o400},
		{"windows", userPIN + "\r\n", "", 0o600},
		{"group can read", userPIN, "others can read or write it, mode 0640 (hint: chmod 600", 0o640},
		{"others can write", userPIN, "mode 0602", 0o602},
		{"empty", "\n", "the pin is empty", 0o600},
		{"two lines", userPIN + "\n" + userPIN, "a line break", 0o600},
		{"long", strings.Repeat(userPIN, 100), "longer than", 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			pin, err := hsmsigner.ReadPINFile(writeFile(t, filepath.Join(dir, c.name), []byte(c.content), c.mode))
			if c.want == "" {
				check(t, err)
				if string(pin) != userPIN {
					t.Error("another PIN")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), userPIN) {
				t.Errorf("got %v, want one that says %q", err, c.want)
			}
		})
	}
	if _, err := hsmsigner.ReadPINFile(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "hint: write the pin to it") {
		t.Errorf("got %v", err)
	}
	if _, err := hsmsigner.ReadPINFile(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestPINSources(t *testing.T) {
	c := tokenConfig()
	c.PINFile, c.PINCredential = "", "quorate-pin"
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := c.PIN(nil); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	writeFile(t, filepath.Join(dir, "quorate-pin"), []byte(userPIN), 0o440) // as systemd shows it
	source := must(c.PIN(nil))(t)
	for range 2 {
		pin := must(source())(t)
		if string(pin) != userPIN {
			t.Error("another PIN")
		}
		clear(pin) // as its user does
	}
	c.PINCredential = ""
	if _, err := c.PIN(nil); err == nil || !strings.Contains(err.Error(), "no terminal to ask on (hint: set pin_file") {
		t.Errorf("got %v", err)
	}
}
