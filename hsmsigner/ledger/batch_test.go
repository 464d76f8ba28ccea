package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/quorum/statement"
)

// part is one of three parts of a batch of 600 signatures.
func part(c ledger.Commitment, request byte, index int, body string) ledger.Part {
	r := record(c, request, body)
	r.Signatures, r.Batch = nil, &ledger.Batch{Format: "ima", Key: "ima-2026", Fingerprint: "AB", Signatures: 600, Parts: 3}
	return ledger.Part{Record: r, Index: index, Signatures: min(256, 600-256*index)}
}

// TestParts: a part is stored once, whoever else stores it later, and is read back
// by another process.
func TestParts(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	c := commitment("package", 1)
	if _, err := l.StorePart(t.Context(), part(c, 5, 0, "early")); err == nil {
		t.Error("stored about a digest that nobody committed")
	}
	check(t, l.Commit(t.Context(), c))
	if stored, count, err := l.StoredParts(t.Context(), statement.SHA256{5}); err != nil || len(stored) > 0 || count != 0 {
		t.Errorf("before: %v of %d, %v", stored, count, err)
	}
	for _, p := range []struct {
		index      int
		body, want string
	}{{2, "two", "two"}, {0, "zero", "zero"}, {2, "two again", "two"}} {
		late := part(c, 5, p.index, p.body)
		late.At = at.Add(time.Hour)
		if late.Statements = nil; p.index == 2 && p.body == "two" {
			late = part(c, 5, p.index, p.body)
		}
		if got, err := l.StorePart(t.Context(), late); err != nil || string(got) != p.want {
			t.Errorf("part %d: %q, %v", p.index, got, err)
		}
	}
	check(t, l.Close())
	l = open(t, path)
	if stored, count, err := l.StoredParts(t.Context(), statement.SHA256{5}); err != nil || !slices.Equal(stored, []int{0, 2}) || count != 3 {
		t.Errorf("%v of %d, %v", stored, count, err)
	}
	if got, found, err := l.AnswerPart(t.Context(), statement.SHA256{5}, 2); err != nil || !found || string(got) != "two" {
		t.Errorf("%q, %v, %v", got, found, err)
	}
	if _, found, err := l.AnswerPart(t.Context(), statement.SHA256{5}, 1); err != nil || found {
		t.Errorf("a part that nobody stored: %v, %v", found, err)
	}
	other := c
	other.SHA256[0]++
	if _, err := l.StorePart(t.Context(), part(other, 6, 0, "x")); err == nil {
		t.Error("stored about another digest than the committed one")
	}
}

// TestRecordsOfBatches: they stand among the others in the order of their beginnings,
// with the number of their signatures, and the evidence of the part that came first.
func TestRecordsOfBatches(t *testing.T) {
	l := open(t, newPath(t))
	c := commitment("package", 1)
	check(t, l.Commit(t.Context(), c))
	for i := range 300 { // more than a page
		p := part(c, 0, 0, "x")
		p.Request, p.At = statement.SHA256{byte(i), byte(i >> 8), 1}, at.Add(time.Duration(2*i)*time.Second)
		_, err := l.StorePart(t.Context(), p)
		check(t, err)
		r := record(c, 0, "x")
		r.Request, r.At = statement.SHA256{byte(i), byte(i >> 8), 2}, p.At.Add(time.Second)
		_, err = l.Store(t.Context(), r)
		check(t, err)
	}
	last := part(c, 0, 2, "x")
	last.Request, last.At, last.Statements, last.PolicyVersion = statement.SHA256{0, 0, 1}, at.Add(time.Hour), []statement.SHA256{{9}}, 8
	_, err := l.StorePart(t.Context(), last)
	check(t, err)
	all := records(t, l)
	if len(all) != 600 {
		t.Fatalf("%d records", len(all))
	}
	for i, r := range all {
		if !r.At.Equal(at.Add(time.Duration(i)*time.Second)) || (r.Batch != nil) != (i%2 == 0) || (len(r.Signatures) == 1) != (i%2 == 1) {
			t.Fatalf("record %d: %+v", i, r)
		}
	}
	want := ledger.Batch{Format: "ima", Key: "ima-2026", Fingerprint: "AB", Signatures: 600, Parts: 3, Stored: 256 + 88, StoredParts: 2}
	if r := all[0]; *r.Batch != want || r.PolicyVersion != 7 || fmt.Sprint(r.Statements) != fmt.Sprint([]statement.SHA256{{1}, {2}}) {
		t.Errorf("%+v of %+v", r.Batch, r)
	}
}

func TestDamagedPart(t *testing.T) {
	path := newPath(t)
	l := open(t, path)
	c := commitment("package", 1)
	check(t, l.Commit(t.Context(), c))
	_, err := l.StorePart(t.Context(), part(c, 5, 0, "part"))
	check(t, err)
	db := raw(t, path)
	for _, table := range []string{"batch", "answer_part", "batch_statement"} {
		for _, command := range []string{"DELETE FROM " + table, "UPDATE " + table + " SET rowid = rowid + 1"} {
			if _, err := db.Exec(command); err == nil || !strings.Contains(err.Error(), "only grows") {
				t.Errorf("%s: %v", command, err)
			}
		}
	}
	_, err = db.Exec(`DROP TRIGGER answer_part_stays; UPDATE answer_part SET body = CAST('paxt' AS BLOB)`)
	check(t, err)
	if data, found, err := l.AnswerPart(t.Context(), statement.SHA256{5}, 0); err == nil || found {
		t.Errorf("got %q", data)
	}
	if data, err := l.StorePart(t.Context(), part(c, 5, 0, "part")); err == nil {
		t.Errorf("stored again: %q", data)
	}
}
