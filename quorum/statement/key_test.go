package statement_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

func TestKeysAreReadBackFromTheirText(t *testing.T) {
	for name, key := range keys() {
		pub := corekit.Public(key)
		back, err := statement.ParsePublicKey(pub.String())
		if err != nil {
			t.Fatal(err)
		}
		if !back.Equal(pub) || back.String() != pub.String() || !strings.HasPrefix(pub.String(), name+":") {
			t.Errorf("%s: wrote %s, read %s", name, pub, back)
		}
		if back.Equal(corekit.Public(corekit.Ed25519("b"))) {
			t.Errorf("%s: equals another key", name)
		}
	}
}

func TestTextsThatAreNoKeyAreRefused(t *testing.T) {
	ed, ec := corekit.Text(corekit.Ed25519("a")), corekit.Text(corekit.P256("a"))
	point := corekit.Must(base64.StdEncoding.DecodeString(strings.TrimPrefix(ec, "ecdsa-p256:")))
	x, y := elliptic.P256().Params().Gx.Bytes(), point[33:]
	offCurve := append(append([]byte{4}, x...), y...)
	compressed := append([]byte{2}, point[1:33]...)
	cases := map[string]string{
		"empty":                          "",
		"no algorithm":                   strings.TrimPrefix(ed, "ed25519:"),
		"an algorithm that is not known": "rsa:" + strings.TrimPrefix(ed, "ed25519:"),
		"the algorithm in upper case":    "ED25519:" + strings.TrimPrefix(ed, "ed25519:"),
		"cut off":                        ed[:len(ed)-4],
		"a space behind it":              ed + " ",
		"a line break in it":             ed[:20] + "\n" + ed[20:],
		"base64 without padding":         strings.TrimRight(ed, "="),
		"base64 with spare bits":         ed[:len(ed)-2] + nextLetter(ed[len(ed)-2]) + "=",
		"31 bytes":                       "ed25519:" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"a point off the curve":          "ecdsa-p256:" + base64.StdEncoding.EncodeToString(offCurve),
		"a compressed point":             "ecdsa-p256:" + base64.StdEncoding.EncodeToString(compressed),
		"the point at infinity":          "ecdsa-p256:AA==",
		"an Ed25519 key as P-256":        "ecdsa-p256:" + strings.TrimPrefix(ed, "ed25519:"),
	}
	for name, text := range cases {
		if k, err := statement.ParsePublicKey(text); err == nil {
			t.Errorf("%s: read %q as %s", name, text, k)
		}
	}
}

func nextLetter(c byte) string { return string(rune(c + 1)) }

// For each of these points anybody makes a signature that std accepts. If that
// stops being so, the list can go.
func TestKeysThatNobodyNeedsToHoldAreRefused(t *testing.T) {
	neutral := "0100000000000000000000000000000000000000000000000000000000000000"
	forged := append(corekit.Must(hex.DecodeString(neutral)), make([]byte, 32)...) // R neutral, S = 0
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", neutral,
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			raw := corekit.Must(hex.DecodeString(y))
			raw[31] |= sign
			if !forgeable(raw, forged) {
				t.Errorf("%x: no forged signature was accepted by std", raw)
			}
			if _, err := statement.ParsePublicKey("ed25519:" + base64.StdEncoding.EncodeToString(raw)); err == nil {
				t.Errorf("%x was accepted as a key", raw)
			}
			if _, err := statement.NewPublicKey(ed25519.PublicKey(raw)); err == nil {
				t.Errorf("%x was accepted as a key", raw)
			}
		}
	}
}

// forgeable tries messages until the hash is a multiple of the point's order.
func forgeable(pub, sig []byte) bool {
	for i := range 200 {
		if ed25519.Verify(pub, fmt.Appendf(nil, "message %d", i), sig) {
			return true
		}
	}
	return false
}

func TestZeroKeyVerifiesNothing(t *testing.T) {
	s := corekit.Must(statement.Sign(sample(), corekit.Ed25519("a")))
	if s.Verify(statement.PublicKey{}) == nil {
		t.Error("a key that is none verifies")
	}
}

func TestTypesThatAreNoKeyAreRefused(t *testing.T) {
	for _, k := range []any{nil, "ed25519", corekit.Ed25519("a"), ed25519.PublicKey("short")} {
		if _, err := statement.NewPublicKey(k); err == nil {
			t.Errorf("%T was accepted as a public key", k)
		}
	}
}
