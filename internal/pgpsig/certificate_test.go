package pgpsig_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/internal/pgpsig"
)

func TestMakeCertificate(t *testing.T) {
	for _, k := range keys() {
		t.Run(k.name, func(t *testing.T) {
			c := certificate(t, k)
			if got := c.UserIDs(); len(got) != 1 || got[0] != userID {
				t.Errorf("user ids %q", got)
			}
			if !c.Created().Equal(keyTime) {
				t.Errorf("created %v", c.Created())
			}
			if _, ok := c.Expires(); ok {
				t.Error("expires")
			}
			if f := c.Fingerprint(); len(f) != 40 || f != strings.ToUpper(f) || !strings.HasSuffix(f, c.KeyID()) {
				t.Errorf("fingerprint %s, key id %s", f, c.KeyID())
			}
			if !k.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.Public()) {
				t.Error("another public key came back")
			}
			again, err := pgpsig.ParseCertificate(pgpsig.ArmorCertificate(c.Bytes()))
			if err != nil || again.Fingerprint() != c.Fingerprint() {
				t.Errorf("armoured: %v", err)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k, pgpsig.ExpiresAfter(48*time.Hour), pgpsig.CertifiedAt(keyTime.Add(time.Hour)))
	end, ok := c.Expires()
	if !ok || !end.Equal(keyTime.Add(48*time.Hour)) {
		t.Errorf("expires %v, %v", end, ok)
	}
	for at, want := range map[time.Time]bool{
		keyTime.Add(-time.Second): false,
		keyTime:                   true,
		end.Add(-time.Second):     true,
		end:                       false,
	} {
		if err := c.UsableAt(at); (err == nil) != want {
			t.Errorf("usable at %v: %v", at, err)
		}
	}
	// A newer self-signature in the same file prolongs the key's life.
	longer := certificate(t, k, pgpsig.ExpiresAfter(96*time.Hour), pgpsig.CertifiedAt(keyTime.Add(2*time.Hour)))
	merged := append(c.Bytes(), packets(t, longer.Bytes(), 13, 2)...)
	both, err := pgpsig.ParseCertificate(merged)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := both.Expires(); !got.Equal(keyTime.Add(96 * time.Hour)) {
		t.Errorf("merged certificate expires %v", got)
	}
}

// packets returns the packets of the given types.
func packets(t *testing.T, data []byte, tags ...byte) []byte {
	t.Helper()
	var out []byte
	r := packet.NewOpaqueReader(bytes.NewReader(data))
	for {
		p, err := r.Next()
		if err != nil {
			return out
		}
		if bytes.IndexByte(tags, p.Tag) >= 0 {
			out = append(out, pgpsig.FramePacket(p.Tag, p.Contents)...)
		}
	}
}

func TestMakeCertificateRefuses(t *testing.T) {
	k := key("ed25519")
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	tests := []struct {
		name    string
		pub     crypto.PublicKey
		created time.Time
		userID  string
		opts    []pgpsig.CertificateOption
		want    string
	}{
		{"no user id", k.key.Public(), keyTime, "", nil, "user id: empty"},
		{"long user id", k.key.Public(), keyTime, strings.Repeat("x", 256), nil, "256 bytes"},
		{"control", k.key.Public(), keyTime, "a\x1b[31m", nil, "control character"},
		{"utf-8", k.key.Public(), keyTime, "a\xff", nil, "UTF-8"},
		{"small RSA", small.Public(), keyTime, userID, nil, "1024 bits"},
		{"P-521", p521.Public(), keyTime, userID, nil, "P-521 is not supported"},
		{"unknown type", "key", keyTime, userID, nil, "key type string"},
		{"1900", k.key.Public(), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), userID, nil, "outside the years"},
		{"certified early", k.key.Public(), keyTime, userID, []pgpsig.CertificateOption{pgpsig.CertifiedAt(keyTime.Add(-time.Hour))}, "before the creation"},
		{"lifetime", k.key.Public(), keyTime, userID, []pgpsig.CertificateOption{pgpsig.ExpiresAfter(-time.Hour)}, "lifetime"},
		{"after 2106", k.key.Public(), keyTime, userID, []pgpsig.CertificateOption{pgpsig.ExpiresAfter(90 * 366 * 24 * time.Hour)}, "expiry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sign := func(crypto.Hash, []byte) ([]byte, error) { return nil, errors.New("asked the signer") }
			_, err := pgpsig.MakeCertificate(tt.pub, tt.created, tt.userID, sign, tt.opts...)
			wantError(t, err, tt.want)
		})
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	k := key("ed25519")
	c := certificate(t, k).Bytes()
	other := certificate(t, ed25519Key("other", 2)).Bytes()
	third := packets(t, other, 2)
	armored := pgpsig.ArmorCertificate(c)
	tests := map[string]struct {
		data []byte
		want string
	}{
		"nothing":              {nil, "neither binary nor armoured"},
		"two certificates":     {append(bytes.Clone(c), other...), "more than one certificate"},
		"two armoured":         {append(bytes.Clone(armored), armored...), "armour"},
		"trailing byte":        {append(bytes.Clone(c), 0), "not an OpenPGP packet"},
		"trailing packet":      {append(bytes.Clone(c), pgpsig.FramePacket(11, []byte("x"))...), "packet type 11"},
		"truncated":            {c[:len(c)-3], "truncated"},
		"oversized":            {bytes.Repeat(c, 1+(1<<20)/len(c)), "at most 1048576"},
		"many packets":         {bytes.Repeat(pgpsig.FramePacket(13, nil), 3000), "more than 2048"},
		"user id first":        {packets(t, c, 13, 2), "where a public key belongs"},
		"no self-signature":    {packets(t, c, 6, 13), "no user id"},
		"no user id":           {packets(t, c, 6, 2), "no user id"},
		"signature of another": {append(packets(t, c, 6, 13), third...), "no user id"},
		"broken revocation":    {append(packets(t, c, 6), append(pgpsig.FramePacket(2, []byte{4, 0x20, 1}), packets(t, c, 13, 2)...)...), "key revocation"},
		"version 3 key":        {pgpsig.FramePacket(6, make([]byte, 20)), "primary key"},
		"old EdDSA point":      {bytes.Replace(c, []byte{0x01, 0x07, 0x40}, []byte{0x01, 0x07, 0x41}, 1), "primary key"},
	}
	for name, tt := range tests {
		_, err := pgpsig.ParseCertificate(tt.data)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantError(t, err, tt.want)
	}
}

// entity makes a certificate by go-crypto, with an encryption subkey.
func entity(t *testing.T, config *packet.Config) *openpgp.Entity {
	t.Helper()
	config.Time = func() time.Time { return keyTime }
	e, err := openpgp.NewEntity("Some One", "", "one@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serialized(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParseForeignKeys(t *testing.T) {
	legacy := entity(t, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if _, err := pgpsig.ParseCertificate(serialized(t, legacy)); err != nil {
		t.Errorf("EdDSALegacy with a subkey: %v", err)
	}
	for want, config := range map[string]*packet.Config{
		"key version 6": {V6Keys: true, Algorithm: packet.PubKeyAlgoEd25519},
		"algorithm 27":  {Algorithm: packet.PubKeyAlgoEd25519},
		"curve P521":    {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP521},
		"RSA key has":   {Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024},
	} {
		_, err := pgpsig.ParseCertificate(serialized(t, entity(t, config)))
		wantError(t, err, want)
	}
	var secret bytes.Buffer
	if err := legacy.SerializePrivate(&secret, nil); err != nil {
		t.Fatal(err)
	}
	_, err := pgpsig.ParseCertificate(secret.Bytes())
	wantError(t, err, "secret key")
}

// TestRevocation: a compromised key has never signed anything; a retired one
// has, until then.
func TestRevocation(t *testing.T) {
	later := keyTime.AddDate(0, 6, 0)
	for reason, before := range map[packet.ReasonForRevocation]bool{
		packet.KeyCompromised: false,
		packet.NoReason:       false,
		packet.KeyRetired:     true,
		packet.KeySuperseded:  true,
	} {
		config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}
		e := entity(t, config)
		config.Time = func() time.Time { return later }
		if err := e.RevokeKey(reason, "", config); err != nil {
			t.Fatal(err)
		}
		c, err := pgpsig.ParseCertificate(serialized(t, e))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.UsableAt(later.Add(-time.Second)) == nil; got != before {
			t.Errorf("reason %d: usable before the revocation: %v", reason, got)
		}
		wantError(t, c.UsableAt(later), "revoked")
	}
}
