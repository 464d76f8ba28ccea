package hsmsigner_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha512"
	"errors"
	"slices"
	"strings"
	"testing"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// TestInvariant1EvidenceFirst sends everything that must not reach the token,
// and then one good request, to show that the counter counts.
func TestInvariant1EvidenceFirst(t *testing.T) {
	w := newWorld(t)
	for _, bad := range badRequests(w) {
		w.now = now
		if !bad.at.IsZero() {
			w.now = bad.at
		}
		w.refused(bad.data, bad.code)
		w.wantSigns(0)
	}
	w.now = now
	if n := len(w.records()) + len(w.commitments()); n != 0 {
		t.Fatalf("%d rows from requests that were refused", n)
	}
	w.signed(encode(t, w.ask("ed25519").request(t)))
	w.wantSigns(1)
}

// TestInvariant1WhateverIsRemembered sends everything bad to a signer that knows good
// statements by heart: it has judged them for a request that the token then failed at.
func TestInvariant1WhateverIsRemembered(t *testing.T) {
	w := newWorld(t)
	good := encode(t, w.ask("ed25519").request(t))
	w.token.sign = func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return nil, unavailable() }
	w.refused(good, quorum.RefuseToken)
	w.token.sign = func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
		t.Error("the token is asked")
		return nil, unavailable()
	}
	for range 2 {
		for _, bad := range badRequests(w) {
			w.now = now
			if !bad.at.IsZero() {
				w.now = bad.at
			}
			w.refused(bad.data, bad.code)
		}
	}
	w.now, w.token.sign = now, nil
	w.signed(good)
}

// TestInvariant2OneDigestForEver asks for a second digest with a full quorum for
// it, again after each thing that might make a signer forget.
func TestInvariant2OneDigestForEver(t *testing.T) {
	w := newWorld(t)
	first := w.ask("ed25519")
	_, signed := w.signed(encode(t, first.request(t)))

	second := first
	second.content, second.voters = []byte("hello, other world\n"), operators
	wantRefused := func(a ask) {
		t.Helper()
		reply := w.refused(encode(t, a.request(t)), quorum.RefuseOtherDigest)
		if len(reply.Alarms) != 1 || reply.Alarms[0].Code != hsmsigner.AlarmSecondDigest || reply.Alarms[0].Artifact != a.artifact {
			t.Fatalf("alarms: %+v", reply.Alarms)
		}
	}
	wantRefused(second)
	w.restart()
	wantRefused(second)

	w.policy = loadPolicy(t, policyText(t, 8))
	w.restart()
	second.policy = w.policy
	wantRefused(second)

	second.stage = "noncodesigned"
	wantRefused(second)
	w.wantSigns(1)

	// What was signed stays what it was, and its digest can be signed at another stage.
	first.policy, first.stage = w.policy, "noncodesigned"
	w.signed(encode(t, first.request(t)))
	if c := w.commitments(); len(c) != 1 || c[0].SHA256 != signed.Digest.SHA256 {
		t.Errorf("commitments: %+v", c)
	}
	// Another target or artifact is another name.
	second.artifact = "hello2"
	w.signed(encode(t, second.request(t)))
}

// TestInvariant2CommitmentComesFirst has the token fail: the digest is bound
// although nothing was signed, so that a crash cannot free it.
func TestInvariant2CommitmentComesFirst(t *testing.T) {
	w := newWorld(t)
	a := w.ask("ed25519")
	data := encode(t, a.request(t))
	w.token.sign = func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return nil, unavailable() }
	reply := w.refused(data, quorum.RefuseToken)
	if !reply.Refusal.Retryable {
		t.Error("a token that is away is worth another try")
	}
	if c := w.commitments(); len(c) != 1 {
		t.Fatalf("commitments: %+v", c)
	}
	other := a
	other.content = []byte("other\n")
	w.refused(encode(t, other.request(t)), quorum.RefuseOtherDigest)
	w.token.sign = nil
	w.signed(data)
}

// TestInvariant2OneTextForEver asks for a second text of the same file with a full
// quorum for it: no digest says which text is the file's.
func TestInvariant2OneTextForEver(t *testing.T) {
	both := []policy.Output{{Format: format.Cleartext, Key: "ed25519"}, {Format: format.OpenPGP, Key: "p256"}}
	w := newFormatWorld(t, map[string][]policy.Output{"texts": both})
	first := w.ask("texts")
	first.outputs = both[1:]
	w.signed(encode(t, first.request(t))) // binds no text
	w.wantSigns(1)

	// The text is bound before the token is asked.
	first.outputs = both[:1]
	w.token.sign = func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return nil, unavailable() }
	w.refused(encode(t, first.request(t)), quorum.RefuseToken)
	w.token.sign = nil
	w.wantSigns(2)

	second := first
	second.text, second.voters = []byte("hello, evil\n"), operators
	wantRefused := func() {
		t.Helper()
		for _, outputs := range [][]policy.Output{both[:1], both} {
			second.outputs = outputs
			reply := w.refused(encode(t, second.request(t)), quorum.RefuseOtherDigest)
			if len(reply.Alarms) != 1 || reply.Alarms[0].Code != hsmsigner.AlarmSecondDigest || !strings.Contains(reply.Alarms[0].Message, statement.TextState) {
				t.Fatalf("alarms: %+v", reply.Alarms)
			}
		}
	}
	wantRefused()
	w.signed(encode(t, first.request(t)))
	w.restart()
	wantRefused()
	second.stage = "noncodesigned"
	wantRefused()
	w.wantSigns(3)

	first.stage, first.outputs = "noncodesigned", both
	w.signed(encode(t, first.request(t)))
	second.artifact = "hello2"
	w.signed(encode(t, second.request(t)))
}

// TestInvariant4NoArtifactAtTheSigner signs a file of a megabyte from a request
// of a few kilobytes, and refuses states that are not the file's.
func TestInvariant4NoArtifactAtTheSigner(t *testing.T) {
	w := newWorld(t)
	small := encode(t, w.ask("ed25519").request(t))
	big := w.ask("ed25519")
	big.artifact, big.content = "big", bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // a megabyte
	large := encode(t, big.request(t))
	if d := len(large) - len(small); d > 1024 {
		t.Errorf("a megabyte of file makes the request %d bytes longer", d)
	}
	w.signed(large)

	other := sha512.New()
	other.Write([]byte("another file"))
	states := map[string]func(hashstate.State) hashstate.State{
		"of another file": func(hashstate.State) hashstate.State {
			return must(hashstate.Of(hashstate.SHA512, other))(t)
		},
		"chain changed": func(s hashstate.State) hashstate.State {
			s.Chain = slices.Clone(s.Chain)
			s.Chain[0] ^= 1
			return s
		},
		"tail changed": func(s hashstate.State) hashstate.State {
			s.Tail = slices.Clone(s.Tail)
			s.Tail[0] ^= 1
			return s
		},
		"longer": func(s hashstate.State) hashstate.State { s.Length += 128; return s },
	}
	calls := w.token.signs.Load()
	for name, change := range states {
		w.run(name, func(t *testing.T) {
			r := w.ask("ed25519").request(t)
			st := must(hashstate.Decode(hashstate.SHA512, r.Signables[quorum.StateSHA512]))(t)
			r.Signables[quorum.StateSHA512] = must(change(st).MarshalJSON())(t)
			r.ID = r.ComputeID()
			w.refused(encode(t, r), quorum.RefuseState)
		})
	}
	w.wantSigns(calls)
}

// TestInvariant7NothingUnverifiedLeaves puts a token in the place of the real one
// that answers with all kinds of wrong signatures.
func TestInvariant7NothingUnverifiedLeaves(t *testing.T) {
	const size = 384 // of an RSA-3072 signature
	for name, sign := range map[string]func(context.Context, string, crypto.Hash, []byte) ([]byte, error){
		"nothing": func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return nil, nil },
		"zeros":   func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return make([]byte, size), nil },
		"garbage": func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
			return bytes.Repeat([]byte("junk"), size/4), nil
		},
		"another key's": signAs("ed25519"),
		"of another digest": func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
			sum := sha512.Sum512(digest)
			return soft.token.Sign(ctx, label, h, sum[:])
		},
		"one bit off": func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
			sig, err := soft.token.Sign(ctx, label, h, digest)
			if err == nil {
				sig[len(sig)-1] ^= 1
			}
			return sig, err
		},
		"checked by the token": func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
			return nil, &token.Error{Op: "sign", Class: token.Permanent, Err: token.ErrBadSignature}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			data := encode(t, w.ask("rsa3072").request(t))
			w.token.sign = sign
			reply := w.refused(data, quorum.RefuseSignatureCheck)
			if len(reply.Alarms) != 1 || reply.Alarms[0].Code != hsmsigner.AlarmSignatureCheck {
				t.Errorf("alarms: %+v", reply.Alarms)
			}
			if recs := w.records(); len(recs) != 0 {
				t.Fatalf("stored: %+v", recs)
			}
			w.token.sign = nil
			w.signed(data)
		})
	}
}

// TestInvariant7SameRequestSameBytes uses ECDSA, which would give other bytes
// each time it is asked.
func TestInvariant7SameRequestSameBytes(t *testing.T) {
	w := newWorld(t)
	a := w.ask("p256")
	r := a.request(t)
	first, _ := w.signed(encode(t, r))
	again := func() {
		t.Helper()
		reply, _ := w.signed(encode(t, r))
		sameBytes(t, reply.Answer, first.Answer)
	}
	again()
	w.restart()
	again()

	// One vote more is the same request; and once it is answered neither policy
	// nor clock nor token is asked.
	r.Evidence = append(r.Evidence, quorum.Evidence{Kind: quorum.KindDSSE, Raw: a.statement(t, operators[2]).Raw()})
	again()
	w.policy = loadPolicy(t, policyText(t, 9, func(s string) string { return strings.ReplaceAll(s, `"p256"`, `"p256-new"`) }))
	w.token.key = func(label string) (token.Key, error) { return soft.token.Key(label) }
	w.restart()
	w.token.key = func(string) (token.Key, error) { return token.Key{}, unavailable() }
	w.now = w.policy.Expires.AddDate(1, 0, 0)
	again()
	w.wantSigns(1)
}

func unavailable() error {
	return &token.Error{Op: "sign", Class: token.Unavailable, Err: errors.New("device is away, its secret is " + userPIN)}
}

// signAs signs with that key of the real token, whatever it is asked for.
func signAs(label string) func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
	return func(ctx context.Context, _ string, h crypto.Hash, digest []byte) ([]byte, error) {
		return soft.token.Sign(ctx, label, h, digest)
	}
}
