package builderagent_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"github.com/pelletier/go-toml/v2"

	builderagent "quorate/builder-agent"
	"quorate/quorum/statement"
)

func keygen(t *testing.T, a builderagent.Algorithm) (string, builderagent.Identity) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	return dir, must(builderagent.Keygen(builderagent.KeygenOptions{
		Dir: dir, Name: "alice", Algorithm: a, NATS: "tls://bus.example.org:4222", CAFile: "ca.pem", Channels: []string{"core", "extra"},
	}))(t)
}

func TestKeygen(t *testing.T) {
	for _, a := range []builderagent.Algorithm{"", builderagent.Ed25519, builderagent.ECDSAP256} {
		dir, id := keygen(t, a)
		s := must(builderagent.Open(dir))(t)
		if got := must(s.Identity())(t); !reflect.DeepEqual(got, id) {
			t.Errorf("%s: identity %+v, was %+v", a, got, id)
		}
		for _, name := range []string{"statement.key", "bus.nk", "agent.toml"} {
			info := must(os.Stat(filepath.Join(dir, name)))(t)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o", name, info.Mode().Perm())
			}
		}
		if s.Config.NATS != "tls://bus.example.org:4222" || s.Config.CAFile != filepath.Join(dir, "ca.pem") || len(s.Config.Channels) != 2 {
			t.Errorf("configuration %+v", s.Config)
		}
		at := must(os.Stat(dir))(t).ModTime()
		st := must(s.Sign(statement.Statement{
			Case: statement.Case{Channel: "core", Target: target}, Status: statement.Failed, Reason: "x", Started: at, Finished: at,
		}))(t)
		check(t, st.Verify(id.Key))
	}
}

// A client signs what the server sends it: were the keys one, a server could
// have statements signed.
func TestStatementKeyIsNotTheBusKey(t *testing.T) {
	_, id := keygen(t, builderagent.Ed25519)
	raw := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(id.Key.String(), "ed25519:")))(t)
	asNKey := must(nkeys.Encode(nkeys.PrefixByteUser, raw))(t)
	if string(asNKey) == id.NKey {
		t.Error("one key is used for both")
	}
}

func TestKeygenNeverOverwrites(t *testing.T) {
	for _, name := range []string{"statement.key", "bus.nk", "agent.toml"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte("precious"), 0o600))
		_, err := builderagent.Keygen(builderagent.KeygenOptions{Dir: dir, Name: "alice"})
		if !errors.Is(err, fs.ErrExist) || !errors.Is(err, builderagent.ErrConfig) {
			t.Errorf("%s: got %v", name, err)
		}
		entries := must(os.ReadDir(dir))(t)
		if data := must(os.ReadFile(path))(t); string(data) != "precious" || len(entries) != 1 {
			t.Errorf("%s: directory was changed", name)
		}
	}
}

func TestKeygenRefuses(t *testing.T) {
	for _, o := range []builderagent.KeygenOptions{
		{Name: ""}, {Name: "a.b"}, {Name: "-a"}, {Name: "a", Algorithm: "rsa"}, {Name: "a", Channels: []string{"a b"}},
	} {
		o.Dir = filepath.Join(t.TempDir(), "state")
		if _, err := builderagent.Keygen(o); !errors.Is(err, builderagent.ErrConfig) {
			t.Errorf("%+v: got %v", o, err)
		}
		if _, err := os.Stat(o.Dir); err == nil {
			t.Errorf("%+v: made the directory", o)
		}
	}
}

// An empty variable in a script must not mean the current directory.
func TestEmptyDirectoryIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := builderagent.Keygen(builderagent.KeygenOptions{Name: "alice"}); !errors.Is(err, builderagent.ErrConfig) {
		t.Errorf("got %v", err)
	}
	if _, err := builderagent.Open(""); !errors.Is(err, builderagent.ErrConfig) {
		t.Errorf("got %v", err)
	}
	if entries := must(os.ReadDir("."))(t); len(entries) != 0 {
		t.Errorf("made %v", entries)
	}
}

// What keygen writes is what the defaults are, and every setting stands there.
func TestTemplate(t *testing.T) {
	dir, _ := keygen(t, "")
	text := string(must(os.ReadFile(filepath.Join(dir, "agent.toml")))(t))
	typ := reflect.TypeFor[builderagent.Config]()
	for i := range typ.NumField() {
		name := typ.Field(i).Tag.Get("toml")
		if !strings.Contains(text, "\n"+name+" = ") && !strings.Contains(text, "\n# "+name+" = ") && !strings.Contains(text, "# ["+name+"]") {
			t.Errorf("agent.toml says nothing about %s", name)
		}
	}
	// The commented defaults are the defaults: taking the # away changes nothing.
	var lines []string
	for line := range strings.Lines(text) {
		for _, name := range []string{"timeout", "grace", "retention", "log_limit", "dependencies", "parallel", "spool"} {
			if strings.HasPrefix(line, "# "+name+" = ") {
				line = strings.TrimPrefix(line, "# ")
			}
		}
		lines = append(lines, line)
	}
	got := builderagent.DefaultConfig("")
	check(t, toml.NewDecoder(strings.NewReader(strings.Join(lines, ""))).DisallowUnknownFields().Decode(&got))
	want := builderagent.DefaultConfig("alice")
	want.NATS, want.CAFile, want.Channels = "tls://bus.example.org:4222", "ca.pem", []string{"core", "extra"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTemplateQuotes(t *testing.T) {
	nasty := "a\"b\\c\n\x01é"
	text := builderagent.ConfigText(builderagent.KeygenOptions{Name: nasty, NATS: nasty, Channels: []string{nasty}})
	var c builderagent.Config
	check(t, toml.Unmarshal([]byte(text), &c))
	if c.Name != nasty || c.NATS != nasty || c.Channels[0] != nasty {
		t.Errorf("%+v", c)
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { check(t, os.RemoveAll(filepath.Join(dir, name))) }
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
	}{
		"no configuration": {remove("agent.toml"), "keygen"},
		"no key":           {remove("statement.key"), "restore it"},
		"no spool":         {remove("spool"), "open spool"},
		"unknown key":      {write("agent.toml", "name = 'a'\nchanels = ['core']\n"), "chanels"},
		"not TOML":         {write("agent.toml", "name"), "agent.toml"},
		"bad name":         {write("agent.toml", "name = 'a.b'"), "invalid name"},
		"no name":          {write("agent.toml", ""), "invalid name"},
		"bad channel":      {write("agent.toml", "name = 'a'\nchannels = ['a b']"), `"a b" is not a name`},
		"bad duration":     {write("agent.toml", "name = 'a'\ntimeout = '1 hour'"), "timeout"},
		"no time":          {write("agent.toml", "name = 'a'\ntimeout = '0s'"), "timeout"},
		"parallel":         {write("agent.toml", "name = 'a'\nparallel = 0"), "parallel"},
		"pattern up":       {write("agent.toml", "name = 'a'\noutputs = ['../x']"), "output pattern"},
		"pattern absolute": {write("agent.toml", "name = 'a'\noutputs = ['/x']"), "output pattern"},
		"text pattern":     {write("agent.toml", "name = 'a'\ntexts = ['out/Release']"), "texts: pattern"},
		"text syntax":      {write("agent.toml", "name = 'a'\ntexts = ['[']"), "texts: pattern"},
		"inner pattern":    {write("agent.toml", "name = 'a'\ninner_digests = ['out/*.deb']"), "inner_digests: pattern"},
		"pattern syntax":   {write("agent.toml", "name = 'a'\noutputs = ['[']"), "output pattern"},
		"dependencies":     {write("agent.toml", "name = 'a'\ndependencies = 'all'"), "dependencies"},
		"reserved env":     {write("agent.toml", "name = 'a'\n[env]\nQUORATE_TARGET = 'x'"), "QUORATE_"},
		"not a key":        {write("statement.key", "secret words"), "not one PEM block"},
		"other PEM":        {write("statement.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRz\n-----END PRIVATE KEY-----\n"), "not a PKCS#8 key"},
		"open key": {func(t *testing.T, dir string) {
			check(t, os.Chmod(filepath.Join(dir, "statement.key"), 0o640))
		}, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := keygen(t, "")
			c.change(t, dir)
			_, err := builderagent.Open(dir)
			if !errors.Is(err, builderagent.ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("the error shows what is in the file")
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"command = ['true']\noutputs = ['a']", "no channels"},
		{"channels = ['core']\noutputs = ['a']", "no command"},
		{"channels = ['core']\ncommand = ['true']", "no outputs"},
		{"channels = ['core']\ncommand = ['no-such-program-anywhere']\noutputs = ['a']", "build command"},
	} {
		dir, _ := keygen(t, "")
		check(t, os.WriteFile(filepath.Join(dir, "agent.toml"), []byte("name = 'alice'\n"+c.text), 0o600))
		err := builderagent.Run(testContext(t), must(builderagent.Open(dir))(t), builderagent.Options{Logger: quiet()})
		if !errors.Is(err, builderagent.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.want, err)
		}
	}
}

// TestRunNeedsAGuardedBus: jobs and receipts are not signed, so whoever is on the way
// to a plain bus could change what is built.
func TestRunNeedsAGuardedBus(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for text, refused := range map[string]bool{
		"nats = 'nats://bus.example.org:4222'":                 true,
		"nats = 'nats://192.0.2.1:4222'":                       true,
		"nats = 'nats://127.0.0.1.example.org:4222'":           true,
		"nats = 'nats://127.0.0.1:4222,nats://192.0.2.1:4222'": true,
		"nats = '192.0.2.1:4222'":                              true,
		"nats = 'tls://192.0.2.1:4222'":                        false,
		"nats = 'nats://127.0.0.1:1'":                          false,
		"nats = 'nats://[::1]:1'":                              false,
		"nats = 'nats://localhost:1'":                          false,
		"nats = 'nats://192.0.2.1:4222'\nplain_bus = true":     false,
	} {
		dir, _ := keygen(t, "")
		text := "name = 'alice'\nchannels = ['core']\ncommand = ['true']\noutputs = ['a']\n" + text
		check(t, os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(text), 0o600))
		err := builderagent.Run(ended, must(builderagent.Open(dir))(t), builderagent.Options{Logger: quiet()})
		if got := err != nil && strings.Contains(err.Error(), "plain_bus = true"); got != refused {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRunWarnsOfBuildsThatCanReadTheKey at each start, since nothing else shows it.
func TestRunWarnsOfBuildsThatCanReadTheKey(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	dir, _ := keygen(t, "")
	text := "name = 'alice'\nnats = 'nats://127.0.0.1:1'\nchannels = ['core']\ncommand = ['true']\noutputs = ['a']\n"
	check(t, os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(text), 0o600))
	var log bytes.Buffer
	check(t, builderagent.Run(ended, must(builderagent.Open(dir))(t), builderagent.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "docs/operating.md") {
		t.Errorf("log: %s", log.String())
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, []byte("x"), 0o600))
		return path
	}
	check(t, builderagent.CheckFiles([]string{file("a"), file("b c"), file("ü")}))
	for name, paths := range map[string][]string{
		"none":              nil,
		"missing":           {filepath.Join(dir, "absent")},
		"directory":         {dir},
		"two names alike":   {file("a"), file("sub/a")},
		"control character": {file("a\nb")},
		"not UTF-8":         {file("a\xff")},
	} {
		if err := builderagent.CheckFiles(paths); !errors.Is(err, builderagent.ErrFiles) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSecretsAreNotInTheIdentity(t *testing.T) {
	dir, id := keygen(t, "")
	text := id.PolicySnippet() + id.EnrollCommand()
	for _, name := range []string{"statement.key", "bus.nk"} {
		for line := range bytes.Lines(must(os.ReadFile(filepath.Join(dir, name)))(t)) {
			if s := strings.TrimSpace(string(line)); !strings.HasPrefix(s, "-----") && strings.Contains(text, s) {
				t.Errorf("%s is printed", name)
			}
		}
	}
	var p struct {
		Operator struct {
			Builder []struct{ Name, Key, Platform string }
		}
	}
	check(t, toml.Unmarshal([]byte("[operator]\nx = 1\n"+id.PolicySnippet()), &p))
	if b := p.Operator.Builder; len(b) != 1 || b[0].Name != "alice" || b[0].Key != id.Key.String() {
		t.Errorf("snippet %+v", p)
	}
}
