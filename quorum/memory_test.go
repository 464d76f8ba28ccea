package quorum_test

import (
	"bytes"
	"strings"
	"testing"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// TestMemoryJudgesTheSame sends every forgery through a memory that knows the good
// statements it is made of, and twice: what was refused is refused again.
func TestMemoryJudgesTheSame(t *testing.T) {
	m := quorum.NewMemory(1 << 20)
	p := load(t, twoOfThree())
	good := request(t, p, builds("x", "berlin", "osaka", "reading")...)
	for range 2 {
		a, ref := m.Check(p, good, noon)
		if ref != nil {
			t.Fatal(ref)
		}
		wantApproved(t, a, good)
		if ids := a.Statements(); len(ids) != 3 || m.Statement(ids[2]) == nil || quorum.EvidenceDigestOf(ids) != quorum.EvidenceDigest(good.Evidence) {
			t.Errorf("statements %v", ids)
		}
	}
	for _, c := range forgeries {
		t.Run(c.name, func(t *testing.T) {
			p := load(t, twoOfThree())
			r := c.make(t, p)
			_, want := quorum.Check(p, r, noon)
			for range 2 {
				a, ref := m.Check(p, r, noon)
				wantRefused(t, a, ref, c.code, false, c.words)
				if want == nil || ref == nil || *ref != *want {
					t.Errorf("%v, without a memory %v", ref, want)
				}
			}
		})
	}
}

// TestMemoryHoldsToTheKey: that a signature was good under a key says nothing once the
// policy gives the builder another one.
func TestMemoryHoldsToTheKey(t *testing.T) {
	m := quorum.NewMemory(1 << 20)
	p := load(t, twoOfThree())
	r := request(t, p, builds("x", "berlin", "osaka")...)
	if _, ref := m.Check(p, r, noon); ref != nil {
		t.Fatal(ref)
	}
	text := strings.Replace(twoOfThree(), corekit.Text(corekit.Ed25519("osaka")), corekit.Text(corekit.Ed25519("osaka, later")), 1)
	a, ref := m.Recheck(load(t, text), r, noon)
	wantRefused(t, a, ref, quorum.RefuseEvidence, false, "bad-signature")
	if _, ref := m.Recheck(p, r, noon); ref != nil {
		t.Error(ref)
	}
}

// TestMemoryIsBounded: what was used longest ago goes, and what is refused never comes
// in.
func TestMemoryIsBounded(t *testing.T) {
	p := load(t, twoOfThree())
	stmts := builds("x", "berlin", "osaka", "reading")
	m := quorum.NewMemory(len(stmts[0].Raw()) + len(stmts[1].Raw()) + len(stmts[2].Raw()) - 1)
	m.Keep(stmts[0])
	m.Keep(stmts[1])
	if m.Statement(stmts[0].ID()) != stmts[0] {
		t.Fatal("it remembers nothing")
	}
	m.Keep(stmts[2])
	if m.Statement(stmts[0].ID()) == nil || m.Statement(stmts[1].ID()) != nil || m.Statement(stmts[2].ID()) == nil {
		t.Error("the one that was used longest ago is not the one that went")
	}
	r := ask(p, "x", stmts[1])
	r.Evidence[0].Raw = bytes.Replace(r.Evidence[0].Raw, []byte(`"sig":"`), []byte(`"sig":"AAAA`), 1)
	a, ref := m.Check(p, r, noon)
	wantRefused(t, a, ref, quorum.RefuseEvidence, false, "bad-signature")
	if m.Statement(statement.ID(r.Evidence[0].Raw)) != nil || m.Statement(stmts[0].ID()) == nil {
		t.Error("a statement that was refused took another's place")
	}
	small := quorum.NewMemory(1)
	small.Keep(stmts[0])
	if small.Statement(stmts[0].ID()) != nil {
		t.Error("a statement that is larger than the memory is in it")
	}
}
