package vsa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum/statement"
)

func sample() *vsa.Summary {
	return &vsa.Summary{
		Signer: "release", Version: "0.1.0", Time: sigkit.SignTime,
		Artifact: "zlib-1.3.1-2-x86_64.pkg.tar.zst",
		SHA256:   sha256.Sum256(sigkit.Document), SHA512: sha512.Sum512(sigkit.Document),
		Target:  "pkg:alpm/arch/zlib@1.3.1-2?arch=x86_64",
		Channel: "core", PolicyURI: "urn:quorate:policy:7", PolicyDigest: sha256.Sum256([]byte("policy")),
		Agreed: 3, Operators: 5,
		Inputs: []statement.SHA256{sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b")), sha256.Sum256([]byte("c"))},
	}
}

func signed(t testing.TB, s sigkit.Software) []byte {
	t.Helper()
	raw, err := vsa.Sign(s.Key(t), sample())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestVerify(t *testing.T) {
	for _, s := range sigkit.Keys() {
		got, err := vsa.Verify(s.Public(), signed(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sample(), got); d != "" {
			t.Error(d)
		}
		if _, err := vsa.Verify(sigkit.Fixed().Public(), signed(t, s)); !errors.Is(err, sigformat.ErrSignatureCheck) {
			t.Errorf("%s: under another key: %v", s.Name, err)
		}
	}
}

func TestOptionalFields(t *testing.T) {
	want := sample()
	want.Version, want.SHA512 = "", statement.SHA512{}
	want.Time = want.Time.Add(300 * time.Millisecond).In(time.FixedZone("x", 3600))
	k := sigkit.Fixed().Key(t)
	raw, err := vsa.Sign(k, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{`"version"`, `sha512`} {
		if strings.Contains(string(payload(t, raw)), absent) {
			t.Errorf("%s in\n%s", absent, payload(t, raw))
		}
	}
	got, err := vsa.Verify(k.Public(), raw)
	if err != nil || !got.Time.Equal(sigkit.SignTime) || got.SHA512 != want.SHA512 {
		t.Errorf("%+v, %v", got, err)
	}
}

// pkcs1 verifies RSA as sigstore does; go-securesystemslib knows RSA-PSS only.
type pkcs1 struct{ *rsa.PublicKey }

func (k pkcs1) Public() crypto.PublicKey { return k.PublicKey }
func (k pkcs1) KeyID() (string, error)   { return "", nil }
func (k pkcs1) Verify(_ context.Context, data, sig []byte) error {
	sum := sha256.Sum256(data)
	return rsa.VerifyPKCS1v15(k.PublicKey, crypto.SHA256, sum[:], sig)
}

// TestSecureSystemsLib reads the envelope by the library of in-toto and TUF.
func TestSecureSystemsLib(t *testing.T) {
	for _, s := range sigkit.Keys() {
		v := libraryVerifier(t, s)
		ev, err := dsse.NewEnvelopeVerifier(v)
		if err != nil {
			t.Fatal(err)
		}
		raw := signed(t, s)
		var e dsse.Envelope
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if keys, err := ev.Verify(context.Background(), &e); err != nil || len(keys) != 1 {
			t.Errorf("%s: %v, %v", s.Name, keys, err)
		}
		changed := bytes.Replace(payload(t, raw), []byte("zlib"), []byte("zlip"), 1)
		e.Payload = base64.StdEncoding.EncodeToString(changed)
		if _, err := ev.Verify(context.Background(), &e); err == nil {
			t.Errorf("%s: verifies another payload", s.Name)
		}
	}
}

func libraryVerifier(t *testing.T, s sigkit.Software) dsse.Verifier {
	t.Helper()
	if k, ok := s.Public().(*rsa.PublicKey); ok {
		return pkcs1{k}
	}
	key, err := signerverifier.LoadKey(s.PEM())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		v, err := signerverifier.NewED25519SignerVerifierFromSSLibKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v, err := signerverifier.NewECDSASignerVerifierFromSSLibKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestOpenSSL verifies the signature with the encoding written out by hand.
func TestOpenSSL(t *testing.T) {
	x := sigkit.NewTool(t, "openssl")
	for _, s := range sigkit.Keys() {
		raw := signed(t, s)
		var e dsse.Envelope
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		x.Write("pae", dsse.PAE(e.PayloadType, payload(t, raw)))
		sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
		if err != nil {
			t.Fatal(err)
		}
		x.Write("sig", sig)
		x.Write("key.pem", s.PEM())
		args := []string{"pkeyutl", "-verify", "-rawin", "-in", "pae", "-sigfile", "sig", "-pubin", "-inkey", "key.pem"}
		switch k := s.Public().(type) {
		case *rsa.PublicKey:
			args = append(args, "-digest", "sha256")
		case *ecdsa.PublicKey:
			args = append(args, "-digest", map[int]string{256: "sha256", 384: "sha384"}[k.Curve.Params().BitSize])
		}
		x.Run("openssl", args...)
	}
}

// TestPayload pins the form: a change of it is a change for every reader.
func TestPayload(t *testing.T) {
	const want = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"zlib-1.3.1-2-x86_64.pkg.tar.zst","digest":` +
		`{"sha256":"SHA256","sha512":"SHA512"}}],"predicateType":"https://slsa.dev/verification_summary/v1","predicate":` +
		`{"verifier":{"id":"urn:quorate:signer:release","version":{"quorate":"0.1.0"}},"timeVerified":"2024-06-01T12:00:00Z",` +
		`"resourceUri":"pkg:alpm/arch/zlib@1.3.1-2?arch=x86_64","policy":{"uri":"urn:quorate:policy:7","digest":{"sha256":"POLICY"}},` +
		`"inputAttestations":[{"digest":{"sha256":"A"}},{"digest":{"sha256":"B"}},{"digest":{"sha256":"C"}}],` +
		`"verificationResult":"PASSED","verifiedLevels":["QUORATE_AGREED_3_OF_5"],"slsaVersion":"1.1",` +
		`"quorate_quorum":{"channel":"core","agreed":3,"operators":5}}}`
	s := sample()
	got := strings.NewReplacer(s.SHA256.String(), "SHA256", s.SHA512.String(), "SHA512", s.PolicyDigest.String(), "POLICY",
		s.Inputs[0].String(), "A", s.Inputs[1].String(), "B", s.Inputs[2].String(), "C").
		Replace(string(payload(t, signed(t, sigkit.Fixed()))))
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func payload(t testing.TB, raw []byte) []byte {
	t.Helper()
	var e dsse.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	p, err := e.DecodeB64Payload()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFlippedBits(t *testing.T) {
	for _, s := range []sigkit.Software{sigkit.Fixed(), sigkit.ByName("p256")} {
		raw := signed(t, s)
		for bit := range 8 * len(raw) {
			if _, err := vsa.Verify(s.Public(), sigkit.Flip(raw, bit)); err == nil {
				t.Errorf("%s: bit %d of %q changed, and it verifies", s.Name, bit%8, raw[max(0, bit/8-10):bit/8+1])
			}
		}
	}
}

// TestStrictPayload signs payloads that mean nearly the same.
func TestStrictPayload(t *testing.T) {
	s := sigkit.Fixed()
	good := string(payload(t, signed(t, s)))
	for name, change := range map[string][2]string{
		"space":           {`"subject":`, `"subject": `},
		"unknown member":  {`"slsaVersion"`, `"x":1,"slsaVersion"`},
		"repeated member": {`"slsaVersion"`, `"verificationResult":"FAILED","slsaVersion"`},
		"failed":          {`"PASSED"`, `"FAILED"`},
		"slsa level":      {`QUORATE_AGREED_3_OF_5`, `SLSA_BUILD_LEVEL_3`},
		"other level":     {`QUORATE_AGREED_3_OF_5`, `QUORATE_AGREED_5_OF_5`},
		"two levels":      {`"QUORATE_AGREED_3_OF_5"`, `"QUORATE_AGREED_3_OF_5","x"`},
		"another case":    {`"resourceUri"`, `"resourceURI"`},
		"upper case hex":  {`"sha256":"d`, `"sha256":"D`},
		"predicate type":  {`summary/v1`, `summary/v2`},
		"verifier":        {`urn:quorate:signer:`, `urn:quorate:other:`},
		"time zone":       {`12:00:00Z`, `12:00:00+00:00`},
		"no time":         {`2024-06-01T12:00:00Z`, ``},
		"more agree":      {`"agreed":3`, `"agreed":6`},
		"exponent":        {`"agreed":3`, `"agreed":3e0`},
		"no subject":      {`"subject":[{`, `"subject":[],"x":[{`},
		"bytes behind":    {`"operators":5}}}`, `"operators":5}}} `},
		"escape":          {`"core"`, `"\u0063ore"`},
	} {
		if name == "upper case hex" {
			change[0] = `"sha256":"` + sample().SHA256.String()
			change[1] = strings.ToUpper(change[0][10:])
			change[1] = `"sha256":"` + change[1]
		}
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("%s: nothing changed", name)
		}
		if got, err := vsa.Verify(s.Public(), seal(t, s, bad)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	if _, err := vsa.Verify(s.Public(), seal(t, s, good)); err != nil {
		t.Error(err)
	}
}

// seal signs any payload.
func seal(t *testing.T, s sigkit.Software, payload string) []byte {
	t.Helper()
	sig, err := s.Sign(0, dsse.PAE(statement.PayloadType, []byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"payloadType": statement.PayloadType,
		"payload":     base64.StdEncoding.EncodeToString([]byte(payload)),
		"signatures":  []map[string]string{{"sig": base64.StdEncoding.EncodeToString(sig)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestStrictEnvelope(t *testing.T) {
	s := sigkit.Fixed()
	good := string(signed(t, s))
	for name, change := range map[string][2]string{
		"payload type":     {statement.PayloadType, "application/json"},
		"two signatures":   {`"signatures":[`, `"signatures":[{"sig":""},`},
		"no signature":     {`"signatures":[{`, `"x":[{`},
		"unknown member":   {`{"payloadType"`, `{"x":1,"payloadType"`},
		"keyid":            {`{"sig"`, `{"keyid":"x","sig"`},
		"repeated member":  {`{"payloadType"`, `{"payload":"","payloadType"`},
		"not base64":       {`"payload":"`, `"payload":"*`},
		"line in base64":   {`"payload":"`, `"payload":"\n`},
		"sig not base64":   {`"sig":"`, `"sig":"*`},
		"nothing":          {good, ""},
		"not an object":    {good, "[]"},
		"bytes behind":     {good, good + "x"},
		"more than a meg.": {good, strings.Repeat(" ", 1<<20) + good},
	} {
		if _, err := vsa.Verify(s.Public(), []byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s: verifies", name)
		}
	}
}

func TestBadSigners(t *testing.T) {
	for _, s := range sigkit.Keys() {
		s.TestBadSigners(t, func(k *sigformat.Key) ([]byte, error) { return vsa.Sign(k, sample()) })
	}
}

func TestRefusedBeforeSigning(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for want, change := range map[string]func(s *vsa.Summary){
		"signer: \"\"":      func(s *vsa.Summary) { s.Signer = "" },
		"signer: \"a b\"":   func(s *vsa.Summary) { s.Signer = "a b" },
		"version: \"a\\n\"": func(s *vsa.Summary) { s.Version = "a\n" },
		"artifact: \"\"":    func(s *vsa.Summary) { s.Artifact = "" },
		"artifact: \"xxx":   func(s *vsa.Summary) { s.Artifact = long },
		"artifact: \"\\xff": func(s *vsa.Summary) { s.Artifact = "\xff" },
		"target:":           func(s *vsa.Summary) { s.Target = "zlib" },
		"channel:":          func(s *vsa.Summary) { s.Channel = "a/b" },
		"policy uri: \"\"":  func(s *vsa.Summary) { s.PolicyURI = "" },
		"not a URI":         func(s *vsa.Summary) { s.PolicyURI = "policy" },
		"sha256: missing":   func(s *vsa.Summary) { s.SHA256 = statement.SHA256{} },
		"policy digest":     func(s *vsa.Summary) { s.PolicyDigest = statement.SHA256{} },
		"time: missing":     func(s *vsa.Summary) { s.Time = time.Time{} },
		"agreed: 0 of 5":    func(s *vsa.Summary) { s.Agreed = 0 },
		"agreed: 6 of 5":    func(s *vsa.Summary) { s.Agreed = 6 },
		"inputs: 0":         func(s *vsa.Summary) { s.Inputs = nil },
		"inputs: 1025":      func(s *vsa.Summary) { s.Inputs = make([]statement.SHA256, 1025) },
	} {
		s := sample()
		change(s)
		raw, err := vsa.Sign(sigkit.ByName("p256").With(t, sigkit.Refuse(t)), s)
		sigkit.WantError(t, err, want)
		if raw != nil || errors.Is(err, sigformat.ErrSignatureCheck) {
			t.Errorf("%s: %v", want, err)
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
	f.Add(signed(f, s))
	f.Add(signed(f, sigkit.ByName("p256")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := vsa.Verify(s.Public(), raw)
		if err == nil && !cmp.Equal(got, sample()) {
			t.Errorf("verified %+v", got)
		}
	})
}

// FuzzPayload: what is read of a payload that was signed has one form.
func FuzzPayload(f *testing.F) {
	s := sigkit.Fixed()
	f.Add(string(payload(f, signed(f, s))))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := vsa.Verify(s.Public(), seal(t, s, text))
		if err != nil {
			return
		}
		raw, err := vsa.Sign(s.Key(t), got)
		if err != nil || string(payload(t, raw)) != text {
			t.Errorf("%q is read and written as another: %v", text, err)
		}
	})
}
