package evidence_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"quorate/quorum"
	"quorate/quorum/evidence"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const (
	emzy  = "9EDAFF80E080659604F4A76B2EBB056FD847F8A7"
	sjors = "ED9BDF7AD6A55E232E84524257FF9BDBCC301009"
)

// rollOf makes the roll of a policy with two OpenPGP builders and a bare key.
func rollOf(t *testing.T, change func(string) string) *evidence.Roll {
	t.Helper()
	text := corekit.Head + corekit.Operators("berlin") +
		"[[operator]]\nname = \"emzy\"\n  [[operator.builder]]\n  name = \"Emzy\"\n  key = \"openpgp:" + emzy + "\"\n  filed_as = [\"old\"]\n" +
		"[[operator]]\nname = \"sjors\"\n  [[operator.builder]]\n  name = \"Sjors\"\n  key = \"openpgp:" + sjors + "\"\n" +
		corekit.Group("all", "2", "emzy", "sjors", "berlin") + corekit.Channel("all")
	if change != nil {
		text = change(text)
	}
	p, err := policy.Load([]byte(text), corekit.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.NewRoll(p)
}

// list is a statement filed under a name, with one verdict.
func list(name string, s evidence.Status, primary string) *evidence.Statement {
	v := evidence.Verdict{Status: s, Created: corekit.Epoch.Add(-time.Hour)}
	if primary != "" {
		v.Key = "openpgp4fpr:" + primary
	}
	return &evidence.Statement{Kind: evidence.GuixSigs, Claim: evidence.Claim{Release: "1.0", Name: name, Stage: "all"}, Verdicts: []evidence.Verdict{v}}
}

func TestAttribute(t *testing.T) {
	r := rollOf(t, nil)
	unsigned := list("Emzy", "", "")
	unsigned.Verdicts = nil
	future := list("Emzy", evidence.Good, emzy)
	future.Built = corekit.Epoch.Add(time.Hour)
	for name, tt := range map[string]struct {
		s    *evidence.Statement
		code statement.Code // empty: it is Emzy's
		msg  string
	}{
		"good":            {list("Emzy", evidence.Good, emzy), "", ""},
		"another name":    {list("old", evidence.Good, emzy), "", ""},
		"expired since":   {list("Emzy", evidence.ExpiredSince, emzy), "", ""},
		"letter case":     {list("emzy", evidence.Good, emzy), evidence.CodeUnknownName, `"Emzy" differs in letter case`},
		"unknown name":    {list("Nobody", evidence.Good, emzy), evidence.CodeUnknownName, "the signature is by builder Emzy"},
		"somebody else's": {list("Sjors", evidence.Good, emzy), evidence.CodeOtherName, "filed under the name of builder Sjors, signed by builder Emzy"},
		"revoked since":   {list("Emzy", evidence.RevokedSince, emzy), "revoked-since", "by builder Emzy"},
		"expired":         {list("Emzy", evidence.Expired, emzy), "expired", "by builder Emzy"},
		"future":          {list("Emzy", evidence.Future, emzy), "future", ""},
		"bad":             {list("Emzy", evidence.Bad, ""), "bad", ""},
		"no key":          {list("Emzy", evidence.NoKey, ""), "no-key", ""},
		"not pinned":      {list("Emzy", evidence.Good, "0000000000000000000000000000000000000000"), "good", ""},
		"unsigned":        {unsigned, evidence.CodeUnsigned, ""},
		"built in future": {future, quorum.CodeTimeInFuture, ""},
	} {
		v, err := r.Attribute(tt.s, corekit.Epoch)
		if tt.code == "" {
			if err != nil || v.Builder.Name != "Emzy" || v.Key.OpenPGP != emzy {
				t.Errorf("%s: %v %+v", name, err, v)
			}
			continue
		}
		var e *evidence.Error
		if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Msg, tt.msg) || e.Field == "" {
			t.Errorf("%s: %v, want %s %q", name, err, tt.code, tt.msg)
		}
	}
}

// TestAttributeByPolicy: the policy narrows what counts.
func TestAttributeByPolicy(t *testing.T) {
	line := "key = \"openpgp:" + emzy + "\"\n"
	for code, more := range map[statement.Code]string{
		"expired-since":           "  expired_since = \"reject\"\n",
		quorum.CodeKeyNotYetValid: "  not_before = 2026-03-01T12:00:00Z\n",
		quorum.CodeKeyExpired:     "  not_after = 2026-02-01T00:00:00Z\n",
	} {
		r := rollOf(t, func(text string) string { return strings.Replace(text, line, line+more, 1) })
		_, err := r.Attribute(list("Emzy", evidence.ExpiredSince, emzy), corekit.Epoch)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v", more, err)
		}
	}
	r := rollOf(t, func(text string) string {
		return strings.Replace(text, line, line+"  revoked = 2026-02-01T00:00:00Z\n", 1)
	})
	s := list("Emzy", evidence.Good, emzy)
	v, err := r.Attribute(s, corekit.Epoch)
	if o := v.Observe(s, evidence.Case{}); err != nil || o.Revoked.IsZero() {
		t.Errorf("a key that the policy revokes: %v %+v", err, o)
	}
}

// TestOneStatementIsOneVote, whoever else signed it.
func TestOneStatementIsOneVote(t *testing.T) {
	r := rollOf(t, nil)
	s := list("Emzy", evidence.NoKey, "")
	s.Kind = evidence.Link
	for _, fpr := range []string{sjors, emzy} {
		s.Verdicts = append(s.Verdicts, evidence.Verdict{Status: evidence.Good, Key: "openpgp4fpr:" + fpr})
	}
	if v, err := r.Attribute(s, corekit.Epoch); err != nil || v.Builder.Name != "Sjors" {
		t.Errorf("%v %+v", err, v)
	}
	s.Kind = evidence.GuixSigs // here the name decides which signature is asked for
	if v, err := r.Attribute(s, corekit.Epoch); err != nil || v.Builder.Name != "Emzy" {
		t.Errorf("%v %+v", err, v)
	}
}

// TestOpenPGPKeysSignNoNativeStatements: a builder with nothing else has no say
// among Quorate's own statements.
func TestOpenPGPKeysSignNoNativeStatements(t *testing.T) {
	text := corekit.Head + "[[operator]]\nname = \"berlin\"\n  [[operator.builder]]\n  name = \"berlin\"\n  key = \"openpgp:" + emzy + "\"\n" + corekit.Channel("berlin")
	p, err := policy.Load([]byte(text), corekit.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	_, err = quorum.Admit(p, corekit.Vote("berlin", corekit.Artifact("a", "a")), corekit.Epoch)
	var e *statement.Error
	if !errors.As(err, &e) || e.Code != statement.CodeBadSignature {
		t.Errorf("admitted: %v", err)
	}
}

func TestCases(t *testing.T) {
	two := []evidence.Artifact{{Name: "a b.zip"}, {Name: "c+d"}}
	for _, tt := range []struct {
		naming evidence.Naming
		s      evidence.Statement
		want   string
	}{
		{evidence.Naming{Name: "bitcoin"}, evidence.Statement{Kind: evidence.GuixSigs, Claim: evidence.Claim{Release: "22.0rc1", Stage: "all"}}, "pkg:generic/bitcoin@22.0rc1 all 2"},
		{evidence.Naming{Name: "a/b"}, evidence.Statement{Kind: evidence.GuixSigs, Claim: evidence.Claim{Release: "1@2", Stage: "all"}}, "pkg:generic/a%2Fb@1%402 all 2"},
		{evidence.Naming{}, evidence.Statement{Kind: evidence.BuildInfo, Subject: "0xffff (0.8-1) 0.8-1+b1 amd64"}, "pkg:deb/0xffff@0.8-1%2Bb1  2"},
		{evidence.Naming{}, evidence.Statement{Kind: evidence.BuildInfo, Subject: "dnf 4.5 all source"}, "pkg:deb/dnf@4.5  2"},
		{evidence.Naming{}, evidence.Statement{Kind: evidence.NarInfo, Subject: "x-curl"}, "pkg:nix/x-curl  2"},
		{evidence.Naming{}, evidence.Statement{Kind: evidence.DSSE}, "pkg:generic/a%20b.zip  1, pkg:generic/c%2Bd  1"},
		{evidence.Naming{Target: "pkg:x/y@1"}, evidence.Statement{Kind: evidence.Rebuilderd}, "pkg:x/y@1  2"},
		{evidence.Naming{Target: "pkg:x/y@1", Name: "n"}, evidence.Statement{Kind: evidence.GuixSigs, Claim: evidence.Claim{Release: "1", Stage: "s"}}, "pkg:generic/n@1 s 2"},
	} {
		tt.s.Artifacts = two
		var got []string
		for _, c := range tt.naming.Cases(&tt.s) {
			if !statement.ValidTarget(c.Target) {
				t.Errorf("%q is no target", c.Target)
			}
			got = append(got, c.Target+" "+c.Stage+" "+string(rune('0'+len(c.Files))))
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("got %q, want %q", s, tt.want)
		}
	}
}
