package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/quorum/statement"
)

// TestLedgerOfBatches: a batch is one line with the number of its signatures, and is
// shown in its parts.
func TestLedgerOfBatches(t *testing.T) {
	p := newPlace(t)
	path := p.path("ledger.db")
	check(t, ledger.Create(t.Context(), path))
	l := must(ledger.Open(t.Context(), path))(t)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	id, digest := statement.SHA256{5}, statement.SHA256{7}
	check(t, l.Commit(t.Context(), ledger.Commitment{Channel: "core", Target: target, Artifact: "hello.rpm", SHA256: digest, Request: id, At: at}))
	store := func(index int, body string) {
		t.Helper()
		_, err := l.StorePart(t.Context(), ledger.Part{Index: index, Signatures: min(256, 300-256*index), Record: ledger.Record{Request: id,
			Channel: "core", Target: target, Artifact: "hello.rpm", SHA256: digest, PolicyVersion: 1, Statements: []statement.SHA256{{9}},
			Answer: []byte(body), At: at, Batch: &ledger.Batch{Format: "ima", Key: "ima-2026", Fingerprint: "ab", Signatures: 300, Parts: 2}}})
		check(t, err)
	}
	list := func() string { t.Helper(); return p.command("ledger", "list", "--ledger", path) }
	show := func() string { t.Helper(); return p.command("ledger", "show", "--ledger", path, id.String()) }
	store(1, `{"part":1}`)
	if out := list(); !strings.Contains(out, "ima-2026  44 of 300") {
		t.Errorf("list of half a batch:\n%s", out)
	}
	if out := show(); out != "{\"part\":1}\n" {
		t.Errorf("half a batch: %q", out)
	}
	store(0, `{"part":0}`)
	if out := list(); !strings.Contains(out, "ima-2026  300 ") || strings.Count(out, "\n") != 2 {
		t.Errorf("list:\n%s", out)
	}
	if out := show(); out != "{\"part\":0}\n{\"part\":1}\n" {
		t.Errorf("got %q", out)
	}
	want := `"signatures":[],"batch":{"format":"ima","key":"ima-2026","fingerprint":"ab","signatures":300,"parts":2,"storedSignatures":300,"storedParts":2}}`
	if out := p.command("ledger", "list", "--ledger", path, "--json"); !strings.Contains(out, want) {
		t.Errorf("got %s", out)
	}
	check(t, l.Close())
}

// TestFullDiskIsNamed: what SQLite and the system say of it comes with what to do.
func TestFullDiskIsNamed(t *testing.T) {
	var out strings.Builder
	if code := report(&out, fmt.Errorf("open ledger: %w", syscall.ENOSPC)); code != exitFailure || !strings.Contains(out.String(), "hint: the disk is full: make room") {
		t.Errorf("%d %s", code, out.String())
	}
}
