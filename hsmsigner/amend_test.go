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
	"quorate/hsmsigner/token"
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
	for i, want := range []string{string(c.Bytes()), string(pgpsig.ArmorCertificate(c.Bytes()))} {
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

// TestReplaceCertificateKeepsWhatCameMeanwhile: somebody revokes the key while somebody
// else, who read the certificate before, still looks for the PIN.
func TestReplaceCertificateKeepsWhatCameMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "core.pgp")
	w := newWorld(t)
	i := slices.IndexFunc(w.options().Keys, func(k hsmsigner.Key) bool { return k.Label == "ed25519" })
	k := w.options().Keys[i]
	check(t, os.WriteFile(path, k.Certificate.Bytes(), 0o600))
	longer, err := k.Extend(t.Context(), soft.token, now.AddDate(3, 0, 0), now)
	check(t, err)
	_, dead, err := k.Revoke(t.Context(), soft.token, pgpsig.ReasonCompromised, "", now)
	check(t, err)
	must(hsmsigner.ReplaceCertificate(path, dead))(t)
	must(hsmsigner.ReplaceCertificate(path, longer))(t)
	got := must(pgpsig.ParseCertificate(must(os.ReadFile(path))(t)))(t)
	if end, _ := got.Expires(); !got.RevokedAt(now) || !end.Equal(now.AddDate(3, 0, 0).Truncate(time.Second)) {
		t.Errorf("revoked: %v, end %s", got.RevokedAt(now), end)
	}

	for name, other := range map[string][]byte{"another": w.options().Keys[(i+1)%len(w.options().Keys)].Certificate.Bytes(), "none": []byte("junk")} {
		check(t, os.WriteFile(path, other, 0o600))
		if _, err := hsmsigner.ReplaceCertificate(path, longer); err == nil {
			t.Errorf("%s: was replaced", name)
		}
		if left := must(os.ReadFile(path))(t); !slices.Equal(left, other) {
			t.Errorf("%s: was changed", name)
		}
	}
}

// TestImportRevokedByGPG: gpg's owner of the key revokes it, and hands over the
// certificate, or only the revocation that gpg made with the key.
func TestImportRevokedByGPG(t *testing.T) {
	w := newWorld(t)
	j := judge{t: t, home: must(os.MkdirTemp("", "pgp"))(t)}
	t.Cleanup(func() {
		j.try("gpgconf", "--kill", "all")
		os.RemoveAll(j.home)
	})
	gpg := func(args ...string) []byte {
		t.Helper()
		out, err := j.try("gpg", append([]string{"--batch", "--quiet", "--no-tty"}, args...)...)
		if err != nil {
			t.Fatalf("gpg %q: %v\n%s", args, err, out)
		}
		return []byte(out)
	}
	gpg("--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "Soft key <soft@example.org>", "ed25519", "sign", "never")
	exported := gpg("--armor", "--export")
	cert := must(pgpsig.ParseCertificate(exported))(t)
	w.token.key = func(string) (token.Key, error) { return token.Key{Public: cert.Public()}, nil }
	rev := must(os.ReadFile(filepath.Join(j.home, "openpgp-revocs.d", cert.Fingerprint()+".rev")))(t)
	at := time.Now()

	k := hsmsigner.Key{Label: "soft", Certificate: cert}
	if _, err := hsmsigner.Import(w.token, k, rev, at); err == nil || !strings.Contains(err.Error(), "remove the colon") {
		t.Errorf("with gpg's colon: %v", err)
	}
	rev = []byte(strings.Replace(string(rev), "\n:-----", "\n-----", 1))
	if _, err := hsmsigner.Import(w.token, hsmsigner.Key{Label: "soft"}, rev, at); err == nil || !strings.Contains(err.Error(), "import the certificate first") {
		t.Errorf("without a certificate: %v", err)
	}
	other := hsmsigner.Key{Label: "soft", Certificate: certificate(t, "p256")}
	if _, err := hsmsigner.Import(soft.token, hsmsigner.Key{Label: "p256", Certificate: other.Certificate}, rev, at); !errors.Is(err, pgpsig.ErrSignatureCheck) {
		t.Errorf("of another key: %v", err)
	}
	fromRevocation := must(hsmsigner.Import(w.token, k, rev, at))(t)

	gpg("--import", writeFile(t, filepath.Join(j.home, "edited.rev"), rev, 0o600))
	revoked := gpg("--export")
	for name, c := range map[string]*pgpsig.Certificate{"revocation": fromRevocation,
		"certificate": must(hsmsigner.Import(w.token, hsmsigner.Key{Label: "soft"}, revoked, at))(t),
		"merged":      must(hsmsigner.Import(w.token, k, revoked, at))(t)} {
		if !c.RevokedAt(at) || c.Fingerprint() != cert.Fingerprint() {
			t.Errorf("%s: not revoked", name)
		}
	}
	if _, err := j.try("gpg", "--batch", "--quiet", "--import", writeFile(t, filepath.Join(j.home, "ours.pgp"), fromRevocation.Bytes(), 0o600)); err != nil {
		t.Errorf("gpg does not take the result: %v", err)
	}
}
