package pgpsig_test

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"quorate/internal/pgpsig"
)

// TestFlippedBits: every bit of a signature and of a certificate matters.
func TestFlippedBits(t *testing.T) {
	for name, step := range map[string]int{"ed25519": 1, "p256": 1, "rsa3072": 13} {
		k := key(name)
		c := certificate(t, k)
		sig := signed(t, c, k, notations...)
		for bit := 0; bit < 8*len(sig); bit += step {
			if _, err := pgpsig.VerifyDetached(c, absorbed(document), flip(sig, bit)); err == nil {
				t.Errorf("%s: signature with %s flipped verifies", name, describe(bit))
			}
		}
		raw := c.Bytes()
		for bit := 0; bit < 8*len(raw); bit += step {
			if _, err := pgpsig.ParseCertificate(flip(raw, bit)); err == nil {
				t.Errorf("%s: certificate with %s flipped parses", name, describe(bit))
			}
		}
		for bit := 0; bit < 8*len(document); bit++ {
			if _, err := pgpsig.VerifyDetached(c, absorbed(flip(document, bit)), sig); err == nil {
				t.Errorf("%s: signature verifies for the file with %s flipped", name, describe(bit))
			}
		}
	}
}

func TestVerifyRefusesPackaging(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	sig := signed(t, c, k)
	armored := pgpsig.Armor(sig)
	tests := map[string]struct {
		sig  []byte
		want string
	}{
		"nothing":             {nil, "neither binary nor armoured"},
		"two packets":         {append(bytes.Clone(sig), sig...), "exactly one signature packet, got 2"},
		"trailing byte":       {append(bytes.Clone(sig), 0), "packet 2"},
		"truncated":           {sig[:len(sig)-1], "truncated"},
		"certificate":         {c.Bytes(), "exactly one signature packet"},
		"armoured cert":       {pgpsig.ArmorCertificate(c.Bytes()), "BEGIN PGP SIGNATURE"},
		"text before":         {append([]byte("hello\n"), armored...), "BEGIN PGP SIGNATURE"},
		"text after":          {append(bytes.Clone(armored), "hello\n"...), "END PGP SIGNATURE"},
		"two blocks":          {append(bytes.Clone(armored), armored...), "armour"},
		"checksum":            {bytes.Replace(armored, []byte("\n="), []byte("\n=A"), 1)[:], "armour"},
		"large":               {make([]byte, 1<<20), "at most"},
		"partial length":      {append([]byte{0xc2, 0xe1}, sig[2:]...), "partial"},
		"indeterminate":       {append([]byte{0x8b}, sig[2:]...), "indeterminate"},
		"version 3":           {pgpsig.FramePacket(2, append([]byte{3}, sig[3:]...)), "version 3"},
		"version 6":           {pgpsig.FramePacket(2, append([]byte{6}, sig[3:]...)), "version 6"},
		"unused bytes":        {pgpsig.FramePacket(2, append(bytes.Clone(sig[2:]), 7)), "unused bytes"},
		"empty body":          {pgpsig.FramePacket(2, nil), "truncated"},
		"not a packet at all": {[]byte{0x80, 0xff}, "truncated"},
	}
	for name, tt := range tests {
		_, err := pgpsig.VerifyDetached(c, absorbed(document), tt.sig)
		if err == nil {
			t.Errorf("%s: verified", name)
			continue
		}
		wantError(t, err, tt.want)
	}
}

// TestVerifyRefusesFields: correctly signed, but saying what we do not accept.
func TestVerifyRefusesFields(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k, pgpsig.ExpiresAfter(365*24*time.Hour))
	sub := func(kind byte, body ...byte) []byte { return pgpsig.AppendSubpacket(nil, kind, body...) }
	stamp := binary.BigEndian.AppendUint32(nil, uint32(signTime.Unix()))
	note := append([]byte{0x80, 0, 0, 0, 0, 3, 0, 1}, "a@bv"...)
	tests := []struct {
		name    string
		kind    byte
		created time.Time
		extra   []byte
		want    string
	}{
		{"text type", 0x01, signTime, nil, "signature type: 0x01"},
		{"certification", 0x13, signTime, nil, "signature type: 0x13"},
		{"too early", 0x00, keyTime.Add(-time.Second), nil, "before the key was created"},
		{"key expired", 0x00, keyTime.AddDate(1, 0, 0), nil, "key expired"},
		{"expires", 0x00, signTime, sub(3, 0, 0, 1, 0), "signature expiration"},
		{"unknown critical", 0x00, signTime, sub(0x80|100, 1), "critical subpacket 100"},
		{"critical policy", 0x00, signTime, sub(0x80|26, 'x'), "critical subpacket 26"},
		{"critical notation", 0x00, signTime, sub(0x80|20, note...), "critical, and not known"},
		{"broken notation", 0x00, signTime, sub(20, note[:9]...), "notation: lengths"},
		{"short notation", 0x00, signTime, sub(20, note[:5]...), "notation: truncated"},
		{"two times", 0x00, signTime, sub(2, stamp...), "subpacket 2 occurs twice"},
		{"two issuers", 0x00, signTime, sub(16, make([]byte, 8)...), "subpacket 16 occurs twice"},
		{"empty subpacket", 0x00, signTime, []byte{0}, "length 0"},
		{"long subpacket", 0x00, signTime, []byte{9, 1}, "length 9 with 1 bytes left"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sig, err := pgpsig.ForgeSignature(c, absorbed(document), tt.kind, tt.created, tt.extra, k.sign)
			if err != nil {
				t.Fatal(err)
			}
			_, err = pgpsig.VerifyDetached(c, absorbed(document), sig)
			wantError(t, err, tt.want)
		})
	}
	for want, hashed := range map[string][]byte{
		"creation time: missing":                                                    sub(33, append([]byte{4}, fingerprintBytes(t, c)...)...),
		"issuer fingerprint: missing":                                               sub(2, stamp...),
		"issuer fingerprint: not of a version 4 key":                                append(sub(2, stamp...), sub(33, make([]byte, 21)...)...),
		"signature is by " + strings.Repeat("00", 20) + ", want " + c.Fingerprint(): append(sub(2, stamp...), sub(33, append([]byte{4}, make([]byte, 20)...)...)...),
		"issuer key id: signature is by":                                            append(sub(2, stamp...), sub(16, make([]byte, 8)...)...),
		"creation time: 3 bytes":                                                    sub(2, 1, 2, 3),
	} {
		sig, err := pgpsig.ForgeBare(c, absorbed(document), hashed, k.sign)
		if err != nil {
			t.Fatal(err)
		}
		_, err = pgpsig.VerifyDetached(c, absorbed(document), sig)
		wantError(t, err, want)
	}
}

func fingerprintBytes(t *testing.T, c *pgpsig.Certificate) []byte {
	t.Helper()
	b, err := hex.DecodeString(c.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerifyRefusesSHA1 makes a correct SHA-1 signature and shows it to the
// reader, whose own list does not have it.
func TestVerifyRefusesSHA1(t *testing.T) {
	k := key("rsa3072")
	c := certificate(t, k)
	state := absorbed(document)
	sig, err := pgpsig.ForgeSignature(c, state, 0, signTime, nil, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []byte{1, 2, 3, 11} { // MD5, SHA-1, RIPEMD-160, SHA-224
		weak := bytes.Clone(sig)
		weak[3+3] = id // header of three octets, then version, type, algorithm
		_, err = pgpsig.VerifyDetached(c, state, weak)
		wantError(t, err, "hash algorithm: id")
	}
	old := sha1.New()
	old.Write(document)
	_, err = pgpsig.VerifyDetached(c, old, sig)
	wantError(t, err, "none of SHA-256")
}

// TestUnhashedArea: others may add to it; it must neither help nor hurt,
// unless it claims to be critical.
func TestUnhashedArea(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k)
	sig := signed(t, c, k)
	at := 2 + 6 + int(binary.BigEndian.Uint16(sig[6:]))
	with := func(area []byte) []byte {
		body := bytes.Clone(sig[2:at])
		body = binary.BigEndian.AppendUint16(body, uint16(len(area)))
		body = append(body, area...)
		return pgpsig.FramePacket(2, append(body, sig[at+2:]...))
	}
	harmless := pgpsig.AppendSubpacket(nil, 16, make([]byte, 8)...)
	got, err := pgpsig.VerifyDetached(c, absorbed(document), with(harmless))
	if err != nil || got.Fingerprint != c.Fingerprint() {
		t.Errorf("%v, %v", got, err)
	}
	for want, area := range map[string][]byte{
		"critical subpacket 99": pgpsig.AppendSubpacket(nil, 0x80|99, 1),
		"unhashed area":         {5, 1},
	} {
		_, err := pgpsig.VerifyDetached(c, absorbed(document), with(area))
		wantError(t, err, want)
	}
}

func TestHashOfRefuses(t *testing.T) {
	_, err := pgpsig.HashOf([]byte("no signature"))
	wantError(t, err, "read detached signature")
	if h, err := pgpsig.HashOf(signed(t, certificate(t, key("ed25519")), key("ed25519"))); err != nil || h != crypto.SHA512 {
		t.Errorf("%v, %v", h, err)
	}
}
