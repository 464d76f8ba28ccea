package sshsig_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"quorate/internal/acttest"
	"quorate/internal/sshkeygen"
	"quorate/quorum/sshsig"
)

const namespace = "quorate-act"

var message = []byte("hold it")

func TestWhatSSHKeygenSigns(t *testing.T) {
	for _, args := range [][]string{{"-t", "ed25519"}, {"-t", "ecdsa", "-b", "256"}, {"-t", "ecdsa", "-b", "384"}, {"-t", "rsa", "-b", "2048"}} {
		t.Run(strings.Join(args, ""), func(t *testing.T) {
			k := acttest.NewKey(t, args...)
			path, line := k.Path, k.Line
			key, err := sshsig.ParseAuthorizedKey(line)
			if err != nil {
				t.Fatal(err)
			}
			if want, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil || ssh.FingerprintSHA256(want) != key.Fingerprint() {
				t.Errorf("fingerprint %s, %v", key.Fingerprint(), err)
			}
			for range 5 { // enough that integers with leading zeros occur
				armored, err := sshkeygen.Sign(t.Context(), path, namespace, message, io.Discard)
				if err != nil {
					t.Fatal(err)
				}
				s, err := sshsig.Parse(armored)
				if err != nil || s.Key.String() != key.String() {
					t.Fatalf("%v, %v", s, err)
				}
				if err := s.Verify(namespace, message); err != nil {
					t.Error(err)
				}
				if s.Verify(namespace, []byte("release it")) == nil {
					t.Error("verifies another message")
				}
				if err := s.Verify("git", message); err == nil || !strings.Contains(err.Error(), "namespace") {
					t.Errorf("another namespace: %v", err)
				}
			}
		})
	}
}

// TestFlippedBits: no bit of a signature can be changed.
func TestFlippedBits(t *testing.T) {
	path := acttest.NewKey(t).Path
	armored, err := sshkeygen.Sign(t.Context(), path, namespace, message, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := sshsig.Dearmor(armored)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(blob) {
		changed := bytes.Clone(blob)
		changed[bit/8] ^= 1 << (bit % 8)
		if s, err := sshsig.Parse(armor(changed)); err == nil && s.Verify(namespace, message) == nil {
			t.Errorf("bit %d changed, and it verifies", bit)
		}
	}
	for _, bad := range [][]byte{nil, armored[1:], append([]byte("x\n"), armored...), append(bytes.Clone(armored), armored...),
		armor(append(bytes.Clone(blob), 0)), armor(blob[:len(blob)-1]), bytes.Repeat([]byte("A"), 1<<20)} {
		if _, err := sshsig.Parse(bad); err == nil {
			t.Errorf("%.60q was taken", bad)
		}
	}
}

func armor(blob []byte) []byte {
	return []byte("-----BEGIN SSH SIGNATURE-----\n" + wrapped(base64.StdEncoding.EncodeToString(blob)) + "-----END SSH SIGNATURE-----\n")
}

func wrapped(s string) string {
	var b strings.Builder
	for ; len(s) > 70; s = s[70:] {
		b.WriteString(s[:70] + "\n")
	}
	return b.String() + s + "\n"
}

// TestSecurityTokens plays the token, because there is none, and has x/crypto
// judge the same signature.
func TestSecurityTokens(t *testing.T) {
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := ecKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	type parts struct{ A, B, C string }
	edBlob := ssh.Marshal(parts{"sk-ssh-ed25519@openssh.com", string(edPub), "ssh:"})
	ecBlob := ssh.Marshal(struct{ A, B, C, D string }{"sk-ecdsa-sha2-nistp256@openssh.com", "nistp256", string(point), "ssh:"})
	for name, c := range map[string]struct {
		blob []byte
		sign func([]byte) []byte
	}{
		"sk-ssh-ed25519@openssh.com": {edBlob, func(data []byte) []byte { return ed25519.Sign(edKey, data) }},
		"sk-ecdsa-sha2-nistp256@openssh.com": {ecBlob, func(data []byte) []byte {
			sum := sha256.Sum256(data)
			r, s, err := ecdsa.Sign(rand.Reader, ecKey, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return append(mpint(r.Bytes()), mpint(s.Bytes())...)
		}},
	} {
		for flags, good := range map[byte]bool{1: true, 5: true, 0: false, 4: false} {
			sum := sha512.Sum512(message)
			inner := append([]byte("SSHSIG"), ssh.Marshal(struct{ A, B, C, D string }{namespace, "", "sha512", string(sum[:])})...)
			app, msg := sha256.Sum256([]byte("ssh:")), sha256.Sum256(inner)
			rest := []byte{flags, 0, 0, 0, 7}
			value := c.sign(bytes.Join([][]byte{app[:], rest, msg[:]}, nil))
			sig := append(ssh.Marshal(struct{ A, B string }{name, string(value)}), rest...)
			blob := append([]byte("SSHSIG\x00\x00\x00\x01"), ssh.Marshal(struct{ A, B, C, D, E string }{string(c.blob), namespace, "", "sha512", string(sig)})...)
			s, err := sshsig.Parse(armor(blob))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := s.Verify(namespace, message); (err == nil) != good {
				t.Errorf("%s, flags %d: %v", name, flags, err)
			}
			pub, err := ssh.ParsePublicKey(c.blob)
			if err != nil {
				t.Fatal(err)
			}
			if err := pub.Verify(inner, &ssh.Signature{Format: name, Blob: value, Rest: rest}); (err == nil) != good {
				t.Errorf("%s: x/crypto says %v: the test plays a wrong token", name, err)
			}
			if s.Verify(namespace, message[1:]) == nil {
				t.Errorf("%s verifies another message", name)
			}
		}
	}
}

func mpint(v []byte) []byte {
	if v[0]&0x80 != 0 {
		v = append([]byte{0}, v...)
	}
	return ssh.Marshal(struct{ A string }{string(v)})
}

func TestKeysThatAreRefused(t *testing.T) {
	rsaLine := acttest.NewKey(t, "-t", "rsa", "-b", "1024").Line
	ed := acttest.NewKey(t).Line
	words := strings.Fields(ed)
	for name, line := range map[string]string{
		"empty": "", "one word": "ssh-ed25519", "options": "command=\"x\" " + ed, "two lines": ed + "\n" + ed,
		"another name": "ssh-rsa " + words[1], "not base64": "ssh-ed25519 AAA!", "cut": words[0] + " " + words[1][:24],
		"small RSA": rsaLine, "p521": "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjE=",
	} {
		if k, err := sshsig.ParseAuthorizedKey(line); err == nil {
			t.Errorf("%s: %v was taken", name, k)
		}
	}
}

func TestSignSaysWhatIsWrong(t *testing.T) {
	path := acttest.NewKey(t).Path
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{path: "ssh-keygen:", path + ".not": "no such file"} {
		if _, err := sshkeygen.Sign(context.Background(), file, namespace, message, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	path := acttest.NewKey(f, "-t", "ecdsa").Path
	armored, err := sshkeygen.Sign(f.Context(), path, namespace, message, io.Discard)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(armored)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := sshsig.Parse(data)
		if err != nil {
			return
		}
		if s.Verify(namespace, message) == nil {
			// Only what the key signed verifies, and x/crypto agrees on the key.
			blob, _ := base64.StdEncoding.DecodeString(strings.Fields(s.Key.String())[1])
			if _, err := ssh.ParsePublicKey(blob); err != nil {
				t.Error(err)
			}
		}
	})
}
