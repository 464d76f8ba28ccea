package builderagent_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/internal/wire"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// build runs one job with the script and returns its statement.
func build(t *testing.T, script, more string, change func(*wire.Job)) (*kit, *statement.Statement) {
	t.Helper()
	k := newKit(t)
	k.startBus()
	k.serve()
	k.configure(script, more)
	k.request("job-1", change)
	k.start(builderagent.Options{Version: "test"})
	k.confirmed(1)
	k.settledJobs()
	return k, k.only()
}

func (k *kit) kept(name string) string {
	k.t.Helper()
	return string(must(os.ReadFile(filepath.Join(k.state(), "builds/job-1", name)))(k.t))
}

func TestBuildVotes(t *testing.T) {
	k, st := build(t, `mkdir out; echo one > out/a; echo two > out/b; ln -s a out/c; mkdir out/dir; echo building`, "",
		func(j *wire.Job) {
			j.Stage = "noncodesigned"
			j.Source = &statement.Source{URI: "https://example.org/src", Digest: map[string]string{"sha256": strings.Repeat("ab", 32)}}
		})
	if !st.IsVote() || st.Case != (statement.Case{Channel: "core", Target: target, Stage: "noncodesigned"}) || st.Builder != "alice" || st.Version != "test" {
		t.Errorf("statement %+v", st)
	}
	if st.Source == nil || st.Source.URI != "https://example.org/src" || st.Source.Digest["sha256"] == "" {
		t.Errorf("source %+v", st.Source)
	}
	want := map[string]string{"a": "one\n", "b": "two\n", "c": "one\n"}
	if len(st.Artifacts) != len(want) {
		t.Fatalf("%d artifacts", len(st.Artifacts))
	}
	for _, a := range st.Artifacts {
		if a.SHA256 != sha256.Sum256([]byte(want[a.Name])) || k.kept("out/"+a.Name) != want[a.Name] {
			t.Errorf("artifact %s is not what was built, or not kept", a.Name)
		}
	}
	if len(st.Byproducts) != 1 || st.Byproducts[0].Name != "build.log" ||
		st.Byproducts[0].Digest["sha256"] != statement.ID([]byte(k.kept("build.log"))).String() {
		t.Errorf("byproducts %+v", st.Byproducts)
	}
	if k.kept("build.log") != "building\n" {
		t.Errorf("log %q", k.kept("build.log"))
	}
	if !strings.HasPrefix(st.Invocation, "job-1-") {
		t.Errorf("invocation %q", st.Invocation)
	}
}

// The whole environment is what the documentation says, and nothing else.
func TestEnvironmentIsScrubbed(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "do not leak")
	t.Setenv("LANG", "de_DE.UTF-8")
	t.Setenv("QUORATE_NKEY", "/secret/path")
	inherited := must(syscall.Open("/dev/null", syscall.O_RDONLY, 0))(t) // left open by whoever started the agent
	defer syscall.Close(inherited)
	k, _ := build(t, `mkdir out; env > out/env; pwd > out/pwd; ls /proc/self/fd > out/fds; cat > out/stdin`, "[env]\nMAKEFLAGS = '-j8'\n",
		func(j *wire.Job) {
			j.Source = &statement.Source{URI: "uri", Digest: map[string]string{"sha256": "ab", "gitcommit": "cd"}}
		})
	env := map[string]string{}
	for line := range strings.Lines(k.kept("out/env")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	pwd := strings.TrimSpace(k.kept("out/pwd"))
	for name, want := range map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": pwd, "TMPDIR": filepath.Join(filepath.Dir(pwd), "tmp"), "LANG": "C.UTF-8", "TZ": "UTC",
		"MAKEFLAGS": "-j8", "QUORATE_JOB": "job-1", "QUORATE_CHANNEL": "core", "QUORATE_TARGET": target, "QUORATE_STAGE": "",
		"QUORATE_SOURCE_URI": "uri", "QUORATE_SOURCE_SHA256": "ab", "QUORATE_SOURCE_GITCOMMIT": "cd",
	} {
		if got, ok := env[name]; !ok || got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		delete(env, name)
	}
	for _, name := range []string{"QUORATE_BUILD", "PWD", "OLDPWD", "SHLVL", "_"} { // the last four are the shell's
		delete(env, name)
	}
	if len(env) > 0 {
		t.Errorf("further variables: %v", slices.Sorted(maps.Keys(env))) // not their values
	}
	if fds := strings.Fields(k.kept("out/fds")); !slices.Equal(fds, []string{"0", "1", "2", "3"}) { // 3 is the directory being listed
		t.Errorf("open files %v", fds)
	}
	if k.kept("out/stdin") != "" {
		t.Error("standard input is not empty")
	}
}

// Every field of a job that is free text, with everything a shell would act on.
func TestShellCharactersStayInert(t *testing.T) {
	touched := filepath.Join(t.TempDir(), "touched")
	evil := fmt.Sprintf("$(touch %[1]s) `touch %[1]s`; touch %[1]s & '\" | > %[1]s ${IFS} * ~ \\ %%s", touched)
	purl := fmt.Sprintf("pkg:generic/x@1?a=$(touch${IFS}%[1]s);touch${IFS}%[1]s&`id`'*", touched)
	k, st := build(t, `mkdir out; printf %s "$QUORATE_SOURCE_URI" > out/uri; printf %s "$QUORATE_TARGET" > out/target`, "",
		func(j *wire.Job) { j.Target, j.Source = purl, &statement.Source{URI: evil} })
	if k.kept("out/uri") != evil || k.kept("out/target") != purl || st.Target != purl {
		t.Errorf("changed on the way: %q, %q", k.kept("out/uri"), k.kept("out/target"))
	}
	if _, err := os.Stat(touched); err == nil {
		t.Error("a command in a job's field was run")
	}
}

func TestFailedBuild(t *testing.T) {
	k, st := build(t, `
i=0; while [ $i -lt 100 ]; do echo "line $i"; i=$((i+1)); done
printf '\033]0;title\007\033[31mred\033[0m\r\342\200\256flip \377bad\n' >&2
exit 3`, "publish_log_tail = true\n", nil)
	if st.Status != statement.Failed || len(st.Artifacts) != 0 {
		t.Fatalf("status %q", st.Status)
	}
	if !strings.HasPrefix(st.Reason, "build command: exit status 3\n") || strings.Contains(st.Reason, "line 50") ||
		!strings.HasSuffix(st.Reason, "line 99\n]0;title[31mred[0mflip bad") {
		t.Errorf("reason %q", st.Reason)
	}
	if !strings.Contains(k.kept("build.log"), "line 0\n") {
		t.Error("log is not whole")
	}
}

// TestSecretsOfALogAreNotPublished: a hostile build, or a job that names one, prints what
// it can read and fails; statements are public for ever.
func TestSecretsOfALogAreNotPublished(t *testing.T) {
	for script, want := range map[string]string{
		"cd ../../..; sed -n 2p statement.key; exit 1":     "build command: exit status 1",
		"cd ../../..; sed -n 2p statement.key; sleep 1000": "build command ran longer than 1s",
	} {
		k, st := build(t, script, "timeout = '1s'\n", nil)
		if st.Reason != want {
			t.Errorf("reason %q", st.Reason)
		}
		log := k.kept("build.log")
		if log == "" || len(st.Byproducts) != 1 {
			t.Errorf("log %q, by-products %v", log, st.Byproducts)
		}
		if key := strings.TrimSpace(log); bytes.Contains(st.Raw(), []byte(key[:16])) {
			t.Error("the statement has a part of the key")
		}
	}
}

func TestOutputsThatDoNotCount(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(secret, []byte("of the machine"), 0o600))
	for name, c := range map[string]struct {
		script, outputs string
		status          statement.Status
		reason          string
	}{
		"nothing":     {`mkdir out`, `['out/*']`, statement.MissingInput, `no file matches the output pattern "out/*"`},
		"one pattern": {`mkdir out; touch out/a.deb`, `['out/*.deb', 'out/*.buildinfo']`, statement.MissingInput, `"out/*.buildinfo"`},
		"directory":   {`mkdir -p out/sub`, `['out/*']`, statement.MissingInput, `"out/*"`},
		"link out":    {`mkdir out; ln -s ` + secret + ` out/a`, `['out/*']`, statement.Failed, "leaves the build's directory"},
		"relative":    {`mkdir out; ln -s ../../../../agent.toml out/a`, `['out/*']`, statement.Failed, "leaves the build's directory"},
		"dir link":    {`ln -s ` + filepath.Dir(secret) + ` out`, `['out/*']`, statement.Failed, "leaves the build's directory"},
		"dangling":    {`mkdir out; ln -s nowhere out/a`, `['out/*']`, statement.Failed, "leads nowhere"},
		"fifo":        {`mkdir out; mkfifo out/a`, `['out/*']`, statement.Failed, "not a regular file"},
		"same name":   {`mkdir out more; touch out/a more/a`, `['out/*', 'more/*']`, statement.Failed, `"more/a" and "out/a" have the same name`},
		"bad name":    {`mkdir out; touch "out/a$(printf '\001')b"`, `['out/*']`, statement.Failed, "cannot stand in a statement"},
		"no package": {`mkdir out; echo a >out/a.deb`, "['out/*']\ninner_digests = ['*.deb']", statement.Failed,
			"a.deb: cannot say what files are inside: it is no tar, zip, deb or rpm (it is one of inner_digests in agent.toml)"},
		"no files inside": {`mkdir out in; tar cf out/a.tar -C in .`, "['out/*']\ninner_digests = ['*.tar']", statement.Failed,
			"a.tar: cannot say what files are inside: digests: 0 different ones, want 1 to 10000 (it is one of inner_digests in agent.toml)"},
		"cut off": {`mkdir out; head -c 3000 /dev/zero >a; tar c a | head -c 2000 >out/a.tar`, "['out/*']\ninner_digests = ['*.tar']", statement.Failed,
			"a.tar: cannot say what files are inside: member \"a\": unexpected EOF (it is one of inner_digests in agent.toml)"},
		"no text": {`mkdir out; echo a >out/a; printf 'x\000' >out/Release`, "['out/*']\ntexts = ['Rel*']", statement.Failed,
			"hash Release: not a text for a cleartext signature: line 1: NUL (it is one of texts in agent.toml)"},
		"too many": {`mkdir out; i=0; while [ $i -lt 1500 ]; do : > out/f$i; i=$((i+1)); done`, `['out/*']`, statement.Failed, "do not fit into a statement"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, st := build(t, c.script, "outputs = "+c.outputs+"\n", nil)
			if st.Status != c.status || !strings.Contains(st.Reason, c.reason) {
				t.Errorf("%s: %s", st.Status, st.Reason)
			}
		})
	}
}

// TestTexts: what is configured as a text has its state in the vote, and nothing else.
func TestTexts(t *testing.T) {
	_, st := build(t, `mkdir out; printf 'a \r\n- b' | tee out/Release >out/other`, "outputs = ['out/*']\ntexts = ['Release']\n", nil)
	if len(st.Artifacts) != 2 {
		t.Fatalf("%s: %s", st.Status, st.Reason)
	}
	h := sha512.New()
	h.Write([]byte("a\r\n- b"))
	want, err := hashstate.Of(hashstate.SHA512, h)
	check(t, err)
	value, err := want.MarshalJSON()
	check(t, err)
	if got := st.Artifacts[0].Signable(statement.TextState); got == nil || string(got.Value) != string(value) || len(st.Artifacts[1].Signables) != 0 {
		t.Errorf("%v and %v", st.Artifacts[0].Signables, st.Artifacts[1].Signables)
	}
}

// TestInnerDigests: of what is configured as a package the vote has the digests of the
// files inside, beside the state of a text; of other outputs it has none.
func TestInnerDigests(t *testing.T) {
	const script = `mkdir out in; echo one >in/one; echo two >in/two; cp in/one in/again
		tar cf out/a.tar -C in . && cp out/a.tar out/b.tar; echo text >out/Release`
	_, st := build(t, script, "outputs = ['out/*']\ntexts = ['Release']\ninner_digests = ['a.*']\nmanifest = 'none'\n", nil)
	if len(st.Artifacts) != 3 {
		t.Fatalf("%s: %s", st.Status, st.Reason)
	}
	want, err := statement.NewDigestSet([]statement.SHA256{statement.ID([]byte("one\n")), statement.ID([]byte("two\n"))})
	check(t, err)
	for _, a := range st.Artifacts {
		got := a.Signable(statement.FileDigests)
		if (got != nil) != (a.Name == "a.tar") || got != nil && string(got.Value) != string(want.Signable().Value) {
			t.Errorf("%s: %v", a.Name, a.Signables)
		}
	}
}

// The script starts a child, a daemon in a session of its own, and one that has
// lost its parent; all hold the pipe open.
const leaves = `
exec 3>%s
sleep 1000 &
setsid sleep 1000 &
(setsid sh -c 'sleep 1000 & sleep 1000' &)
mkdir out; echo x > out/a
`

func TestNothingSurvivesSuccess(t *testing.T) {
	pipe, allDead := fifo(t)
	_, st := build(t, fmt.Sprintf(leaves, pipe), "", nil)
	allDead()
	if !st.IsVote() {
		t.Errorf("%s: %s", st.Status, st.Reason)
	}
}

func TestNothingSurvivesTimeout(t *testing.T) {
	pipe, allDead := fifo(t)
	_, st := build(t, fmt.Sprintf(leaves, pipe)+"echo going to hang; trap '' TERM; sleep 1000; sleep 1000", "timeout = '1s'\npublish_log_tail = true\n", nil)
	allDead()
	if st.Status != statement.Timeout || !strings.Contains(st.Reason, "longer than 1s\ngoing to hang") {
		t.Errorf("%s: %s", st.Status, st.Reason)
	}
}

func TestLogIsCut(t *testing.T) {
	k, st := build(t, `yes 0123456789 | head -c 1000000; echo the end; exit 1`, "log_limit = 1000\npublish_log_tail = true\n", nil)
	log := k.kept("build.log")
	begin, end, cut := strings.Cut(log, "\n[log cut here: 999008 more bytes, the last 1000 follow]\n")
	if !cut || len(begin) != 1000 || len(end) != 1000 || !strings.HasSuffix(end, "\n0the end\n") {
		t.Errorf("log has %d bytes, ends with %q", len(log), log[max(0, len(log)-60):])
	}
	if !strings.HasSuffix(st.Reason, "the end") {
		t.Errorf("reason %q", st.Reason)
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	k := newKit(t)
	k.startBus()
	k.serve()
	k.configure("true", "")
	k.request("job-1", nil)
	// It disappears after the agent has looked for it.
	check(t, os.WriteFile(filepath.Join(k.dir, "build.sh"), []byte("#!/no/such/interpreter\n"), 0o700))
	k.start(builderagent.Options{})
	k.confirmed(1)
	if st := k.only(); st.Status != statement.Failed || !strings.Contains(st.Reason, "cannot be started") {
		t.Errorf("%s: %s", st.Status, st.Reason)
	}
}

func TestDependenciesCommand(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.sh")
	digest := strings.Repeat("12", 32)
	check(t, os.WriteFile(list, []byte("#!/bin/sh\necho not of the list >&2\ncat versions\necho libc 2.40 "+digest+"\n"), 0o700))
	k, st := build(t, `mkdir out; echo x > out/a; echo "gcc 14.2.1" > versions`, "dependencies_command = ['"+list+"']\n", nil)
	if len(st.Dependencies) != 2 || st.Dependencies[0].Name != "gcc" || st.Dependencies[0].Annotations["version"] != "14.2.1" ||
		st.Dependencies[1].Digest["sha256"] != digest {
		t.Errorf("dependencies %+v", st.Dependencies)
	}
	text := "gcc 14.2.1 \nlibc 2.40 " + digest + "\n"
	if k.kept("dependencies.txt") != text || st.Byproducts[1].Digest["sha256"] != statement.ID([]byte(text)).String() {
		t.Errorf("kept %q, byproducts %+v", k.kept("dependencies.txt"), st.Byproducts)
	}
}

// Without a setting, the package manager of the machine is asked.
func TestDependenciesOfTheMachine(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		if _, err := exec.LookPath("pacman"); err != nil {
			t.Skip("neither dpkg-query nor pacman is installed")
		}
	}
	_, st := build(t, `mkdir out; echo x > out/a`, "dependencies = 'auto'\n", nil)
	if len(st.Dependencies) == 0 || st.Dependencies[0].Annotations["version"] == "" {
		t.Errorf("%d dependencies", len(st.Dependencies))
	}
}

// A vote does not depend on the list, and a list too long is left to its digest.
func TestDependenciesThatCannotBeTold(t *testing.T) {
	for name, c := range map[string]struct {
		list string
		kept bool
	}{
		"fails":     {"exit 1", false},
		"flood":     {"yes 'a 1' | head -c 9000000", false},
		"not lines": {"echo just-a-name", false},
		"too long":  {`i=0; while [ $i -lt 20000 ]; do echo "a-package-with-a-long-name-$i 1.2.3"; i=$((i+1)); done`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := filepath.Join(t.TempDir(), "list.sh")
			check(t, os.WriteFile(list, []byte("#!/bin/sh\n"+c.list), 0o700))
			_, st := build(t, `mkdir out; echo x > out/a`, "dependencies_command = ['"+list+"']\n", nil)
			if !st.IsVote() || len(st.Dependencies) != 0 || (len(st.Byproducts) == 2) != c.kept {
				t.Errorf("vote %v, %d dependencies, byproducts %+v", st.IsVote(), len(st.Dependencies), st.Byproducts)
			}
		})
	}
}

func TestParseDependenciesRefuses(t *testing.T) {
	for _, text := range []string{"name", "name 1 2 3", "name 1 abc", "na\x1bme 1", "name 1 " + strings.Repeat("AB", 32)} {
		if _, err := builderagent.ParseDependencies(text); err == nil {
			t.Errorf("took %q", text)
		}
	}
}

// Directories without the right to write, as Go's module cache has them.
func TestReadOnlyDirectoriesAreRemoved(t *testing.T) {
	k, _ := build(t, `mkdir out; echo x > out/a; chmod 0 out/a; mkdir -p cache/deep; touch cache/deep/file; chmod 0 cache/deep/file; chmod 0555 cache/deep; chmod 0 cache`, "", nil)
	until(t, "the build's directory is removed", func() bool { return k.count("work", "*") == 0 })
}

func TestRetention(t *testing.T) {
	k, _ := build(t, `mkdir out; echo x > out/a`, "retention = '1h'\n", nil)
	s := must(builderagent.Open(k.state()))(t)
	now := time.Now()
	check(t, s.Expire(now.Add(30*time.Minute)))
	if k.count("builds", "*") != 1 || k.count("jobs", "*") != 1 {
		t.Error("removed too early")
	}
	check(t, s.Expire(now.Add(2*time.Hour)))
	if k.count("builds", "*") != 0 {
		t.Error("build is kept too long")
	}
	// Without its record a job that comes again would be built again.
	if k.count("jobs", "*") != 1 {
		t.Error("job record removed while its job may come again")
	}
	check(t, s.Expire(now.Add(31*24*time.Hour)))
	if k.count("jobs", "*") != 0 {
		t.Error("job record is kept too long")
	}
}

// A build is as quick as it likes to make a file that takes hours to read: one of
// holes. It costs this machine no more than a build may take, and no disk.
func TestOutputsThatTakeTooLongToRead(t *testing.T) {
	for name, script := range map[string]string{
		"long":   `mkdir out; truncate -s 4T out/a`,
		"linked": `mkdir out; truncate -s 4T b; ln -s ../b out/a`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, st := build(t, script, "outputs = ['out/*']\ntimeout = '2s'\n", nil)
			if st.Status != statement.Timeout || st.Reason != "the outputs could not be read within 2s" {
				t.Errorf("%s: %s", st.Status, st.Reason)
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "builds", "*", "out", "*")); len(left) > 0 {
				t.Errorf("kept %q", left)
			}
		})
	}
}
