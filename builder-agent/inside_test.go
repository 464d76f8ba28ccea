package builderagent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	builderagent "quorate/builder-agent"
	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

// An agent says what is in its outputs and what it built them on.
func TestStatementSaysWhatIsInside(t *testing.T) {
	_, st := build(t, `mkdir out; echo one > member; tar -cf out/a.tar member; echo text > out/b`,
		"environment_except = ['path', 'PATH']\n[env]\nLC_ALL = 'C'\nSECRET = 'x'\n", nil)
	m := must(manifest.Parse(st.Artifacts[0].Manifest))(t)
	if m.Format != "tar" || len(m.List) != 1 || m.List[0].Name != "member" || m.List[0].Size != 4 {
		t.Errorf("%+v", m)
	}
	if st.Artifacts[1].Manifest != nil {
		t.Error("a text has a list")
	}
	e := st.Environment
	if e["LC_ALL"] != "C" || e["LANG"] != "C.UTF-8" || e["TZ"] != "UTC" || e["machine"] == "" || e["kernel"] == "" {
		t.Errorf("environment %v", e)
	}
	if runtime.GOOS == "linux" && e["umask"] == "" {
		t.Errorf("no umask in %v", e)
	}
	host := must(os.Hostname())(t)
	for name, value := range e {
		if name == "SECRET" || name == "path" || name == "PATH" || value == host {
			t.Errorf("%s=%s is told", name, value)
		}
	}
}

func TestInformationCanBeLeftOut(t *testing.T) {
	_, st := build(t, `mkdir out; echo one > member; tar -cf out/a.tar member`, "manifest = 'none'\nenvironment = 'none'\n", nil)
	if st.Artifacts[0].Manifest != nil || st.Environment != nil {
		t.Errorf("%s %v", st.Artifacts[0].Manifest, st.Environment)
	}
}

// A build that leaves a bomb votes like any other.
func TestBombIsVotedOn(t *testing.T) {
	_, st := build(t, `mkdir out; head -c 150000000 /dev/zero | gzip > out/a.gz`, "", nil)
	if !st.IsVote() || len(st.Artifacts) != 1 {
		t.Fatalf("%+v", st)
	}
	if m := must(manifest.Parse(st.Artifacts[0].Manifest))(t); m.Problem == "" || len(m.List) != 0 {
		t.Errorf("%+v", m)
	}
}

func TestBadInformationSettingsAreRefused(t *testing.T) {
	k := newKit(t)
	for line, want := range map[string]string{
		"manifest = 'yes'":                  "manifest",
		"environment = ''":                  "environment",
		"environment_except = ['hostname']": "environment_except",
	} {
		k.configure("", line+"\n")
		if _, err := builderagent.Open(k.state()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// outputs makes files with many members each.
func outputs(t *testing.T, files, members int) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i := range files {
		var b strings.Builder
		b.WriteString("!<arch>\n")
		for j := range members {
			fmt.Fprintf(&b, "%-16s%-12s%-6s%-6s%-8s%-10s`\n", fmt.Sprintf("f%d-%d", i, j), "0", "0", "0", "100644", "0")
		}
		path := filepath.Join(dir, fmt.Sprintf("%d.a", i))
		check(t, os.WriteFile(path, []byte(b.String()), 0o600))
		paths = append(paths, path)
	}
	return paths
}

// All lists of a statement share what there is: small ones stay whole, large ones
// are cut.
func TestManifestsShareTheirRoom(t *testing.T) {
	paths := append(outputs(t, 2, 3000), outputs(t, 1, 3)...)
	artifacts, problems, err := builderagent.Hash(t.Context(), paths, nil, builderagent.Wanted{Manifests: true})
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	total := 0
	for i, a := range artifacts {
		m := must(manifest.Parse(a.Manifest))(t)
		if m.Truncated != (i < 2) {
			t.Errorf("%s: truncated %v", a.Name, m.Truncated)
		}
		total += len(a.Manifest)
	}
	if total > builderagent.ManifestBytes || total < builderagent.ManifestBytes*9/10 {
		t.Errorf("%d bytes together", total)
	}
}

// A vote that only just fits is made without the lists.
func TestVoteGoesBeforeManifests(t *testing.T) {
	k := newKit(t)
	k.configure("", "")
	s := must(builderagent.Open(k.state()))(t)
	artifacts, _, err := builderagent.Hash(t.Context(), outputs(t, 800, 1), nil, builderagent.Wanted{Manifests: true})
	check(t, err)
	st := statement.Statement{Case: statement.Case{Channel: "core", Target: target}, Artifacts: artifacts, Started: time.Now(), Finished: time.Now()}
	for i := range st.Artifacts {
		st.Artifacts[i].Name = fmt.Sprintf("%s-%0200d", st.Artifacts[i].Name, 0)
	}
	signed, left, err := s.SignVote(st)
	if err != nil || !left || len(signed.Artifacts) != 800 || signed.Artifacts[0].Manifest != nil {
		t.Fatalf("left out %v: %v", left, err)
	}
	if st.Artifacts[0].Manifest == nil {
		t.Error("the caller's artifacts were changed")
	}
}
