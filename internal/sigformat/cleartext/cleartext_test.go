package cleartext_test

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"

	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/cleartext"
	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/text"
	"quorate/quorum/hashstate"
)

var notations = []pgpsig.Notation{{Name: "quorum@quorate.example.org", Value: "3 of 5"}}

// release is like apt's file, with everything that is awkward.
const release = `Origin: Example
Suite: stable
Description: what is signed – ünïcode
- a line with a dash
-----BEGIN PGP SIGNATURE-----
--
-
From nobody
SHA256:
 0123456789abcdef 12 main/binary-amd64/Packages

last line
`

func certificate(t testing.TB, s sigkit.Software) *pgpsig.Certificate {
	t.Helper()
	raw, err := pgpsig.MakeCertificate(s.Public(), sigkit.KeyTime, "Archive <archive@example.org>", s.Sign)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgpsig.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signed(t testing.TB, c *pgpsig.Certificate, s sigkit.Software, doc string) []byte {
	t.Helper()
	msg, err := cleartext.Sign(c, []byte(doc), sigkit.SignTime, notations, s.Sign)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

var documents = map[string]string{
	"release":         release,
	"no last newline": strings.TrimSuffix(release, "\n"),
	"windows":         strings.ReplaceAll(release, "\n", "\r\n"),
	"trailing space":  strings.ReplaceAll(release, "\n", " \t\n"),
	"one line":        "a\n",
	"empty lines":     "\n\n\n",
	"one empty line":  "\n",
	"long line":       strings.Repeat("x", text.MaxLine) + "\n- y\n",
	"long dash line":  strings.Repeat("-", text.MaxLine) + "\n",
}

// plain is what a verifier gives back: no trailing white space, LF.
func plain(doc string) string {
	doc = strings.ReplaceAll(strings.ReplaceAll(doc, "\r\n", "\n"), " \t\n", "\n")
	return strings.TrimSuffix(doc, "\n") + "\n"
}

func TestGPGVerifies(t *testing.T) {
	for _, s := range sigkit.Keys() {
		t.Run(s.Name, func(t *testing.T) {
			x := sigkit.NewTool(t, "gpg", "gpgconf", "gpgv", "sq")
			c := certificate(t, s)
			cert := x.Write("cert.pgp", c.Bytes())
			x.Run("gpg", "--batch", "--import", cert)
			for name, doc := range documents {
				msg := signed(t, c, s, doc)
				path := x.Write("InRelease", msg)
				for _, program := range [][]string{
					{"gpg", "--batch", "--no-tty", "--trust-model", "always", "--status-fd", "1", "--verify", path},
					{"gpgv", "--keyring", cert, "--status-fd", "1", path},
				} {
					out := x.Run(program[0], program[1:]...)
					if !strings.Contains(out, "VALIDSIG "+c.Fingerprint()) || !strings.Contains(out, "NOTATION_DATA 3%20of%205") {
						t.Errorf("%s: %s says\n%s", name, program[0], out)
					}
				}
				x.Run("gpgv", "--keyring", cert, "--output", "text", path)
				if got := x.Read("text"); string(got) != plain(doc) {
					t.Errorf("%s: gpgv reads %.300q", name, got)
				}
				x.Run("rm", "text")
				x.Run("sq", "verify", "--signer-cert", cert, path)
			}
			changed := bytes.Replace(signed(t, c, s, release), []byte("stable"), []byte("Stable"), 1)
			path := x.Write("InRelease", changed)
			x.Refuses("gpg", "--batch", "--verify", path)
			x.Refuses("gpgv", "--keyring", cert, path)
			x.Refuses("sq", "verify", "--signer-cert", cert, path)
		})
	}
}

// TestFromState: the signer has the state, and whoever has the text frames it.
func TestFromState(t *testing.T) {
	x := sigkit.NewTool(t, "gpgv")
	big := strings.Repeat("a line of a large file\n", 100_000)
	for _, s := range sigkit.Keys() {
		c := certificate(t, s)
		st, err := cleartext.CanonicalState(strings.NewReader(big))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := cleartext.SignState(c, st, sigkit.SignTime, notations, s.Sign)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cleartext.VerifyState(c, st, sig); err != nil || !got.Created.Equal(sigkit.SignTime) {
			t.Errorf("%+v, %v", got, err)
		}
		for _, form := range [][]byte{sig, pgpsig.Armor(sig)} {
			msg, err := cleartext.Frame(c, []byte(big), form)
			if err != nil {
				t.Fatal(err)
			}
			x.Run("gpgv", "--keyring", x.Write("cert.pgp", c.Bytes()), x.Write("InRelease", msg))
		}
		_, err = cleartext.Frame(c, []byte(release), sig)
		sigkit.WantError(t, err, "not over this text")
		_, err = cleartext.Frame(c, []byte(big+"\x00"), sig)
		sigkit.WantError(t, err, "NUL")
		_, err = cleartext.Frame(c, []byte(big), []byte("junk"))
		sigkit.WantError(t, err, "frame cleartext")
	}
}

func TestVerify(t *testing.T) {
	s := sigkit.Fixed()
	c := certificate(t, s)
	for name, doc := range documents {
		msg := signed(t, c, s, doc)
		got, sig, err := cleartext.Verify(c, msg)
		if err != nil || string(got) != plain(doc) || len(sig.Notations) != 1 {
			t.Errorf("%s: %.100q, %+v, %v", name, got, sig, err)
		}
		if !bytes.Equal(msg, signed(t, c, s, plain(doc))) {
			t.Errorf("%s: one text, two messages", name)
		}
	}
	if _, _, err := cleartext.Verify(certificate(t, sigkit.ByName("p256")), signed(t, c, s, release)); err == nil {
		t.Error("verifies under another key")
	}
}

// TestFlippedBits: no bit of a message can be changed, that of the last newline
// excepted.
func TestFlippedBits(t *testing.T) {
	s := sigkit.Fixed()
	c := certificate(t, s)
	msg := signed(t, c, s, release)
	for bit := range 8 * (len(msg) - 1) {
		if _, _, err := cleartext.Verify(c, sigkit.Flip(msg, bit)); err == nil {
			t.Errorf("bit %d of %q changed, and it verifies", bit%8, msg[max(0, bit/8-10):bit/8+1])
		}
	}
}

func TestStrictReading(t *testing.T) {
	s := sigkit.Fixed()
	c := certificate(t, s)
	msg := string(signed(t, c, s, release))
	once := func(old, with string) string { return strings.Replace(msg, old, with, 1) }
	for name, bad := range map[string]string{
		"empty":              "",
		"text before":        "x\n" + msg,
		"newline before":     "\n" + msg,
		"text behind":        msg + "x\n",
		"two messages":       msg + msg,
		"two signatures":     msg + msg[strings.LastIndex(msg, "-----BEGIN"):],
		"trailing space":     once("stable\n", "stable \n"),
		"trailing tab":       once("stable\n", "stable\t\n"),
		"windows":            strings.ReplaceAll(msg, "\n", "\r\n"),
		"one windows line":   once("stable\n", "stable\r\n"),
		"another header":     once("Hash: SHA512\n", "Hash: SHA512\nComment: x\n"),
		"two hashes":         once("SHA512", "SHA512,SHA256"),
		"no header":          once("Hash: SHA512\n", ""),
		"header of md5":      once("SHA512", "MD5"),
		"line added":         once("Suite", "Suite: x\nSuite"),
		"line taken":         once("--\n", ""),
		"unneeded escape":    once("Suite", "- Suite"),
		"escape taken":       once("- - a line", "- a line"),
		"no signature":       msg[:strings.LastIndex(msg, "-----BEGIN")],
		"signature cut":      msg[:len(msg)-40],
		"nul":                once("stable", "st\x00ble"),
		"not utf-8":          once("stable", "st\xffble"),
		"space behind begin": once("MESSAGE-----\n", "MESSAGE----- \n"),
	} {
		if _, _, err := cleartext.Verify(c, []byte(bad)); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
}

// TestReadGPG verifies what gpg made of a text that needs no white space cut.
func TestReadGPG(t *testing.T) {
	x := sigkit.NewTool(t, "gpg", "gpgconf", "gpg-agent")
	gpg := func(args ...string) {
		x.Run("gpg", append([]string{"--batch", "--no-tty", "--yes", "--digest-algo", "SHA512"}, args...)...)
	}
	doc := strings.Replace(release, "From nobody\n", "", 1) // gpg escapes it without need
	file := x.Write("Release", []byte(doc))
	for _, algo := range []string{"rsa3072", "nistp256", "nistp384", "ed25519"} {
		id := algo + "@example.org"
		gpg("--passphrase", "", "--quick-generate-key", id, algo, "sign", "never")
		gpg("--output", "cert", "--export", id)
		gpg("--local-user", id, "--output", "InRelease", "--clear-sign", file)
		c, err := pgpsig.ParseCertificate(x.Read("cert"))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := cleartext.Verify(c, x.Read("InRelease")); err != nil || string(got) != doc {
			t.Errorf("%s: %.100q, %v", algo, got, err)
		}
	}
}

// TestSameBytesAsGPG: what gpg hashes of a text is what builders vote on, byte for
// byte. Its signature is good over our state, for every text that is accepted.
func TestSameBytesAsGPG(t *testing.T) {
	x := sigkit.NewTool(t, "gpg", "gpgconf", "gpg-agent")
	gpg := func(args ...string) {
		x.Run("gpg", append([]string{"--batch", "--no-tty", "--yes", "--digest-algo", "SHA512"}, args...)...)
	}
	gpg("--passphrase", "", "--quick-generate-key", "a@example.org", "ed25519", "sign", "never")
	gpg("--output", "cert", "--export", "a@example.org")
	c, err := pgpsig.ParseCertificate(x.Read("cert"))
	if err != nil {
		t.Fatal(err)
	}
	for name, doc := range documents {
		file := x.Write("Release", []byte(doc))
		gpg("--local-user", "a@example.org", "--output", "InRelease", "--clear-sign", file)
		msg := x.Read("InRelease")
		armored := msg[bytes.LastIndex(msg, []byte("-----BEGIN PGP SIGNATURE-----")):]
		st, err := cleartext.CanonicalState(strings.NewReader(doc))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cleartext.VerifyState(c, st, armored); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		c := certificate(t, s)
		for want, sign := range map[error]pgpsig.SignFunc{
			sigkit.ErrAway:           func(crypto.Hash, []byte) ([]byte, error) { return nil, sigkit.ErrAway },
			pgpsig.ErrSignatureCheck: func(h crypto.Hash, d []byte) ([]byte, error) { return s.Sign(h, sigkit.Flip(d, 9)) },
		} {
			msg, err := cleartext.Sign(c, []byte(release), sigkit.SignTime, notations, sign)
			if msg != nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", s.Name, err, want)
			}
		}
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	c := certificate(t, sigkit.Fixed())
	for doc, want := range map[string]string{
		"":                             "no line",
		"a\x00":                        "NUL",
		"a\xff":                        "not UTF-8",
		"a\rb":                         "CR without LF",
		strings.Repeat("x", 20_000):    "longer than",
		strings.Repeat("x\n", 600_000): "vote on its state",
	} {
		_, err := cleartext.Sign(c, []byte(doc), sigkit.SignTime, nil, sigkit.Refuse(t))
		sigkit.WantError(t, err, want)
	}
	h := hashstate.SHA256.New()
	st, err := hashstate.Of(hashstate.SHA256, h)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cleartext.SignState(c, st, sigkit.SignTime, nil, sigkit.Refuse(t))
	sigkit.WantError(t, err, "state is sha256")
	_, err = cleartext.VerifyState(c, st, nil)
	sigkit.WantError(t, err, "state is sha256")
	_, err = cleartext.SignState(c, hashstate.State{Algorithm: hashstate.SHA512}, sigkit.SignTime, nil, sigkit.Refuse(t))
	sigkit.WantError(t, err, "h has 0 bytes")
}

// FuzzVerify: an Ed25519 key that signed one message verifies nothing else.
func FuzzVerify(f *testing.F) {
	s := sigkit.Fixed()
	c := certificate(f, s)
	msg := signed(f, c, s, release)
	f.Add(msg)
	f.Add(signed(f, c, s, "\n"))
	one := signed(f, c, s, "a\n")
	f.Add(one)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := cleartext.Verify(c, data)
		if err == nil && string(got) != release && string(got) != "\n" && string(got) != "a\n" {
			t.Errorf("verified %q", got)
		}
	})
}
