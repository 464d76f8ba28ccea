package sshsig_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/sshsig"
)

const namespace = "release@example.org"

var digest = sshsig.Digest(sha512.Sum512(sigkit.Document))

func signed(t testing.TB, s sigkit.Software) []byte {
	t.Helper()
	sig, err := sshsig.Sign(s.Key(t), namespace, digest)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestSSHKeygenVerifies(t *testing.T) {
	for _, s := range sigkit.Keys() {
		t.Run(s.Name, func(t *testing.T) {
			x := sigkit.NewTool(t, "ssh-keygen")
			line, err := sshsig.AllowedSigner("archive", namespace, s.Public())
			if err != nil {
				t.Fatal(err)
			}
			allowed := x.Write("allowed_signers", line)
			sig := x.Write("sig", signed(t, s))
			verify := func(namespace string) []string {
				return []string{"-Y", "verify", "-f", allowed, "-I", "archive", "-n", namespace, "-s", sig}
			}
			out := x.RunInput(sigkit.Document, "ssh-keygen", verify(namespace)...)
			if !strings.Contains(out, "Good \""+namespace+"\" signature for archive") {
				t.Error(out)
			}
			if out, err := x.TryInput(sigkit.Document[1:], "ssh-keygen", verify(namespace)...); err == nil {
				t.Errorf("ssh-keygen verified another file:\n%s", out)
			}
			if out, err := x.TryInput(sigkit.Document, "ssh-keygen", verify("git")...); err == nil {
				t.Errorf("ssh-keygen verified another namespace:\n%s", out)
			}
		})
	}
}

// TestSSHKeygenVerifiesBlobs: what has no armour is a signature once it has one.
func TestSSHKeygenVerifiesBlobs(t *testing.T) {
	sum := sha256.Sum256(sigkit.Document)
	for _, s := range sigkit.Keys() {
		x := sigkit.NewTool(t, "ssh-keygen")
		blob, err := sshsig.SignBlob(s.Key(t), namespace, sum)
		if err != nil {
			t.Fatal(err)
		}
		line, err := sshsig.AllowedSigner("archive", namespace, s.Public())
		if err != nil {
			t.Fatal(err)
		}
		out := x.RunInput(sigkit.Document, "ssh-keygen", "-Y", "verify", "-f", x.Write("allowed_signers", line),
			"-I", "archive", "-n", namespace, "-s", x.Write("sig", armored(blob)))
		if !strings.Contains(out, "Good \""+namespace+"\" signature for archive") {
			t.Errorf("%s: %s", s.Name, out)
		}
		verify := func(namespace string, digest [32]byte, blob []byte) error {
			return sshsig.VerifyBlob(s.Public(), namespace, digest, blob)
		}
		sigkit.WantError(t, verify("git", sum, blob), "namespace:")
		sigkit.WantError(t, verify(namespace, sum, unarmored(t, signed(t, s))), "hash algorithm:")
		if verify(namespace, sha256.Sum256(nil), blob) == nil {
			t.Errorf("%s: verifies another file", s.Name)
		}
		for bit := 0; bit < 8*len(blob); bit += stride(s) {
			if verify(namespace, sum, sigkit.Flip(blob, bit)) == nil {
				t.Errorf("%s: bit %d changed, and it verifies", s.Name, bit)
			}
		}
		sigkit.WantError(t, sshsig.Verify(s.Public(), namespace, digest, armored(blob)), "hash algorithm:")
	}
}

func TestAuthorizedKey(t *testing.T) {
	x := sigkit.NewTool(t, "ssh-keygen")
	for _, s := range sigkit.Keys() {
		line, err := sshsig.AuthorizedKey(s.Public(), "archive key")
		if err != nil {
			t.Fatal(err)
		}
		pub, comment, _, rest, err := ssh.ParseAuthorizedKey(line)
		if err != nil || comment != "archive key" || len(rest) > 0 {
			t.Fatalf("%s: %q, %q, %v", s.Name, comment, rest, err)
		}
		out := x.Run("ssh-keygen", "-l", "-f", x.Write("key.pub", line))
		if !strings.Contains(out, ssh.FingerprintSHA256(pub)+" archive key") {
			t.Errorf("%s: %s", s.Name, out)
		}
	}
	if _, err := sshsig.AuthorizedKey(sigkit.Fixed().Public(), "a\nssh-ed25519 AAAA"); err == nil {
		t.Error("a comment may begin a second line")
	}
	if _, err := sshsig.AuthorizedKey("key", ""); err == nil {
		t.Error("a text is a key")
	}
}

func TestAllowedSignerRefuses(t *testing.T) {
	pub := sigkit.Fixed().Public()
	for _, bad := range []string{"", "a b", "a,b", "*", "!a", `a"`, "a\n", strings.Repeat("a", 200)} {
		if line, err := sshsig.AllowedSigner(bad, namespace, pub); err == nil {
			t.Errorf("principal %q: %s", bad, line)
		}
		if line, err := sshsig.AllowedSigner("archive", bad, pub); err == nil {
			t.Errorf("namespace %q: %s", bad, line)
		}
	}
}

// TestReadSSHKeygen verifies what ssh-keygen made.
func TestReadSSHKeygen(t *testing.T) {
	x := sigkit.NewTool(t, "ssh-keygen")
	for _, args := range [][]string{{"rsa", "3072"}, {"ecdsa", "256"}, {"ecdsa", "384"}, {"ed25519", "256"}} {
		name := args[0] + args[1]
		x.Run("ssh-keygen", "-q", "-t", args[0], "-b", args[1], "-N", "", "-C", "", "-f", name)
		pub, _, _, _, err := ssh.ParseAuthorizedKey(x.Read(name + ".pub"))
		if err != nil {
			t.Fatal(err)
		}
		key := pub.(ssh.CryptoPublicKey).CryptoPublicKey()
		for i := range 10 { // enough that integers with leading zeros occur
			x.Write("file", sigkit.Document)
			x.Run("ssh-keygen", "-q", "-Y", "sign", "-f", name, "-n", namespace, "file")
			if err := sshsig.Verify(key, namespace, digest, x.Read("file.sig")); err != nil {
				t.Errorf("%s, %d: %v", name, i, err)
			}
			x.Run("rm", "file.sig")
		}
		x.Run("ssh-keygen", "-q", "-Y", "sign", "-O", "hashalg=sha256", "-f", name, "-n", namespace, "file")
		sigkit.WantError(t, sshsig.Verify(key, namespace, digest, x.Read("file.sig")), "hash algorithm")
		x.Run("rm", "file.sig") // ssh-keygen asks before it writes over one
	}
}

func TestVerify(t *testing.T) {
	other := sshsig.Digest(sha512.Sum512(nil))
	for _, s := range sigkit.Keys() {
		sig := signed(t, s)
		parsed, err := sshsig.Parse(sig)
		if err != nil || parsed.Namespace != namespace || parsed.Hash != "sha512" {
			t.Fatalf("%+v, %v", parsed, err)
		}
		if err := sshsig.Verify(s.Public(), namespace, digest, sig); err != nil {
			t.Error(err)
		}
		if sshsig.Verify(s.Public(), namespace, other, sig) == nil {
			t.Error("verifies another file")
		}
		sigkit.WantError(t, sshsig.Verify(s.Public(), "git", digest, sig), "namespace:")
		sigkit.WantError(t, sshsig.Verify(sigkit.Fixed().Public(), namespace, digest, sig), "public key: made by SHA256:")
	}
}

// TestFlippedBits changes bits of the blob, and bits of the text.
func TestFlippedBits(t *testing.T) {
	for _, s := range sigkit.Keys() {
		sig := signed(t, s)
		blob := unarmored(t, sig)
		for bit := 0; bit < 8*len(blob); bit += stride(s) {
			if sshsig.Verify(s.Public(), namespace, digest, armored(sigkit.Flip(blob, bit))) == nil {
				t.Errorf("%s: bit %d of the blob changed, and it verifies", s.Name, bit)
			}
		}
		for bit := 0; bit < 8*(len(sig)-1); bit += stride(s) { // the last newline is optional
			if sshsig.Verify(s.Public(), namespace, digest, sigkit.Flip(sig, bit)) == nil {
				t.Errorf("%s: bit %d of the text changed, and it verifies", s.Name, bit)
			}
		}
	}
}

// stride is one where verifying is cheap, and else a number prime to 8.
func stride(s sigkit.Software) int {
	if s.IsEd25519() {
		return 1
	}
	return 7
}

func unarmored(t testing.TB, sig []byte) []byte {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(sig)), "\n")
	blob, err := base64.StdEncoding.DecodeString(strings.Join(lines[1:len(lines)-1], ""))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func armored(blob []byte) []byte {
	text := base64.StdEncoding.EncodeToString(blob)
	var b bytes.Buffer
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 70 {
		b.WriteString(text[:70] + "\n")
		text = text[70:]
	}
	b.WriteString(text + "\n-----END SSH SIGNATURE-----\n")
	return b.Bytes()
}

func TestStrictReading(t *testing.T) {
	s := sigkit.ByName("rsa3072")
	sig := signed(t, s)
	blob := unarmored(t, sig)
	text := string(sig)
	short := func(name string) []byte { // another algorithm of the same length of name
		return armored([]byte(strings.Replace(string(blob), "rsa-sha2-512", name, 1)))
	}
	bad := map[string][]byte{
		"empty":               nil,
		"text before":         []byte("x\n" + text),
		"text behind":         []byte(text + "x"),
		"two blocks":          []byte(text + text),
		"two newlines":        []byte(text + "\n"),
		"windows line ends":   []byte(strings.ReplaceAll(text, "\n", "\r\n")),
		"one long line":       []byte("-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(blob) + "\n-----END SSH SIGNATURE-----\n"),
		"no footer":           []byte(strings.Replace(text, "-----END", "-----ENDE", 1)),
		"empty line":          []byte(strings.Replace(text, "-----\n", "-----\n\n", 1)),
		"bytes behind":        armored(append(bytes.Clone(blob), 0)),
		"cut":                 armored(blob[:len(blob)-1]),
		"rsa-sha2-256":        short("rsa-sha2-256"),
		"huge":                bytes.Repeat([]byte("A"), 1<<20),
		"nothing in between":  []byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"),
		"begin is end":        []byte("-----BEGIN SSH SIGNATURE-----\n"),
		"another namespace":   armored(bytes.Replace(blob, []byte(namespace), []byte("Release@example.org"), 1)),
		"a namespace with \"": armored(bytes.Replace(blob, []byte(namespace), []byte("\"elease@example.org"), 1)),
		"version 2":           armored(append([]byte("SSHSIG\x00\x00\x00\x02"), blob[10:]...)),
		"sha256":              armored(bytes.Replace(blob, []byte("sha512\x00"), []byte("sha256\x00"), 1)),
		"sha1":                armored(bytes.Replace(blob, []byte("\x06sha512\x00"), []byte("\x06sha1xx\x00"), 1)),
	}
	for name, data := range bad {
		if err := sshsig.Verify(s.Public(), namespace, digest, data); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
	if err := sshsig.Verify(s.Public(), namespace, digest, armored(blob)); err != nil {
		t.Errorf("lines of 70: %v", err)
	}
	if err := sshsig.Verify(s.Public(), namespace, digest, bytes.TrimSuffix(sig, []byte("\n"))); err != nil {
		t.Errorf("no newline at the end: %v", err)
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return sshsig.Sign(k, namespace, digest) })
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	k := sigkit.ByName("p256").With(t, sigkit.Refuse(t))
	for _, bad := range []string{"", "a b", "a,b", "a*", "ä", "a\x00", strings.Repeat("a", 129)} {
		sig, err := sshsig.Sign(k, bad, digest)
		sigkit.WantError(t, err, "namespace")
		if sig != nil || errors.Is(err, sigformat.ErrSignatureCheck) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDeterministic(t *testing.T) {
	for _, name := range []string{"rsa3072", "ed25519"} {
		if s := sigkit.ByName(name); !bytes.Equal(signed(t, s), signed(t, s)) {
			t.Errorf("%s: two signatures differ", name)
		}
	}
}

// FuzzVerify: an Ed25519 key that signed once verifies nothing else.
func FuzzVerify(f *testing.F) {
	s := sigkit.Fixed()
	sig := signed(f, s)
	f.Add(sig)
	f.Add(signed(f, sigkit.ByName("p256")))
	f.Add(signed(f, sigkit.ByName("rsa3072")))
	blob := unarmored(f, sig)
	f.Fuzz(func(t *testing.T, data []byte) {
		if sshsig.Verify(s.Public(), namespace, digest, data) == nil && !bytes.Equal(unarmored(t, data), blob) {
			t.Errorf("verified %q", data)
		}
	})
}
