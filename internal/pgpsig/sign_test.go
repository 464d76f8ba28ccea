package pgpsig_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quorate/internal/pgpsig"
)

var notations = []pgpsig.Notation{
	{Name: "quorum@quorate.example.org", Value: "3 of 5"},
	{Name: "target@quorate.example.org", Value: "pkg:alpm/arch/zlib@1.3.1-2?arch=x86_64 – ünïcode"},
}

func TestSignDetached(t *testing.T) {
	for _, k := range keys() {
		t.Run(k.name, func(t *testing.T) {
			c := certificate(t, k)
			sig := signed(t, c, k, notations...)
			for _, form := range [][]byte{sig, pgpsig.Armor(sig)} {
				got, err := pgpsig.VerifyDetached(c, absorbed(document), form)
				if err != nil {
					t.Fatal(err)
				}
				want := &pgpsig.Signature{Fingerprint: c.Fingerprint(), Created: signTime, Hash: crypto.SHA512, Notations: notations}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
			}
			_, err := pgpsig.VerifyDetached(c, absorbed(append(document, '!')), sig)
			wantNotOver(t, err, "document")
			if _, err := pgpsig.VerifyDetached(certificate(t, ed25519Key("other", 2)), absorbed(document), sig); err == nil {
				t.Error("a signature by another key verified")
			}
		})
	}
}

func TestOtherHashes(t *testing.T) {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		k := key("p256")
		c := certificate(t, k)
		state := h.New()
		state.Write(document)
		sig, err := pgpsig.SignDetached(c, state, h, signTime, nil, k.sign)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pgpsig.HashOf(sig); err != nil || got != h {
			t.Errorf("HashOf = %v, %v; want %v", got, err, h)
		}
		_, err = pgpsig.VerifyDetached(c, absorbed(document), sig)
		wantError(t, err, "hash algorithm: signature uses")
	}
}

func TestDeterministic(t *testing.T) {
	for _, name := range []string{"rsa3072", "ed25519"} {
		k := key(name)
		c := certificate(t, k)
		if !bytes.Equal(c.Bytes(), certificate(t, k).Bytes()) {
			t.Errorf("%s: two certificates differ", name)
		}
		if !bytes.Equal(signed(t, c, k, notations...), signed(t, c, k, notations...)) {
			t.Errorf("%s: two signatures differ", name)
		}
	}
}

func TestStateIsNotConsumed(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	state := absorbed(document)
	sig, err := pgpsig.SignDetached(c, state, crypto.SHA512, signTime, nil, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pgpsig.VerifyDetached(c, state, sig); err != nil {
		t.Error(err)
	}
	state.Write([]byte("more"))
	want := sha512.Sum512(append(bytes.Clone(document), "more"...))
	if !bytes.Equal(state.Sum(nil), want[:]) {
		t.Error("the state was changed")
	}
}

// TestBadSigner: nothing leaves that does not verify, and the caller can tell
// a token that failed from a token that lied.
func TestBadSigner(t *testing.T) {
	broken := errors.New("token is away")
	for _, k := range keys() {
		c := certificate(t, k)
		twin := ed25519Key("twin", 9)
		signers := map[string]pgpsig.SignFunc{
			"error":          func(crypto.Hash, []byte) ([]byte, error) { return []byte("x"), broken },
			"nothing":        func(crypto.Hash, []byte) ([]byte, error) { return nil, nil },
			"other key":      twin.sign,
			"other digest":   func(h crypto.Hash, d []byte) ([]byte, error) { return k.sign(h, flip(d, 100)) },
			"changes digest": func(h crypto.Hash, d []byte) ([]byte, error) { d[20] ^= 1; return k.sign(h, d) },
			"flipped bit":    func(h crypto.Hash, d []byte) ([]byte, error) { s, err := k.sign(h, d); s[40] ^= 4; return s, err },
			"short":          func(h crypto.Hash, d []byte) ([]byte, error) { s, err := k.sign(h, d); return s[1:], err },
			"long":           func(h crypto.Hash, d []byte) ([]byte, error) { s, err := k.sign(h, d); return append(s, 0), err },
			"zeros":          func(h crypto.Hash, d []byte) ([]byte, error) { s, err := k.sign(h, d); clear(s); return s, err },
		}
		if k.name == "ed25519" {
			k2 := twin
			signers["other key"] = k2.sign
		}
		for name, sign := range signers {
			sig, err := pgpsig.SignDetached(c, absorbed(document), crypto.SHA512, signTime, notations, sign)
			cert, certErr := pgpsig.MakeCertificate(k.key.Public(), keyTime, userID, sign)
			want := pgpsig.ErrSignatureCheck
			if name == "error" {
				want = broken
			}
			if sig != nil || cert != nil || !errors.Is(err, want) || !errors.Is(certErr, want) {
				t.Errorf("%s, %s: %d bytes, %v; %d bytes, %v; want %v", k.name, name, len(sig), err, len(cert), certErr, want)
			}
		}
	}
}

// TestRefusedBeforeSigning: the signer is not asked for what is not going to
// be released.
func TestRefusedBeforeSigning(t *testing.T) {
	sha := func(h hash.Hash) hash.Hash { h.Write(document); return h }
	note := func(name, value string) []pgpsig.Notation { return []pgpsig.Notation{{Name: name, Value: value}} }
	tests := []struct {
		name, key string
		state     hash.Hash
		hash      crypto.Hash
		created   time.Time
		notes     []pgpsig.Notation
		want      string
	}{
		{"short hash", "p384", sha(sha256.New()), crypto.SHA256, signTime, nil, "too short for a key on P-384"},
		{"sha1", "rsa3072", sha(crypto.SHA1.New()), crypto.SHA1, signTime, nil, "SHA-1 is not accepted"},
		{"other state", "p256", sha(sha256.New()), crypto.SHA512, signTime, nil, "state is SHA-256, want SHA-512"},
		{"truncated sha512", "p256", sha(sha512.New512_256()), crypto.SHA256, signTime, nil, "none of SHA-256"},
		{"no state", "p256", opaqueHash{sha512.New()}, crypto.SHA512, signTime, nil, "cannot be copied"},
		{"before key", "p256", absorbed(document), crypto.SHA512, keyTime.Add(-time.Second), nil, "before the key was created"},
		{"far future", "p256", absorbed(document), crypto.SHA512, time.Unix(1<<32, 0), nil, "outside the years"},
		{"bare name", "p256", absorbed(document), crypto.SHA512, signTime, note("quorum", "x"), "name@domain"},
		{"two at", "p256", absorbed(document), crypto.SHA512, signTime, note("a@b@c", "x"), "name@domain"},
		{"equals", "p256", absorbed(document), crypto.SHA512, signTime, note("a=b@c", "x"), "not allowed"},
		{"empty name", "p256", absorbed(document), crypto.SHA512, signTime, note("", "x"), "name has 0 bytes"},
		{"newline", "p256", absorbed(document), crypto.SHA512, signTime, note("a@b", "x\ny"), "control character"},
		{"direction", "p256", absorbed(document), crypto.SHA512, signTime, note("a@b", "x\u202ey"), "control character"},
		{"not utf-8", "p256", absorbed(document), crypto.SHA512, signTime, note("a@b", "\xff"), "UTF-8"},
		{"long value", "p256", absorbed(document), crypto.SHA512, signTime, note("a@b", strings.Repeat("x", 3000)), "at most 2048"},
		{"many", "p256", absorbed(document), crypto.SHA512, signTime, make([]pgpsig.Notation, 65), "at most 64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := false
			sign := func(h crypto.Hash, d []byte) ([]byte, error) { asked = true; return key(tt.key).sign(h, d) }
			sig, err := pgpsig.SignDetached(certificate(t, key(tt.key)), tt.state, tt.hash, tt.created, tt.notes, sign)
			wantError(t, err, tt.want)
			if asked || sig != nil {
				t.Errorf("asked the signer: %v, returned %d bytes", asked, len(sig))
			}
		})
	}
}

// opaqueHash hides the state of a hash.
type opaqueHash struct{ h hash.Hash }

func (o opaqueHash) Write(b []byte) (int, error) { return o.h.Write(b) }
func (o opaqueHash) Sum(b []byte) []byte         { return o.h.Sum(b) }
func (o opaqueHash) Reset()                      { o.h.Reset() }
func (o opaqueHash) Size() int                   { return o.h.Size() }
func (o opaqueHash) BlockSize() int              { return o.h.BlockSize() }

func TestManyNotations(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	var many []pgpsig.Notation
	for range 31 { // close to the 64 KiB of a hashed area
		many = append(many, pgpsig.Notation{Name: "n@example.org", Value: strings.Repeat("v", 2048)})
	}
	got, err := pgpsig.VerifyDetached(c, absorbed(document), signed(t, c, k, many...))
	if err != nil || len(got.Notations) != len(many) {
		t.Errorf("%v, %v", got, err)
	}
	many = append(many, many...)
	_, err = pgpsig.SignDetached(c, absorbed(document), crypto.SHA512, signTime, many, k.sign)
	wantError(t, err, "at most 65535")
}
