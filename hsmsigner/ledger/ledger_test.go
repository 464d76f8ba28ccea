package ledger_test

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quorate/hsmsigner/ledger"
	"quorate/quorum/statement"
)

var at = time.Date(2024, 6, 1, 12, 0, 0, 1, time.UTC)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	check(t, ledger.Create(t.Context(), path))
	return path
}

func open(t testing.TB, path string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func commitment(artifact string, digest byte) ledger.Commitment {
	return ledger.Commitment{Channel: "core", Target: "pkg:generic/a@1", Artifact: artifact, Stage: "final",
		SHA256: statement.SHA256{digest}, SHA512: statement.SHA512{digest}, Request: statement.SHA256{9}, At: at}
}

func record(c ledger.Commitment, request byte, answer string) ledger.Record {
	return ledger.Record{Request: statement.SHA256{request}, Channel: c.Channel, Target: c.Target, Stage: c.Stage, Artifact: c.Artifact,
		SHA256: c.SHA256, SHA512: c.SHA512, PolicyVersion: 7, PolicyDigest: statement.SHA256{7}, Evidence: statement.SHA256{8},
		Statements: []statement.SHA256{{1}, {2}}, Answer: []byte(answer), At: at,
		Signatures: []ledger.Signature{{Format: "openpgp", Key: "core-2026", Fingerprint: "AB", Bytes: []byte("sig"), SignedAt: at}}}
}

func records(t testing.TB, l *ledger.Ledger) (out []ledger.Record) {
	t.Helper()
	check(t, l.Records(t.Context(), func(r ledger.Record) error { out = append(out, r); return nil }))
	return out
}

func TestCommit(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	first := commitment("hello", 1)
	check(t, l.Commit(t.Context(), first))
	check(t, l.Commit(t.Context(), first)) // again is fine
	wantOther := func(l *ledger.Ledger, c ledger.Commitment) {
		t.Helper()
		var other *ledger.OtherDigestError
		if err := l.Commit(t.Context(), c); !errors.As(err, &other) || other.SHA256 != first.SHA256 || !other.At.Equal(at) {
			t.Fatalf("got %v", err)
		}
	}
	wantOther(l, commitment("hello", 2))
	stage := commitment("hello", 2)
	stage.Stage = ""
	wantOther(l, stage)
	half := first
	half.SHA512[0] ^= 2
	wantOther(l, half)
	check(t, l.Commit(t.Context(), commitment("hello2", 2)))

	check(t, l.Close())
	wantOther(open(t, path), commitment("hello", 3))
}

// A copy that is made under a signer's hands knows every digest that was committed
// before, which the file alone does not.
func TestBackupKnowsTheNewest(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	check(t, l.Commit(t.Context(), commitment("hello", 1)))
	copied := filepath.Join(t.TempDir(), "copy.db")
	check(t, open(t, path).Backup(t.Context(), copied))
	var other *ledger.OtherDigestError
	if err := open(t, copied).Commit(t.Context(), commitment("hello", 2)); !errors.As(err, &other) {
		t.Errorf("the copy takes a second digest: %v", err)
	}
	check(t, l.Commit(t.Context(), commitment("hello2", 2))) // and the ledger goes on
	if err := l.Backup(t.Context(), copied); err == nil || !strings.Contains(err.Error(), "never overwrite") {
		t.Errorf("over an existing copy: %v", err)
	}
	info, err := os.Stat(copied)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestCommitAtOnce has several processes' worth of connections race for one name.
func TestCommitAtOnce(t *testing.T) {
	path := newPath(t)
	won := make(chan byte, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		l := open(t, path)
		wg.Go(func() {
			var other *ledger.OtherDigestError
			switch err := l.Commit(t.Context(), commitment("hello", byte(i))); {
			case err == nil:
				won <- byte(i)
			case !errors.As(err, &other):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d digests won", len(won))
	}
}

func TestStore(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	c := commitment("hello", 1)
	check(t, l.Commit(t.Context(), c))
	for _, text := range []string{"first", "second"} {
		got, err := l.Store(t.Context(), record(c, 5, text))
		check(t, err)
		if string(got) != "first" {
			t.Errorf("stored %q is answered with %q", text, got)
		}
	}
	check(t, l.Close())
	l = open(t, path)
	got, found, err := l.Answer(t.Context(), statement.SHA256{5})
	if err != nil || !found || string(got) != "first" {
		t.Errorf("got %q, %v, %v", got, found, err)
	}
	if _, found, err := l.Answer(t.Context(), statement.SHA256{6}); found || err != nil {
		t.Errorf("an answer to a request that was never made: %v", err)
	}
	recs := records(t, l)
	want := record(c, 5, "")
	want.Answer = nil
	if len(recs) != 1 || fmt.Sprint(recs[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", recs, want)
	}
}

// TestStoreNeedsCommitment: the database itself refuses an answer about a digest
// that is not the committed one.
func TestStoreNeedsCommitment(t *testing.T) {
	l := open(t, newPath(t))
	check(t, l.Commit(t.Context(), commitment("hello", 1)))
	for _, c := range []ledger.Commitment{commitment("hello", 2), commitment("other", 1)} {
		if _, err := l.Store(t.Context(), record(c, 5, "x")); err == nil {
			t.Errorf("stored an answer for %q with digest %s", c.Artifact, c.SHA256)
		}
	}
	if r := records(t, l); len(r) != 0 {
		t.Errorf("records: %v", r)
	}
}

func TestRefuse(t *testing.T) {
	l := open(t, newPath(t))
	for i := range 3 {
		check(t, l.Refuse(t.Context(), ledger.Refusal{Request: statement.SHA256{1}, Channel: "core", Code: "quorum-not-met",
			Message: fmt.Sprint(i), At: at}))
	}
	var got []string
	check(t, l.Refusals(t.Context(), func(r ledger.Refusal) error { got = append(got, r.Message); return nil }))
	if strings.Join(got, "") != "012" {
		t.Errorf("got %v", got)
	}
	stop := errors.New("stop")
	if err := l.Refusals(t.Context(), func(ledger.Refusal) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// TestRecordsPages reads more records than fit one page.
func TestRecordsPages(t *testing.T) {
	l := open(t, newPath(t))
	c := commitment("hello", 1)
	check(t, l.Commit(t.Context(), c))
	const n = 600
	for i := range n {
		r := record(c, 0, "x")
		r.Request = sha256.Sum256([]byte{byte(i), byte(i >> 8)}) // all of one time
		_, err := l.Store(t.Context(), r)
		check(t, err)
	}
	seen := map[statement.SHA256]bool{}
	for _, r := range records(t, l) {
		seen[r.Request] = true
	}
	if len(seen) != n {
		t.Errorf("%d records, want %d", len(seen), n)
	}
}

func TestCheck(t *testing.T) {
	l := open(t, newPath(t))
	check(t, l.Check(t.Context()))
	check(t, l.Commit(t.Context(), commitment("a", 1)))
	check(t, l.Check(t.Context()))
	check(t, l.Close())
	if err := l.Check(t.Context()); err == nil {
		t.Error("a closed ledger is fine")
	}
}

func TestMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := ledger.Open(t.Context(), path); !errors.Is(err, ledger.ErrMissing) || !strings.Contains(err.Error(), "init") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a ledger was made in passing")
	}
}

func TestCreateKeepsWhatIs(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	check(t, l.Commit(t.Context(), commitment("hello", 1)))
	check(t, ledger.Create(t.Context(), path))
	var other *ledger.OtherDigestError
	if err := l.Commit(t.Context(), commitment("hello", 2)); !errors.As(err, &other) {
		t.Errorf("got %v", err)
	}
}

func TestNotALedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	check(t, os.WriteFile(path, []byte("not a database at all, only some text that is long enough"), 0o600))
	if l, err := ledger.Open(t.Context(), path); err == nil {
		l.Close()
		t.Error("opened a text file")
	}
	if err := ledger.Create(t.Context(), path); err == nil {
		t.Error("made a ledger out of a text file")
	}
}

// TestModel compares the ledger with a map, over restarts.
func TestModel(t *testing.T) {
	ctx := t.Context()
	path := newPath(t)
	l := open(t, path)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // every run has names and requests of its own
		bound, answers := map[string]byte{}, map[statement.SHA256]string{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := fmt.Sprint(run, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "artifact"))
			c := commitment(name, rapid.ByteRange(1, 3).Draw(rt, "digest"))
			if rapid.Bool().Draw(rt, "restart") {
				check(t, l.Close())
				l = open(t, path)
			}
			err := l.Commit(ctx, c)
			if old, ok := bound[name]; ok && old != c.SHA256[0] {
				if err == nil {
					rt.Fatalf("%q has two digests", name)
				}
				continue
			}
			check(t, err)
			bound[name] = c.SHA256[0]
			text := rapid.StringN(1, 5, 5).Draw(rt, "answer")
			r := record(c, 0, text)
			r.Request = sha256.Sum256(fmt.Append(nil, run, rapid.IntRange(1, 4).Draw(rt, "request")))
			if _, ok := answers[r.Request]; !ok {
				answers[r.Request] = text
			}
			got, err := l.Store(ctx, r)
			check(t, err)
			if string(got) != answers[r.Request] {
				rt.Fatal("a request has two answers")
			}
		}
	})
}

// raw opens the file without the package.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestOnlyGrows(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	c := commitment("hello", 1)
	check(t, l.Commit(t.Context(), c))
	_, err := l.Store(t.Context(), record(c, 5, "x"))
	check(t, err)
	check(t, l.Refuse(t.Context(), ledger.Refusal{At: at}))
	c.SHA512 = statement.SHA512{}
	c.Artifact = "later"
	check(t, l.Commit(t.Context(), c))
	c.SHA512[0] = 1
	check(t, l.Commit(t.Context(), c, signable("text", 1)))
	db := raw(t, path)
	for _, table := range []string{"commitment", "commitment_sha512", "commitment_signable", "answer", "signature", "statement", "refusal"} {
		for _, command := range []string{"DELETE FROM " + table, "UPDATE " + table + " SET rowid = rowid + 1"} {
			if _, err := db.Exec(command); err == nil || !strings.Contains(err.Error(), "only grows") {
				t.Errorf("%s: %v", command, err)
			}
		}
	}
}

// TestDamagedAnswer changes stored bytes as a failing disk does.
func TestDamagedAnswer(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	c := commitment("hello", 1)
	check(t, l.Commit(t.Context(), c))
	_, err := l.Store(t.Context(), record(c, 5, "answer"))
	check(t, err)
	_, err = raw(t, path).Exec(`DROP TRIGGER answer_stays; UPDATE answer SET body = CAST('anxwer' AS BLOB)`)
	check(t, err)
	if data, found, err := l.Answer(t.Context(), statement.SHA256{5}); err == nil || found {
		t.Errorf("got %q", data)
	}
}

// TestSHA512ComesLater: formats that need no SHA-512 commit without one; the first
// that does binds it, and from then on there is no other.
func TestSHA512ComesLater(t *testing.T) {
	l := open(t, newPath(t))
	bare := commitment("hello", 1)
	bare.SHA512 = statement.SHA512{}
	check(t, l.Commit(t.Context(), bare))
	full := commitment("hello", 1)
	early := record(full, 6, "early")
	if _, err := l.Store(t.Context(), early); err == nil {
		t.Error("an answer was stored about a SHA-512 that nobody committed")
	}
	check(t, l.Commit(t.Context(), full))
	check(t, l.Commit(t.Context(), bare))
	other := full
	other.SHA512[0] ^= 2
	var wrong *ledger.OtherDigestError
	if err := l.Commit(t.Context(), other); !errors.As(err, &wrong) || wrong.SHA512 != full.SHA512 {
		t.Errorf("got %v", err)
	}
	for i, c := range []ledger.Commitment{bare, full} {
		if _, err := l.Store(t.Context(), record(c, byte(i+1), "x")); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Store(t.Context(), record(other, 7, "x")); err == nil {
		t.Error("an answer was stored about another SHA-512")
	}
	// The other way round: a commitment with both is good for who needs one.
	check(t, l.Commit(t.Context(), commitment("second", 2)))
	half := commitment("second", 2)
	half.SHA512 = statement.SHA512{}
	check(t, l.Commit(t.Context(), half))
	if _, err := l.Store(t.Context(), record(half, 9, "x")); err != nil {
		t.Error(err)
	}
}

// TestRefusalsAreBounded: nothing is removed from the ledger, so whoever may send
// requests must not be able to fill the disk with refusals.
func TestRefusalsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := ledger.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	refuse := func(n int, at time.Time) (rows, more int) {
		for range n {
			if err := l.Refuse(t.Context(), ledger.Refusal{Code: "held", At: at}); err != nil {
				t.Fatal(err)
			}
		}
		err := l.Refusals(t.Context(), func(r ledger.Refusal) error {
			if rows++; r.Code == ledger.AndMore {
				more++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return rows, more
	}
	const limit = ledger.RefusalsPerHour
	for _, c := range []struct {
		n          int
		at         time.Time
		rows, more int
	}{
		{limit, at, limit, 0},
		{50, at.Add(time.Minute), limit + 1, 1},
		{50, at.Add(59 * time.Minute), limit + 1, 1},
		{1, at.Add(time.Hour), limit + 2, 1},
		{limit, at.AddDate(10, 0, 0), 2*limit + 2, 1}, // the clock is ten years ahead for a while
		{limit, at.Add(2 * time.Hour), 3*limit + 2, 1},
		{50, at.Add(2 * time.Hour), 3*limit + 3, 2},
	} {
		if rows, more := refuse(c.n, c.at); rows != c.rows || more != c.more {
			t.Errorf("at %s: %d rows, %d of them for others; want %d and %d", c.at, rows, more, c.rows, c.more)
		}
	}
}
