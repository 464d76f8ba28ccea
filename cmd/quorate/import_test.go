package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/internal/api"
	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

func exitCodeOf(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return -1
}

func TestImportTree(t *testing.T) {
	people := newPeople("alice", "bob", "carol", "dave")
	stranger := newPeople("mallory")[0]
	r := newRecord(t, foreignPolicy(1, 3, people...))
	s := newSigs(t, append(people, stranger)...)
	for _, p := range people[:3] {
		s.list(p, "1.0", sums("tool-1.0.zip=a", "tool-1.0.exe=b", "README=r"), born)
	}
	s.list(people[3], "1.0", sums("tool-1.0.zip=x"), born)
	s.list(stranger, "1.0", sums("tool-1.0.zip=a"), born)
	ok(t, stranger.file(s.dir, "1.1", "alice", sums("tool-1.1.zip=a"), born)) // in another's name
	ok(t, people[0].file(filepath.Join(s.dir, "old"), "1.0", "alice", sums("tool-1.0.zip=old"), born))
	ok(t, os.Symlink("tool", filepath.Join(s.dir, "1.0", "link.SHA256SUMS")))

	got := r.bring("guix.sigs", s.dir)
	var kinds []string
	for _, line := range got {
		f := strings.Fields(line)
		kinds = append(kinds, strings.Join(slices.Delete(f, 1, 2), " "))
	}
	at := func(name string) string { return filepath.Join(s.dir, name, "all.SHA256SUMS") }
	want := []string{"recorded " + at("1.0/alice"), "recorded " + at("1.0/bob"), "recorded " + at("1.0/carol"), "recorded " + at("1.0/dave"),
		"rejected unknown-name " + at("1.0/mallory"), "rejected no-key " + at("1.1/alice")}
	slices.Sort(kinds)
	slices.Sort(want)
	if !slices.Equal(kinds, want) {
		t.Fatalf("got %q\nwant %q", kinds, want)
	}
	verdicts := []string{"tool@1.0 all tool-1.0.exe agreed 3", "tool@1.0 all tool-1.0.zip agreed 3 1"}
	if v := r.verdicts(); !slices.Equal(v, verdicts) {
		t.Fatalf("verdicts: %q", v)
	}
	if again := r.bring("guix.sigs", s.dir); len(again) > 0 {
		t.Errorf("the second time it brought %q", again)
	}
	r.checkShown(t, people[0], at("1.0/alice"))

	var rejected api.Rejected
	ok(t, json.Unmarshal(r.get("/v1/rejected", 200), &rejected))
	if len(rejected.Rejected) != 2 || rejected.Rejected[0].Subject != "quorate.foreign.core.gather" {
		t.Errorf("rejected: %+v", rejected)
	}
	for _, known := range rejected.Rejected {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, "rejected "+known.SHA256.String()+" ") }) {
			t.Errorf("no line has the id %s that the record knows:\n%s", known.SHA256, strings.Join(got, "\n"))
		}
	}
}

// checkShown looks at one statement as people and programs see it.
func (r *recordWorld) checkShown(t *testing.T, p person, origin string) {
	t.Helper()
	d := r.targets()[0]
	i := slices.IndexFunc(d.Statements, func(s api.StatementInfo) bool { return s.Builder == p.name })
	if i < 0 || d.Statements[i].Foreign == nil {
		t.Fatalf("statements: %+v", d.Statements)
	}
	s := d.Statements[i]
	f := s.Foreign
	if f.Kind != "guix.sigs" || f.Importer != "gather" || f.Origin != origin || len(f.Verdicts) != 1 ||
		f.Verdicts[0].Status != "good" || !strings.HasSuffix(f.Verdicts[0].Key, p.fingerprint()) || !f.Judged.Equal(s.Received) {
		t.Errorf("shown as %+v", f)
	}
	whole := r.get(s.Path, 200)
	if statement.ID(whole) != s.ID {
		t.Error("the download has not the identity of the statement")
	}
	b := must(evidence.DecodeBundle(whole))
	list, sig := must(os.ReadFile(origin)), must(os.ReadFile(origin+".asc"))
	if !bytes.Equal(b.Body, list) || !bytes.Equal(b.Signature, sig) || !bytes.Equal(r.get(s.Path+"?part=body", 200), list) || !bytes.Equal(r.get(s.Path+"?part=signature", 200), sig) {
		t.Error("the bytes are not those of the files")
	}
	if key := must(openpgp.Identify(r.get(s.Path+"?part=key", 200))); key.String() != p.fingerprint() {
		t.Errorf("the key is %s", key)
	}
	r.get(s.Path+"?part=other", 400)
	r.get("/v1/statements/"+strings.Repeat("0", 64), 404)

	var out bytes.Buffer
	ok(t, (&shown{targets: []*api.TargetDetail{&d}}).print(&out))
	for _, word := range []string{"Made by other tools", "guix.sigs, signature good", "brought by gather"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), word) {
			t.Errorf("show does not say %q:\n%s", word, out.String())
		}
	}
}

func TestImportWatch(t *testing.T) {
	people := newPeople("alice", "bob")
	r := newRecord(t, foreignPolicy(1, 2, people...))
	s := newSigs(t, people...)
	s.list(people[0], "1.0", sums("tool-1.0.zip=a"), born)
	out, stop := r.watch(r.command("guix.sigs", s.dir))
	out.await(t, "recorded", 1)

	ok(t, os.MkdirAll(filepath.Join(s.dir, ".git"), 0o755))
	lock := filepath.Join(s.dir, ".git", "index.lock")
	ok(t, os.WriteFile(lock, nil, 0o644)) // git is at work: nothing is read
	s.list(people[1], "1.0", sums("tool-1.0.zip=b"), born)
	ok(t, os.Remove(lock))
	out.await(t, "recorded", 2)
	if v := r.verdicts(); !slices.Equal(v, []string{"tool@1.0 all tool-1.0.zip unreachable 1 1"}) {
		t.Errorf("verdicts: %q", v)
	}

	s.list(people[1], "1.0", sums("tool-1.0.zip=a"), born.Add(time.Hour)) // replaced
	out.await(t, "recorded", 3)
	agreed := []string{"tool@1.0 all tool-1.0.zip agreed 2"}
	if v := r.verdicts(); !slices.Equal(v, agreed) {
		t.Errorf("verdicts: %q", v)
	}
	stop()
	if again := r.bring("guix.sigs", s.dir); len(again) > 0 {
		t.Errorf("a new process brought %q", again)
	}

	// What was replaced cannot be brought back, whoever carries it.
	s.list(people[1], "1.0", sums("tool-1.0.zip=c"), born.Add(time.Minute))
	if got := r.bring("guix.sigs", s.dir); len(got) != 1 || !strings.Contains(got[0], " superseded ") {
		t.Errorf("an older list: %q", got)
	}
	if v := r.verdicts(); !slices.Equal(v, agreed) {
		t.Errorf("verdicts: %q", v)
	}
}

// A key file that arrives later gives another chance to what was refused for the
// lack of it, and a policy that pins a key later counts what is recorded already.
func TestImportKeyArrivesLater(t *testing.T) {
	people := newPeople("alice", "bob")
	r := newRecord(t, foreignPolicy(1, 1, people[0]))
	s := newSigs(t)
	ok(t, os.RemoveAll(filepath.Join(s.dir, "builder-keys")))
	for _, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born)
	}
	if got := r.bring("guix.sigs", s.dir); len(got) != 2 || !strings.HasPrefix(got[0], "rejected") {
		t.Fatalf("without keys: %q", got)
	}
	keys := newSigs(t, people...)
	c := r.command("guix.sigs", s.dir)
	c.Keys = filepath.Join(keys.dir, "builder-keys")
	if got := r.run(c); len(got) != 2 || !strings.HasPrefix(got[0], "recorded") || !strings.Contains(got[1], "unknown-name") {
		t.Fatalf("with keys: %q", got)
	}
	ok(t, r.c.Close())
	r.setPolicy(foreignPolicy(2, 2, people...))
	r.start()
	if v := r.verdicts(); !slices.Equal(v, []string{"tool@1.0 all tool-1.0.zip agreed 2"}) {
		t.Errorf("under the new policy: %q", v)
	}
}

func TestTwoImportersAreOneVoice(t *testing.T) {
	people := newPeople("alice", "bob")
	r := newRecord(t, foreignPolicy(1, 2, people...))
	s := newSigs(t, people...)
	s.list(people[0], "1.0", sums("tool-1.0.zip=a"), born)
	first := r.bring("guix.sigs", s.dir)
	r.enrol("second")
	c := r.command("guix.sigs", s.dir)
	c.State = r.path("second")
	if again := r.run(c); !slices.Equal(again, first) {
		t.Errorf("%q and %q: the same evidence under two names", first, again)
	}
	d := r.targets()[0]
	if len(d.Statements) != 1 || d.Statements[0].Foreign.Importer != "gather" || d.Artifacts[0].State != "waiting" {
		t.Errorf("statements: %+v", d.Statements)
	}
}

func TestImportWhileTheBusIsAway(t *testing.T) {
	people := newPeople("alice", "bob")
	r := newRecord(t, foreignPolicy(1, 2, people...))
	s := newSigs(t, people...)
	for _, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born)
	}
	ok(t, r.c.Close())
	c := r.command("guix.sigs", s.dir)
	c.Wait = time.Millisecond
	if err := c.run(t.Context(), newLines()); exitCodeOf(err) != exitWaiting {
		t.Fatalf("without a bus: %v", err)
	}
	ok(t, os.RemoveAll(s.dir)) // the source goes away, too
	r.start()
	empty := t.TempDir()
	if got := r.bring("guix.sigs", empty); len(got) != 2 {
		t.Errorf("what was in the spool: %q", got)
	}
	if v := r.verdicts(); !slices.Equal(v, []string{"tool@1.0 all tool-1.0.zip agreed 2"}) {
		t.Errorf("verdicts: %q", v)
	}
}

func TestImportRefusesFiles(t *testing.T) {
	people := newPeople("alice")
	r := newRecord(t, foreignPolicy(1, 1, people...))
	s := newSigs(t, people...)
	s.list(people[0], "1.0", sums("tool-1.0.zip=a"), born)
	link := filepath.Join(s.dir, "a.link")
	ok(t, os.WriteFile(link, []byte(`{"signatures":[],"signed":{"products":{}}}`), 0o644))
	large := filepath.Join(s.dir, "large.buildinfo")
	ok(t, os.WriteFile(large, bytes.Repeat([]byte("Format: 1.0\n"), 70_000), 0o644))
	huge := filepath.Join(s.dir, "huge.buildinfo")
	ok(t, os.WriteFile(huge, make([]byte, evidence.MaxBody+1), 0o644))
	pointer := filepath.Join(s.dir, "2.0")
	ok(t, os.Symlink("1.0", pointer))
	for _, c := range []struct {
		kind, path string
		want       string
	}{
		{"guix.sigs", link, "wrong-kind"},
		{"narinfo", link, "wrong-kind"},
		{"buildinfo", large, "too-large"},
		{"buildinfo", huge, "at most"},
		{"guix.sigs", filepath.Join(s.dir, "nothing"), "no such file"},
		{"other", s.dir, "is not known"},
		{"narinfo", "https://example.org/", "address"},
		{"rebuilderd", "https://user@example.org/", "alone"},
	} {
		out := newLines()
		err := r.command(c.kind, c.path).run(t.Context(), out)
		if exitCodeOf(err) != exitUsage || !strings.Contains(err.Error(), c.want) || out.String() != "" {
			t.Errorf("%s %s: %v %s", c.kind, c.path, err, out)
		}
	}
	// In a folder such files are passed over, and links are not followed.
	if got := r.bring("guix.sigs", s.dir); len(got) != 1 || !strings.HasPrefix(got[0], "recorded") {
		t.Errorf("the folder: %q", got)
	}
	if got := r.bring("guix.sigs", filepath.Join(s.dir, "1.0", "alice", "all.SHA256SUMS")); len(got) != 0 {
		t.Errorf("the same file by its own name: %q", got)
	}
}

func TestImportByAStranger(t *testing.T) {
	people := newPeople("alice")
	r := newRecord(t, foreignPolicy(1, 1, people...))
	s := newSigs(t, people...)
	s.list(people[0], "1.0", sums("tool-1.0.zip=a"), born)
	ok(t, os.Rename(r.path("gather"), r.path("kept")))
	out := newLines()
	if err := r.command("guix.sigs", s.dir).run(t.Context(), out); exitCodeOf(err) != exitUsage {
		t.Errorf("without a state directory: %v", err)
	}
	ok(t, os.Rename(r.path("kept"), r.path("gather")))
	for name, change := range map[string]string{"unknown key": "nonsense = 1\n", "plain bus": "nats = \"nats://192.0.2.1:4222\"\n"} {
		file := r.path("gather", "importer.toml")
		was := must(os.ReadFile(file))
		ok(t, os.WriteFile(file, []byte("name = \"gather\"\n"+change), 0o600))
		if err := r.command("guix.sigs", s.dir).run(t.Context(), out); exitCodeOf(err) != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
		ok(t, os.WriteFile(file, was, 0o600))
	}
	users := r.path("state", "users.toml")
	text := strings.Replace(string(must(os.ReadFile(users))), "'importer'", "'reader'", 1)
	ok(t, os.WriteFile(users, []byte(text), 0o600))
	ok(t, r.c.ReloadUsers(t.Context()))
	if err := r.command("guix.sigs", s.dir).run(t.Context(), out); exitCodeOf(err) != exitFailure {
		t.Errorf("with the rights of a reader: %v", err)
	}
}

// The stored judgement counts, also when everything else is projected anew, and a
// rebuild from the stream alone comes to the same.
func TestImportIsDecidedAlikeAgain(t *testing.T) {
	people := newPeople("alice", "bob")
	r := newRecord(t, foreignPolicy(1, 2, people...))
	s := newSigs(t, people...)
	for i, p := range people {
		s.list(p, "1.0", sums("tool-1.0.zip=a"), born.Add(time.Duration(i)*time.Hour))
	}
	r.bring("guix.sigs", s.dir)
	before := r.verdicts()
	r.reopen(t, "rebuild", foreignPolicy(1, 2, people...))
	if v := r.verdicts(); !slices.Equal(v, before) {
		t.Errorf("after a rebuild: %q, before %q", v, before)
	}
	d := r.targets()[0].Statements[0]
	r.exec(t, `UPDATE foreign_statement SET verdicts = replace(verdicts, '"good"', '"expired"') WHERE seq = ?`, d.Seq)
	r.reopen(t, "start", foreignPolicy(2, 2, people...))
	if v := r.verdicts(); !slices.Equal(v, []string{"tool@1.0 all tool-1.0.zip waiting 1"}) {
		t.Errorf("the stored judgement does not count: %q", v)
	}
	// A rebuild takes what was found from the old database.
	r.reopen(t, "rebuild", foreignPolicy(2, 2, people...))
	if v := r.verdicts(); !slices.Equal(v, []string{"tool@1.0 all tool-1.0.zip waiting 1"}) {
		t.Errorf("a rebuild judged again: %q", v)
	}
	r.remove(t)
	r.reopen(t, "rebuild", foreignPolicy(2, 2, people...))
	if v := r.verdicts(); !slices.Equal(v, before) {
		t.Errorf("from the stream alone: %q", v)
	}
}

func TestImportStopsWhenTold(t *testing.T) {
	people := newPeople("alice")
	r := newRecord(t, foreignPolicy(1, 1, people...))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := r.command("guix.sigs", newSigs(t).dir)
	c.Watch = true
	if err := c.run(ctx, newLines()); err != nil {
		t.Error(err)
	}
}

// Each file of a bare key's statement is a target of its own.
func TestImportProvenance(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	ok(t, writeDSSE(dir, 6, 2))
	policy := strings.NewReplacer(`name = "bench"`, `name = "core"`, `format = "openpgp", key = "none"`, `format = "raw-sha256", key = "k"`).Replace(dssePolicy(2))
	r := newRecord(t, policy)
	if got := r.bring("dsse", dir); len(got) != 6 || !strings.HasPrefix(got[0], "recorded") {
		t.Fatalf("%q", got)
	}
	want := []string{"file-0000000.tar  file-0000000.tar agreed 2", "file-0000001.tar  file-0000001.tar agreed 2", "file-0000002.tar  file-0000002.tar agreed 2"}
	if v := r.verdicts(); !slices.Equal(v, want) {
		t.Errorf("verdicts %q", v)
	}
	// "slsa" is another word for the same: nothing is new.
	if got := r.bring("slsa", dir); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
