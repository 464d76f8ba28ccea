package pgpsig_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/internal/pgpsig"
)

var (
	amendTime = keyTime.Add(24 * time.Hour)
	newEnd    = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
)

const secondID = "Second Name <second@example.org>"

// gpgFields gives the fields of gpg's colon listing whose first is kind.
func gpgFields(x tool, kind string) (lines [][]string) {
	x.t.Helper()
	for _, line := range strings.Split(x.run("gpg", "--batch", "--no-tty", "--with-colons", "--fixed-list-mode", "--list-keys"), "\n") {
		if f := strings.Split(line, ":"); f[0] == kind {
			lines = append(lines, f)
		}
	}
	return lines
}

// TestOthersReadAmended has gpg and sq read what each change makes, for each type
// of key.
func TestOthersReadAmended(t *testing.T) {
	for _, k := range keys() {
		t.Run(k.name, func(t *testing.T) {
			x := newTool(t, "gpg", "gpgconf", "sq")
			c := certificate(t, k, pgpsig.ExpiresAfter(48*time.Hour))
			x.gpg("--import", x.write("cert.pgp", c.Bytes()))
			if f := gpgFields(x, "pub"); f[0][1] != "e" {
				t.Fatalf("gpg does not call it expired: %q", f)
			}
			named := must(pgpsig.AddUserID(c, secondID, amendTime, k.sign))
			longer := must(pgpsig.Extend(named, newEnd, amendTime.Add(time.Second), k.sign))
			if end, ok := longer.Expires(); !ok || !end.Equal(newEnd) || !slices.Equal(longer.UserIDs(), []string{userID, secondID}) {
				t.Errorf("expires %v, user ids %q", end, longer.UserIDs())
			}
			x.gpg("--import", x.write("longer.pgp", longer.Bytes()))
			if f := gpgFields(x, "pub"); f[0][1] == "e" || f[0][6] != "3786912000" {
				t.Errorf("gpg lists %q", f)
			}
			if f := gpgFields(x, "uid"); len(f) != 2 {
				t.Errorf("gpg lists %q", f)
			}
			out := x.run("sq", "inspect", x.home+"/longer.pgp")
			if !strings.Contains(out, "2090-01-01") || !strings.Contains(out, secondID) || strings.Contains(strings.ToLower(out), "invalid") {
				t.Errorf("sq says\n%s", out)
			}
			// What it signs now is good for both.
			file := x.write("file", document)
			sig := x.write("file.sig", signed(t, longer, k))
			x.gpg("--verify", sig, file)
			x.run("sq", "verify", "--signer-cert", x.home+"/longer.pgp", "--detached", sig, file)

			rev := must(pgpsig.MakeRevocation(longer, pgpsig.ReasonCompromised, "the token was stolen", amendTime.Add(time.Minute), k.sign))
			x.gpg("--import", x.write("rev.asc", pgpsig.ArmorRevocation(rev)))
			if f := gpgFields(x, "pub"); f[0][1] != "r" {
				t.Errorf("gpg does not call it revoked: %q", f)
			}
			if out := x.run("gpg", "--batch", "--list-packets", x.home+"/rev.asc"); !strings.Contains(out, "revocation reason 0x02 (the token was stolen)") {
				t.Errorf("gpg lists\n%s", out)
			}
			dead := must(pgpsig.MergeRevocation(longer, rev))
			out = x.run("sq", "inspect", x.write("dead.pgp", dead.Bytes()))
			if !strings.Contains(out, "Revoked") || !strings.Contains(out, "the token was stolen") {
				t.Errorf("sq says\n%s", out)
			}
			if out, err := x.try("sq", "verify", "--signer-cert", x.home+"/dead.pgp", "--detached", sig, file); err == nil {
				t.Errorf("sq verifies by a revoked key:\n%s", out)
			}
		})
	}
}

// exported is the Ed25519 key that gpg made.
func exported(x tool) softwareKey {
	x.t.Helper()
	data := x.run("gpg", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--armor", "--export-secret-keys")
	list := must(openpgp.ReadArmoredKeyRing(strings.NewReader(data)))
	private := list[0].PrivateKey.PrivateKey.(*eddsa.PrivateKey)
	return softwareKey{"exported", ed25519.NewKeyFromSeed(private.D)}
}

// TestAmendKeepsWhatIsThere: a certificate of gpg's own making, with a signing
// subkey, loses nothing.
func TestAmendKeepsWhatIsThere(t *testing.T) {
	x := newTool(t, "gpg", "gpgconf", "sq")
	x.gpg("--passphrase", "", "--quick-generate-key", userID, "ed25519", "sign,cert", "2y")
	fpr := gpgFields(x, "fpr")[0][9]
	x.gpg("--passphrase", "", "--quick-add-key", fpr, "ed25519", "sign", "1y")
	c := must(pgpsig.ParseCertificate([]byte(x.run("gpg", "--batch", "--armor", "--export"))))
	k := exported(x)
	at := time.Now().Add(2 * time.Second)
	longer := must(pgpsig.Extend(must(pgpsig.AddUserID(c, secondID, at, k.sign)), time.Time{}, at.Add(time.Second), k.sign))
	r := packet.NewOpaqueReader(bytes.NewReader(c.Bytes()))
	for n := 0; ; n++ {
		p, err := r.Next()
		if err != nil {
			if n != 5 {
				t.Errorf("%d packets, want 5", n)
			}
			break
		}
		if !bytes.Contains(longer.Bytes(), p.Contents) {
			t.Errorf("packet %d, of type %d, is lost", n, p.Tag)
		}
	}
	if _, ok := longer.Expires(); ok {
		t.Error("it still expires")
	}
	x.gpg("--faked-system-time", at.Add(time.Minute).UTC().Format("20060102T150405"), "--import", x.write("longer.pgp", longer.Bytes()))
	if f := gpgFields(x, "sub"); len(f) != 1 || f[0][11] != "s" {
		t.Errorf("gpg lists the subkeys %q", f)
	}

	// Another copy of it, with what somebody else added, gives both.
	got := must(pgpsig.Merge(longer, c))
	if !bytes.Equal(got.Bytes(), longer.Bytes()) {
		t.Error("merging what is there already changes something")
	}
	got = must(pgpsig.Merge(c, longer))
	if !slices.Equal(got.UserIDs(), longer.UserIDs()) {
		t.Errorf("merged user ids %q", got.UserIDs())
	}
	dead := must(pgpsig.MergeRevocation(c, must(pgpsig.MakeRevocation(c, pgpsig.ReasonNone, "", at, k.sign))))
	if got = must(pgpsig.Merge(dead, longer)); got.UsableAt(at) == nil {
		t.Error("merging brought a revoked key back to life")
	}
	if got = must(pgpsig.Merge(longer, dead)); got.UsableAt(at) == nil {
		t.Error("merging lost a revocation")
	}
}

func TestRevocationReasons(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	for reason, before := range map[pgpsig.Reason]bool{
		pgpsig.ReasonNone: false, pgpsig.ReasonCompromised: false, pgpsig.ReasonSuperseded: true, pgpsig.ReasonRetired: true,
	} {
		dead := must(pgpsig.MergeRevocation(c, must(pgpsig.MakeRevocation(c, reason, "", amendTime, k.sign))))
		if err := dead.UsableAt(amendTime); err == nil {
			t.Errorf("reason %d: usable from then on", reason)
		}
		if err := dead.UsableAt(amendTime.Add(-time.Second)); (err == nil) != before {
			t.Errorf("reason %d: before it: %v", reason, err)
		}
	}
}

func TestAmendRefuses(t *testing.T) {
	k, other := key("ed25519"), ed25519Key("other", 2)
	c := certificate(t, k, pgpsig.CertifiedAt(keyTime.Add(time.Hour)))
	rev := must(pgpsig.MakeRevocation(c, pgpsig.ReasonNone, "", amendTime, k.sign))
	dead := must(pgpsig.MergeRevocation(c, rev))
	never := func(crypto.Hash, []byte) ([]byte, error) { return nil, errors.New("asked the signer") }
	extend := func(c *pgpsig.Certificate, end, at time.Time) error {
		_, err := pgpsig.Extend(c, end, at, never)
		return err
	}
	add := func(c *pgpsig.Certificate, id string) error {
		_, err := pgpsig.AddUserID(c, id, amendTime, never)
		return err
	}
	revoke := func(reason pgpsig.Reason, text string, at time.Time) error {
		_, err := pgpsig.MakeRevocation(c, reason, text, at, never)
		return err
	}
	_, wrongExtend := pgpsig.Extend(c, newEnd, amendTime, other.sign)
	_, wrongRevoke := pgpsig.MakeRevocation(c, 0, "", amendTime, other.sign)
	_, wrongMerge := pgpsig.MergeRevocation(certificate(t, other), rev)
	_, noMerge := pgpsig.MergeRevocation(c, c.Bytes())
	_, two := pgpsig.Merge(c, certificate(t, other))
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"end in the past":        {extend(c, amendTime, amendTime), "is not in the future"},
		"end after 2106":         {extend(c, time.Date(2107, 1, 1, 0, 0, 0, 0, time.UTC), amendTime), "expiry"},
		"same second":            {extend(c, newEnd, keyTime.Add(time.Hour)), "which one counts"},
		"clock behind":           {extend(c, newEnd, keyTime), "before the newest self-signature"},
		"revoked":                {extend(dead, newEnd, amendTime.Add(time.Hour)), "the key is revoked"},
		"revoked, user id":       {add(dead, secondID), "the key is revoked"},
		"user id again":          {add(c, userID), "already"},
		"user id empty":          {add(c, ""), "user id: empty"},
		"user id control":        {add(c, "a\x1b"), "control character"},
		"reason":                 {revoke(32, "", amendTime), "reason: 32"},
		"text":                   {revoke(0, "a\nb", amendTime), "control character"},
		"text too long":          {revoke(0, strings.Repeat("x", 256), amendTime), "256 bytes"},
		"before the key":         {revoke(0, "", keyTime.Add(-time.Second)), "before the key was created"},
		"extended by another":    {wrongExtend, pgpsig.ErrSignatureCheck.Error()},
		"revoked by another":     {wrongRevoke, pgpsig.ErrSignatureCheck.Error()},
		"revocation of another":  {wrongMerge, "key revocation"},
		"not a revocation":       {noMerge, "not one key revocation"},
		"certificates of others": {two, "are two"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, tt.err, tt.want) })
	}
}
