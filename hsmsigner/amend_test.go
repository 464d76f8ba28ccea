package hsmsigner_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

// TestRevokedKeySignsNothing: a revoked certificate ends the key, also for formats
// in which verifiers do not see the certificate.
func TestRevokedKeySignsNothing(t *testing.T) {
	outputs := map[string][]policy.Output{
		"openpgp": {{Format: policy.OpenPGP, Key: "ed25519"}}, "sshsig": {{Format: format.SSHSIG, Key: "ed25519"}}, "vsa": {{Format: format.VSA, Key: "ed25519"}}}
	for name, out := range outputs {
		w := newFormatWorld(t, map[string][]policy.Output{name: out})
		o := w.options()
		o.Keys = slices.Clone(o.Keys)
		for i, k := range o.Keys {
			if k.Label == "ed25519" {
				_, dead, err := k.Revoke(t.Context(), soft.token, pgpsig.ReasonRetired, "it is over", now.Add(-time.Hour))
				check(t, err)
				o.Keys[i].Certificate = dead
			}
		}
		w.signer = must(hsmsigner.New(o))(t)
		a := w.ask(name)
		a.outputs = out
		reply := w.refused(encode(t, a.request(t)), quorum.RefuseKeyNotUsable)
		if reply.Refusal.Retryable || !strings.Contains(reply.Refusal.Message, "revoked") {
			t.Errorf("%s: %+v", name, reply.Refusal)
		}
		w.wantSigns(0)
		if n := len(w.commitments()); n != 0 {
			t.Errorf("%s: %d commitments", name, n)
		}
	}
}

// TestReplaceCertificateKeepsEveryOldOne, and what cannot be replaced stays.
func TestReplaceCertificateKeepsEveryOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "core.asc")
	w := newWorld(t)
	c := w.options().Keys[0].Certificate
	if _, err := hsmsigner.ReplaceCertificate(path, c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a certificate that was not there: %v", err)
	}
	for i, want := range []string{"first", "-----BEGIN second"} {
		check(t, os.WriteFile(path, []byte(want), 0o600))
		old := must(hsmsigner.ReplaceCertificate(path, c))(t)
		if got := string(must(os.ReadFile(old))(t)); got != want || old != path+[]string{".old-1", ".old-2"}[i] {
			t.Errorf("%s has %q, want %q", old, got, want)
		}
		armoured := strings.HasPrefix(string(must(os.ReadFile(path))(t)), "-----BEGIN PGP PUBLIC")
		if got := must(pgpsig.ParseCertificate(must(os.ReadFile(path))(t)))(t); armoured != (i == 1) || got.Fingerprint() != c.Fingerprint() {
			t.Errorf("armoured: %v", armoured)
		}
	}
	left := must(filepath.Glob(filepath.Join(dir, ".quorate-*")))(t)
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
