package coordinator_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/internal/pgpsig"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/rawsig"
	"quorate/internal/sigformat/sshsig"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// withOutputs has the channel core sign something else with its key.
func withOutputs(t testing.TB, outputs string) string {
	return strings.Replace(policyText(t, 1, 3, "", nil), `sign = [{format = "openpgp", key = "core-key"}]`, "sign = ["+outputs+"]", 1)
}

// ready starts the world and brings it to where the signer is asked.
func (w *world) ready() (*signer, *quorum.Request) {
	w.t.Helper()
	w.start()
	s := w.signer()
	w.agree("alice", "bob", "carol")
	return s, s.next()
}

// respond answers with a signature for each output.
func (s *signer) respond(r *quorum.Request, make func(quorum.SignedOutput) []byte, change func(*quorum.Answer)) {
	s.w.t.Helper()
	if _, ref := quorum.Check(s.policy, r, time.Now()); ref != nil {
		s.w.t.Fatal(ref)
	}
	a := &quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target, Stage: r.Stage, Artifact: r.Artifact,
		Digest: r.Digest, Policy: r.Policy, Evidence: quorum.EvidenceDigest(r.Evidence)}
	for _, e := range r.Evidence {
		a.Statements = append(a.Statements, statement.ID(e.Raw))
	}
	for _, o := range r.Outputs {
		signed := quorum.SignedOutput{Output: o, Fingerprint: "not believed", SignedAt: time.Now()}
		signed.Signature = make(signed)
		a.Signatures = append(a.Signatures, signed)
	}
	if change != nil {
		change(a)
	}
	s.publish(a)
	s.w.sync()
}

// own makes OpenPGP, SSHSIG and the summary by the world's key.
func (w *world) own(r *quorum.Request, edit func(*vsa.Summary)) func(quorum.SignedOutput) []byte {
	k := must(sigformat.NewKey(w.sign.Public(), softToken(w.sign)))(w.t)
	return func(o quorum.SignedOutput) []byte {
		switch o.Format {
		case format.SSHSIG:
			return must(sshsig.Sign(k, sigcheck.Namespace, r.Digest.SHA512))(w.t)
		case format.VSA:
			s := &vsa.Summary{Signer: "hsm", Time: time.Now(), Artifact: r.Artifact, SHA256: r.Digest.SHA256, Target: r.Target,
				Channel: r.Channel, PolicyURI: "urn:quorate:policy:1", PolicyDigest: r.Policy.Digest, Agreed: 3, Operators: 4,
				Inputs: []statement.SHA256{statement.ID(r.Evidence[0].Raw)}}
			if edit != nil {
				edit(s)
			}
			return must(vsa.Sign(k, s))(w.t)
		}
		return w.signature(w.t, "token", "hello, world", sigcheck.Notations(r.Channel, r.Target, r.Policy, quorum.EvidenceDigest(r.Evidence)))
	}
}

// TestEveryFormatIsVerified answers one question in three formats, and shows each
// under its own name and type.
func TestEveryFormatIsVerified(t *testing.T) {
	w := newWorldWith(t, withOutputs(t, `{format = "openpgp", key = "core-key"}, {format = "sshsig", key = "core-key"}, {format = "vsa", key = "core-key"}`))
	s, r := w.ready()
	if len(r.Outputs) != 3 || len(r.Signables) != 1 {
		t.Fatalf("request %+v", r)
	}
	s.respond(r, w.own(r, func(s *vsa.Summary) { s.Target = "pkg:generic/evil@1" }), nil)
	s.respond(r, w.own(r, func(s *vsa.Summary) { s.SHA256[0] ^= 1 }), nil)
	s.respond(r, w.own(r, func(s *vsa.Summary) { s.PolicyDigest[0] ^= 1 }), nil)
	s.respond(r, w.own(r, nil), func(a *quorum.Answer) { a.Signatures[1].SignedAt = time.Now().Add(time.Hour) })
	s.respond(r, w.own(r, nil), func(a *quorum.Answer) { a.Signatures[1].SignedAt = time.Time{} })
	list := get[rejectedList](w, "/v1/rejected").Rejected
	for i, want := range []statement.Code{"bad-answer", "bad-answer", "signature-invalid", "signature-invalid", "signature-invalid"} {
		if len(list) != 5 || list[i].Code != want {
			t.Fatalf("rejected: %+v, want %s at %d", list, want, i)
		}
	}
	w.wantState(quorum.Agreed)
	s.respond(r, w.own(r, nil), nil)
	a := w.wantState(quorum.Signed)
	wantType := map[format.Name][2]string{format.OpenPGP: {"application/pgp-signature", "hello.sig"},
		format.SSHSIG: {"text/plain; charset=us-ascii", "hello.sshsig"}, format.VSA: {"application/vnd.in-toto.vsa+dsse", "hello.vsa.json"}}
	for _, sig := range a.Signatures {
		res := must(http.Get(w.c.URL() + sig.Path))(t)
		res.Body.Close()
		want := wantType[sig.Format]
		if res.Header.Get("Content-Type") != want[0] || !strings.Contains(res.Header.Get("Content-Disposition"), want[1]) {
			t.Errorf("%s: %v", sig.Format, res.Header)
		}
		if sig.Format == format.SSHSIG && !strings.HasPrefix(sig.Fingerprint, "SHA256:") || sig.SignedAt.IsZero() || sig.Fingerprint == "not believed" {
			t.Errorf("%+v", sig)
		}
	}
	if b := get[quorum.Bundle](w, a.Evidence); b.Request.ID != r.ID || len(b.Answer.Signatures) != 3 {
		t.Errorf("evidence about %+v", b.Request)
	}
}

// TestBareSignature has a key without a certificate sign the SHA-256 alone: the
// request carries no state and no SHA-512.
func TestBareSignature(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	w := newWorldWith(t, strings.ReplaceAll(policyText(t, 1, 3, "", nil), `format = "openpgp"`, `format = "raw-sha256"`))
	w.bareKey(&private.PublicKey)
	s, r := w.ready()
	if len(r.Signables) != 0 || r.Digest.SHA512 != (statement.SHA512{}) {
		t.Fatalf("request %+v", r)
	}
	k := must(sigformat.NewKey(&private.PublicKey, softECDSA(private)))(t)
	raw := func(digest [32]byte) func(quorum.SignedOutput) []byte {
		return func(quorum.SignedOutput) []byte { return must(rawsig.Sign(k, crypto.SHA256, digest[:]))(t) }
	}
	s.respond(r, raw(sha256.Sum256([]byte("other"))), nil)
	w.wantState(quorum.Agreed)
	s.respond(r, raw(r.Digest.SHA256), nil)
	a := w.wantState(quorum.Signed)
	if len(a.Signatures) != 1 || len(a.Signatures[0].Fingerprint) != 64 {
		t.Errorf("%+v", a.Signatures)
	}
	if b := get[quorum.Bundle](w, a.Evidence); b.Request.ID != r.ID {
		t.Error("the request cannot be put together again")
	}
}

// bareKey puts the public key where the configuration names it.
func (w *world) bareKey(pub crypto.PublicKey) {
	w.t.Helper()
	der := must(x509.MarshalPKIXPublicKey(pub))(w.t)
	check(w.t, os.WriteFile(filepath.Join(w.state(), "core-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
}

func softECDSA(k *ecdsa.PrivateKey) pgpsig.SignFunc {
	return func(_ crypto.Hash, digest []byte) ([]byte, error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	}
}

// TestKeysMustFitThePolicy: what cannot be verified later is said at the start.
func TestKeysMustFitThePolicy(t *testing.T) {
	for outputs, want := range map[string]string{
		`{format = "cms", key = "other-key"}`:    `public key of key "other-key"`,
		`{format = "sshsig", key = "other-key"}`: `public key of key "other-key"`,
	} {
		w := newWorldWith(t, withOutputs(t, outputs))
		if _, err := coordinator.Start(t.Context(), w.options()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", outputs, err)
		}
		private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
		der := must(x509.MarshalPKIXPublicKey(private.Public()))(t)
		check(t, os.WriteFile(filepath.Join(w.state(), "other-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
		c, err := coordinator.Start(t.Context(), w.options())
		if err == nil {
			check(t, c.Close())
		}
		if strings.Contains(outputs, "cms") && (err == nil || !strings.Contains(err.Error(), "needs the X.509 certificate")) || strings.Contains(outputs, "sshsig") && err != nil {
			t.Errorf("%s: %v", outputs, err)
		}
	}
}
