package pgpsig_test

import (
	"bytes"
	"crypto"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"quorate/internal/pgpsig"
)

// TestOthersVerify shows what we write to the programs that users have.
func TestOthersVerify(t *testing.T) {
	for _, k := range keys() {
		t.Run(k.name, func(t *testing.T) {
			x := newTool(t, "gpg", "gpgconf", "sq")
			c := certificate(t, k)
			sig := signed(t, c, k, notations...)
			cert := x.write("cert.pgp", c.Bytes())
			file := x.write("file", document)
			other := x.write("other", append(bytes.Clone(document), 'x'))
			x.gpg("--import", cert)
			for name, form := range map[string][]byte{"file.sig": sig, "file.asc": pgpsig.Armor(sig)} {
				path := x.write(name, form)
				out := x.gpg("--verify", path, file)
				if !strings.Contains(out, "VALIDSIG "+c.Fingerprint()) || !strings.Contains(out, "NOTATION_DATA 3%20of%205") {
					t.Errorf("gpg says\n%s", out)
				}
				x.run("sq", "verify", "--signer-cert", cert, "--detached", path, file)
				if out, err := x.try("gpg", "--batch", "--verify", path, other); err == nil {
					t.Errorf("gpg verified another file:\n%s", out)
				}
				if out, err := x.try("sq", "verify", "--signer-cert", cert, "--detached", path, other); err == nil {
					t.Errorf("sq verified another file:\n%s", out)
				}
			}
			armored := x.write("cert.asc", pgpsig.ArmorCertificate(c.Bytes()))
			x.run("sq", "verify", "--signer-cert", armored, "--detached", x.home+"/file.sig", file)
		})
	}
}

func TestListPackets(t *testing.T) {
	x := newTool(t, "gpg", "gpgconf")
	k := key("rsa3072")
	c := certificate(t, k)
	sig := x.write("sig", signed(t, c, k, notations...))
	out := x.run("gpg", "--batch", "--list-packets", sig)
	for _, want := range []string{
		"version 4, created 1717243200, md5len 0, sigclass 0x00",
		"digest algo 10",
		"hashed subpkt 2 len 4",
		"hashed subpkt 33 len 21 (issuer fpr v4 " + c.Fingerprint() + ")",
		"hashed subpkt 16 len 8 (issuer key ID " + c.KeyID() + ")",
		"(notation: quorum@quorate.example.org=3 of 5)",
		"(notation: target@quorate.example.org=pkg:alpm/arch/zlib@1.3.1-2",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "critical") {
		t.Errorf("critical subpackets in\n%s", out)
	}
}

func TestGPGShowsExpiry(t *testing.T) {
	x := newTool(t, "gpg", "gpgconf")
	k := key("p256")
	end := keyTime.AddDate(50, 0, 0)
	c := certificate(t, k, pgpsig.ExpiresAfter(end.Sub(keyTime)))
	x.gpg("--import", x.write("cert", c.Bytes()))
	out := x.gpg("--with-colons", "--list-keys")
	if want := fmt.Sprintf(":%d:%d:", keyTime.Unix(), end.Unix()); !strings.Contains(out, want) {
		t.Errorf("want %s in\n%s", want, out)
	}
}

// TestReadOthers verifies what gpg made, in all its ways of writing.
func TestReadOthers(t *testing.T) {
	x := newTool(t, "gpg", "gpgconf", "gpg-agent")
	file := x.write("file", document)
	for _, algo := range []string{"rsa2048", "nistp256", "nistp384", "ed25519"} {
		id := algo + "@example.org"
		x.gpg("--passphrase", "", "--quick-generate-key", id, algo, "sign", "never")
		x.gpg("--yes", "--output", "cert", "--export", id)
		x.gpg("--yes", "--output", "cert.asc", "--armor", "--export", id)
		c, err := pgpsig.ParseCertificate(x.read("cert"))
		if err != nil {
			t.Errorf("%s: %v", algo, err)
			continue
		}
		if armored, err := pgpsig.ParseCertificate(x.read("cert.asc")); err != nil || armored.Fingerprint() != c.Fingerprint() {
			t.Errorf("%s: armoured: %v", algo, err)
		}
		// Enough of them that short integers occur among the ECDSA and EdDSA values.
		for range 20 {
			x.gpg("--yes", "--local-user", id, "--digest-algo", "SHA512", "--set-notation", "a@b=c", "--output", "sig", "--detach-sign", file)
			got, err := pgpsig.VerifyDetached(c, absorbed(document), x.read("sig"))
			if err != nil {
				t.Errorf("%s: %v", algo, err)
			} else if got.Hash != crypto.SHA512 || len(got.Notations) != 1 || got.Notations[0] != (pgpsig.Notation{Name: "a@b", Value: "c"}) {
				t.Errorf("%s: %+v", algo, got)
			}
		}
		x.gpg("--yes", "--local-user", id, "--armor", "--textmode", "--output", "sig", "--detach-sign", file)
		_, err = pgpsig.VerifyDetached(c, absorbed(document), x.read("sig"))
		wantError(t, err, "signature type: 0x01")
		testFirstRevocation(t, x, c)
	}
}

// testFirstRevocation uses the revocation that gpg prepares for every new key.
func testFirstRevocation(t *testing.T, x tool, c *pgpsig.Certificate) {
	t.Helper()
	text := x.read("openpgp-revocs.d/" + c.Fingerprint() + ".rev")
	rev := strings.Replace(string(text), ":-----BEGIN", "-----BEGIN", 1)
	rev = rev[strings.Index(rev, "-----BEGIN"):]
	cmd := exec.Command("gpg", "--dearmor")
	cmd.Env, cmd.Stdin = x.env(), strings.NewReader(rev)
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	cert := c.Bytes()
	key := packets(t, cert, 6)
	revoked, err := pgpsig.ParseCertificate(append(append(key, raw...), packets(t, cert, 13, 2)...))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, revoked.UsableAt(revoked.Created()), "revoked")
}
