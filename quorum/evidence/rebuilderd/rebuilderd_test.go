package rebuilderd_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/rebuilderd"
	"quorate/quorum/statement"
)

const digest = "59a6f8a560dc8a7f99f470570bcc100f50e415922fbf71a27af34c5630cf233a"

const signed = `{"_type":"link","name":"rebuild a","materials":{},"products":{"a":{"sha256":"` + digest + `"}},"environment":null,"byproducts":{},"command":[]}`

type signer struct {
	key  evidence.Key
	priv ed25519.PrivateKey
}

// newSigner makes a key from a number: the workers of a fuzz test must know the
// key that signed the seeds.
func newSigner(t testing.TB, number byte) signer {
	t.Helper()
	priv := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{number}, ed25519.SeedSize))
	pub := priv.Public().(ed25519.PublicKey)
	p, err := statement.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	k, err := evidence.NewKey(p)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, priv}
}

// link signs a link with each signer.
func link(t testing.TB, signed string, by ...signer) []byte {
	t.Helper()
	canonical, err := cjson.EncodeCanonical(json.RawMessage(signed))
	if err != nil {
		t.Fatal(err)
	}
	var sigs []string
	for _, s := range by {
		id, _ := rebuilderd.KeyID(s.key)
		sigs = append(sigs, fmt.Sprintf(`{"keyid":%q,"sig":%q}`, id, hex.EncodeToString(ed25519.Sign(s.priv, canonical))))
	}
	return []byte(`{"signatures":[` + strings.Join(sigs, ",") + `],"signed":` + signed + `}`)
}

func read(body []byte, keys ...evidence.Key) (*evidence.Statement, error) {
	return rebuilderd.Read(evidence.Bundle{Kind: evidence.Rebuilderd, Body: body}, keys, time.Time{})
}

func TestSignatures(t *testing.T) {
	worker, instance := newSigner(t, 1), newSigner(t, 2)
	s, err := read(link(t, signed, worker, instance, instance), worker.key, instance.key)
	if err != nil || len(s.Verdicts) != 3 {
		t.Fatal(s, err)
	}
	// Two keys stand behind one statement; whoever counts asks whose they are.
	if got := s.Accepted(evidence.Accept{}); len(got) != 2 {
		t.Errorf("accepted %v", got)
	}
	if s, err = read(link(t, signed, worker, instance), instance.key); err != nil || len(s.Accepted(evidence.Accept{})) != 1 {
		t.Errorf("%+v %v", s, err)
	}
	// The key id is not believed, in either direction.
	body := strings.Replace(string(link(t, signed, worker)), `"keyid":"`, `"keyid":"00`, 1)
	if s, err = read([]byte(body), worker.key); err != nil || s.Verdicts[0].Status != evidence.Good {
		t.Errorf("another key id: %+v %v", s, err)
	}
	body = strings.Replace(string(link(t, signed, worker)), "rebuild a", "rebuild b", 1)
	if s, err = read([]byte(body), worker.key); err != nil || s.Verdicts[0].Status != evidence.Bad {
		t.Errorf("another name: %+v %v", s, err)
	}
	spaced := strings.Replace(string(link(t, signed, worker)), `{"_type":"link",`, "{ \"_type\" : \"l\\u0069nk\",\n", 1)
	if s, err = read([]byte(spaced), worker.key); err != nil || s.Verdicts[0].Status != evidence.Good {
		t.Errorf("other white space and escapes: %+v %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	by := newSigner(t, 1)
	good := string(link(t, signed, by))
	for name, tt := range map[string]struct{ body, field string }{
		"number":           {"1", "body"},
		"truncated":        {good[:len(good)-1], "body"},
		"trailing":         {good + "{}", "body"},
		"signed twice":     {strings.Replace(good, `"signed":`, `"signed":{},"signed":`, 1), "body/signed"},
		"product twice":    {strings.Replace(good, `"products":{`, `"products":{"a":{"sha256":"x"},`, 1), "body/signed/products/a"},
		"no signed":        {`{"signatures":[]}`, "signed"},
		"layout":           {strings.Replace(good, `"link"`, `"layout"`, 1), "signed._type"},
		"no products":      {strings.Replace(good, `"products"`, `"product"`, 1), "signed.products"},
		"upper-case hash":  {strings.Replace(good, digest, strings.ToUpper(digest), 1), `signed.products."a".sha256`},
		"no sha256":        {strings.Replace(good, `"sha256"`, `"sha1"`, 1), `signed.products."a".sha256`},
		"bad sha512":       {strings.Replace(good, `{"sha256"`, `{"sha512":"00","sha256"`, 1), `signed.products."a".sha512`},
		"control":          {strings.Replace(good, `{"a":`, `{"a\n":`, 1), `signed.products."a\n"`},
		"float":            {strings.Replace(good, `"byproducts":{}`, `"byproducts":{"x":1.5}`, 1), "signed"},
		"deep":             {strings.Replace(good, `"command":[]`, `"command":`+strings.Repeat("[", 40)+strings.Repeat("]", 40), 1), "signed"},
		"sig not hex":      {strings.Replace(good, `"sig":"`, `"sig":"x`, 1), "signatures[0].sig"},
		"sig too long":     {strings.Replace(good, `"sig":"`, `"sig":"0011`, 1), "signatures[0].sig"},
		"no sig":           {strings.Replace(good, `"sig"`, `"sug"`, 1), "signatures[0].sig"},
		"too large":        {strings.Repeat(" ", rebuilderd.MaxSize+1), "body"},
		"digest is number": {strings.Replace(good, `"`+digest+`"`, `1`, 1), "signed/products/a/sha256"},
	} {
		_, err := read([]byte(tt.body), by.key)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: %v, want an error in %q", name, err, tt.field)
		}
	}
}

func FuzzRead(f *testing.F) {
	by := newSigner(f, 1)
	f.Add(link(f, signed, by))
	canonical, err := cjson.EncodeCanonical(json.RawMessage(signed))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := read(body, by.key)
		if err != nil || len(s.Accepted(evidence.Accept{})) == 0 {
			return
		}
		// Whatever the bytes: only what was signed is accepted.
		var b map[string]json.RawMessage // a map: its names are case-sensitive
		if json.Unmarshal(body, &b) != nil {
			t.Fatalf("accepted %q", body)
		}
		if got, err := cjson.EncodeCanonical(b["signed"]); err != nil || string(got) != string(canonical) || s.Artifacts[0].SHA256.String() != digest {
			t.Errorf("accepted %s", got)
		}
	})
}
