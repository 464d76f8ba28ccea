package link_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/link"
	"quorate/quorum/evidence/openpgp"
)

var (
	made = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

const digest = "95b066f599e599e67f379bf36e696fe6d59ad4c07b7e026189cdb3f353c94eb1"

const signed = `{"_type":"link","name":"rebuild","materials":{},"products":{"a.deb":{"sha256":"` + digest + `"}},"environment":{"k":"v"},"byproducts":{},"command":[]}`

func newEntity(t testing.TB, algorithm packet.PublicKeyAlgorithm) (*pgp.Entity, *openpgp.Ring) {
	t.Helper()
	e, err := pgp.NewEntity("A", "", "a@example.org", &packet.Config{Algorithm: algorithm, RSABits: 2048, Time: func() time.Time { return made }})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	key, err := openpgp.ParseKey(openpgp.Fingerprint(e.PrimaryKey.Fingerprint), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := openpgp.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return e, ring
}

// sign writes the file as securesystemslib does: the hashed fields, and the
// value without its packet.
func sign(t testing.TB, e *pgp.Entity, signed string) []byte {
	t.Helper()
	canonical, err := cjson.EncodeCanonical(json.RawMessage(signed))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pgp.DetachSign(&b, e, bytes.NewReader(canonical), &packet.Config{Time: func() time.Time { return made.AddDate(0, 1, 0) }}); err != nil {
		t.Fatal(err)
	}
	parsed, err := packet.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	sig := parsed.(*packet.Signature)
	value := append(pad(sig.EdDSASigR), pad(sig.EdDSASigS)...)
	if sig.RSASignature != nil {
		value = sig.RSASignature.Bytes()
	}
	headers := sig.HashSuffix[:len(sig.HashSuffix)-6]
	return fmt.Appendf(nil, `{"signatures":[{"keyid":%q,"other_headers":%q,"signature":%q}],"signed":%s}`,
		hex.EncodeToString(e.PrimaryKey.Fingerprint), hex.EncodeToString(headers), hex.EncodeToString(value), signed)
}

func pad(f interface{ Bytes() []byte }) []byte {
	if f == nil {
		return nil
	}
	out := make([]byte, 32)
	copy(out[32-len(f.Bytes()):], f.Bytes())
	return out
}

func read(body []byte, keys *openpgp.Ring) (*evidence.Statement, error) {
	return link.Read(evidence.Bundle{Kind: evidence.Link, Body: body}, keys, now)
}

func TestRead(t *testing.T) {
	for _, algorithm := range []packet.PublicKeyAlgorithm{packet.PubKeyAlgoRSA, packet.PubKeyAlgoEdDSA} {
		e, ring := newEntity(t, algorithm)
		body := sign(t, e, signed)
		s, err := read(body, ring)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Accepted(evidence.Accept{}); len(got) != 1 || s.Subject != "rebuild" || len(s.Artifacts) != 1 || !s.SignedAt(evidence.Accept{}).Equal(made.AddDate(0, 1, 0)) {
			t.Errorf("algorithm %d: %+v", algorithm, s)
		}
		_, other := newEntity(t, packet.PubKeyAlgoEdDSA)
		if s, err = read(body, other); err != nil || s.Verdicts[0].Status != evidence.NoKey {
			t.Errorf("with another key: %+v %v", s, err)
		}
		changed := strings.Replace(string(body), "a.deb", "b.deb", 1)
		if s, err = read([]byte(changed), ring); err != nil || s.Verdicts[0].Status != evidence.Bad {
			t.Errorf("changed: %+v %v", s, err)
		}
	}
}

func TestRefused(t *testing.T) {
	e, ring := newEntity(t, packet.PubKeyAlgoEdDSA)
	good := string(sign(t, e, signed))
	for name, tt := range map[string]struct{ body, field string }{
		"Ed25519 form":  {strings.Replace(good, `"other_headers"`, `"sig"`, 1), "signatures[0].other_headers"},
		"no signature":  {strings.Replace(good, `"signature":`, `"sig":`, 1), "signatures[0].signature"},
		"not hex":       {strings.Replace(good, `"other_headers":"`, `"other_headers":"x`, 1), "signatures[0].other_headers"},
		"layout":        {strings.Replace(good, `"link"`, `"layout"`, 1), "signed._type"},
		"truncated":     {good[:len(good)-1], "body"},
		"long headers":  {strings.Replace(good, `"other_headers":"`, `"other_headers":"`+strings.Repeat("00", 9000), 1), "signatures[0].other_headers"},
		"product twice": {strings.Replace(good, `"products":{`, `"products":{"a.deb":{},`, 1), "body/signed/products/a.deb"},
		"many":          {strings.Replace(good, `"signatures":[`, `"signatures":[`+strings.Repeat(`{},`, 16), 1), "signatures"},
		"too large":     {strings.Repeat(" ", link.MaxSize+1), "body"},
	} {
		_, err := read([]byte(tt.body), ring)
		wantField(t, name, err, tt.field)
	}
}

func wantField(t *testing.T, name string, err error, field string) {
	t.Helper()
	var e *evidence.Error
	if !errors.As(err, &e) || e.Field != field {
		t.Errorf("%s: %v, want an error in %q", name, err, field)
	}
}

// layout is signed by e and pins the RSA key of b.
func layout(t testing.TB, e, b *pgp.Entity, change func(string) string) []byte {
	t.Helper()
	pub := b.PrimaryKey.PublicKey.(*rsa.PublicKey)
	id := hex.EncodeToString(b.PrimaryKey.Fingerprint)
	text := fmt.Sprintf(`{"_type":"layout","expires":"2030-01-01T00:00:00Z","keys":{%q:{"type":"rsa","keyval":{"private":"","public":{"e":"010001","n":"%x"}}}},`+
		`"steps":[{"name":"rebuild","threshold":1,"pubkeys":[%q]}],"inspect":[]}`, id, pub.N, id)
	if change != nil {
		text = change(text)
	}
	return sign(t, e, text)
}

func TestLayout(t *testing.T) {
	owner, owners := newEntity(t, packet.PubKeyAlgoEdDSA)
	builder, _ := newEntity(t, packet.PubKeyAlgoRSA)
	l, err := link.ReadLayout(layout(t, owner, builder, nil), owners, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Verdicts) != 1 || l.Verdicts[0].Status != evidence.Good || len(l.Steps) != 1 {
		t.Errorf("read as %+v", l)
	}
	ring, err := l.Ring("rebuild")
	if err != nil {
		t.Fatal(err)
	}
	s, err := read(sign(t, builder, signed), ring)
	if err != nil || len(s.Accepted(evidence.Accept{})) != 1 {
		t.Errorf("link by the layout's key: %+v %v", s, err)
	}
	stranger, _ := newEntity(t, packet.PubKeyAlgoRSA)
	if s, err = read(sign(t, stranger, signed), ring); err != nil || len(s.Accepted(evidence.Accept{})) != 0 {
		t.Errorf("link by another: %+v %v", s, err)
	}
	_, err = l.Ring("sign")
	wantField(t, "no such step", err, "signed.steps")
}

func TestLayoutRefused(t *testing.T) {
	owner, owners := newEntity(t, packet.PubKeyAlgoEdDSA)
	builder, _ := newEntity(t, packet.PubKeyAlgoRSA)
	id := hex.EncodeToString(builder.PrimaryKey.Fingerprint)
	for name, tt := range map[string]struct{ old, new, field string }{
		"expired":            {"2030-", "2026-", "signed.expires"},
		"no expiry":          {`"expires"`, `"expired"`, "signed.expires"},
		"link":               {`"layout"`, `"link"`, "signed._type"},
		"key id":             {`"` + id + `":`, `"` + id[24:] + `":`, "signed.keys." + id[24:]},
		"key type":           {`"rsa"`, `"dsa"`, "signed.keys." + id + ".type"},
		"modulus":            {`"n":"`, `"n":"x`, "signed.keys." + id + ".keyval.public.n"},
		"exponent":           {`"010001"`, `"ffffffffff"`, "signed.keys." + id + ".keyval.public.e"},
		"even exponent":      {`"010001"`, `"010000"`, "key"},
		"threshold zero":     {`"threshold":1`, `"threshold":0`, "signed.steps[0].threshold"},
		"threshold too high": {`"threshold":1`, `"threshold":2`, "signed.steps[0].threshold"},
		"unknown key":        {`[` + `"` + id, `["` + strings.Repeat("0", 40), "signed.steps[0].pubkeys"},
		"key twice":          {`[` + `"` + id, `["` + id + `","` + id, "signed.steps[0].pubkeys"},
	} {
		raw := layout(t, owner, builder, func(s string) string {
			if !strings.Contains(s, tt.old) {
				t.Fatalf("%s: %q is not in the layout", name, tt.old)
			}
			return strings.Replace(s, tt.old, tt.new, 1)
		})
		_, err := link.ReadLayout(raw, owners, now)
		wantField(t, name, err, tt.field)
	}
	_, err := link.ReadLayout(make([]byte, link.MaxSize+1), owners, now)
	wantField(t, "too large", err, "layout")
}

func FuzzRead(f *testing.F) {
	e, ring := newEntity(f, packet.PubKeyAlgoEdDSA)
	f.Add(sign(f, e, signed))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := read(body, ring)
		if err == nil && len(s.Accepted(evidence.Accept{})) > 0 && s.Artifacts[0].SHA256.String() != digest {
			t.Errorf("accepted %+v", s)
		}
	})
}

func FuzzLayout(f *testing.F) {
	owner, owners := newEntity(f, packet.PubKeyAlgoEdDSA)
	builder, _ := newEntity(f, packet.PubKeyAlgoRSA)
	f.Add(layout(f, owner, builder, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := link.ReadLayout(raw, owners, now)
		if err == nil && !now.Before(l.Expires) {
			t.Errorf("an expired layout is read: %+v", l)
		}
	})
}
