package statement_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

var ignoreReceived = cmpopts.IgnoreUnexported(statement.Statement{})

func TestSignedStatementIsReadBackAsItWasSaid(t *testing.T) {
	for name, key := range keys() {
		for _, s := range []*statement.Statement{sample(), corekit.Vote("a", corekit.Artifact("f", "x")), corekit.NoVote("a", statement.Timeout)} {
			t.Run(name, func(t *testing.T) {
				signed, err := statement.Sign(s, key)
				if err != nil {
					t.Fatal(err)
				}
				back, err := statement.Parse(signed.Raw())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(s, back, ignoreReceived, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("said (-) and read (+):\n%s", diff)
				}
				if err := back.Verify(corekit.Public(key)); err != nil {
					t.Error(err)
				}
				if back.ID() != sha256.Sum256(signed.Raw()) || back.ID() != signed.ID() {
					t.Error("the id is not the SHA-256 of the bytes")
				}
			})
		}
	}
}

func TestEveryNoVoteStatusIsReadBack(t *testing.T) {
	for _, status := range []statement.Status{statement.Failed, statement.Timeout, statement.MissingInput, statement.Cancelled, statement.Withdrawn} {
		s := corekit.Sign(corekit.NoVote("a", status))
		if s.IsVote() || s.Status != status || s.Reason != "said by a test" || len(s.Artifacts) != 0 {
			t.Errorf("%s: read as %+v", status, s)
		}
	}
}

func TestEqualStatementsAreEqualBytes(t *testing.T) {
	for name, key := range keys() {
		a, b := corekit.Must(statement.Sign(sample(), key)), corekit.Must(statement.Sign(sample(), key))
		if !bytes.Equal(a.Raw(), b.Raw()) {
			t.Errorf("%s: signed twice, two different envelopes", name)
		}
	}
}

func TestTimesAreWrittenInUTCAndSeconds(t *testing.T) {
	s := sample()
	s.Finished = corekit.Epoch.Add(700 * time.Millisecond).In(time.FixedZone("somewhere", 3600))
	if got := corekit.Must(statement.Sign(s, corekit.Ed25519("a"))).Finished; !got.Equal(corekit.Epoch) || got.Location() != time.UTC {
		t.Errorf("finished reads %s", got)
	}
}

func TestOnlyTheSignersKeyVerifies(t *testing.T) {
	for name, key := range keys() {
		s := corekit.Must(statement.Sign(sample(), key))
		others := []statement.PublicKey{corekit.Public(corekit.Ed25519("b")), corekit.Public(corekit.P256("b")), {}}
		for _, k := range others {
			wantRefusal(t, s.Verify(k), statement.CodeBadSignature, "signatures[0]")
		}
		if (&statement.Statement{}).Verify(corekit.Public(key)) == nil {
			t.Errorf("%s: a statement that was never read verifies", name)
		}
	}
}

func TestChangedPayloadDoesNotVerify(t *testing.T) {
	key := corekit.Ed25519("a")
	s := corekit.Must(statement.Sign(sample(), key))
	var env map[string]any
	if err := json.Unmarshal(s.Raw(), &env); err != nil {
		t.Fatal(err)
	}
	changed := replace(t, string(payloadOf(s)), `"noncodesigned"`, `"codesigned"`)
	env["payload"] = base64.StdEncoding.EncodeToString([]byte(changed))
	back, err := statement.Parse(corekit.Must(json.Marshal(env)))
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, back.Verify(corekit.Public(key)), statement.CodeBadSignature, "signatures[0]")
}

func TestKeyIDIsNeverBelieved(t *testing.T) {
	key, other := corekit.Ed25519("a"), corekit.Ed25519("b")
	s := corekit.Must(statement.Sign(sample(), key))
	hint, lie := corekit.Public(key).Hint(), corekit.Public(other).Hint()
	for name, id := range map[string]string{"hint of another key": lie, "empty": "", "a path": "../../etc"} {
		back, err := statement.Parse([]byte(replace(t, string(s.Raw()), hint, id)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := back.Verify(corekit.Public(key)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if back.Verify(corekit.Public(other)) == nil {
			t.Errorf("%s: verifies with the key that the keyid names", name)
		}
	}
}

// Everybody who sees a statement can give it another id. What was signed keeps one.
func TestAnotherEnvelopeIsTheSamePayload(t *testing.T) {
	key := corekit.P256("a")
	s := corekit.Must(statement.Sign(sample(), key))
	text := string(s.Raw())
	var env dsse.Envelope
	if err := json.Unmarshal(s.Raw(), &env); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"white space":           " " + text,
		"another keyid":         replace(t, text, corekit.Public(key).Hint(), "x"),
		"an unknown field":      replace(t, text, `{"payload":`, `{"x":1,"payload":`),
		"ECDSA's second answer": replace(t, text, env.Signatures[0].Sig, negated(t, env.Signatures[0].Sig)),
	}
	for name, raw := range cases {
		again, err := statement.Parse([]byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := again.Verify(corekit.Public(key)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again.ID() == s.ID() || again.PayloadID() != s.PayloadID() {
			t.Errorf("%s: want another id (%t) and the same payload id (%t)", name, again.ID() != s.ID(), again.PayloadID() == s.PayloadID())
		}
	}
	if s.PayloadID() != sha256.Sum256(payloadOf(s)) {
		t.Error("the payload id is not the SHA-256 of the payload")
	}
}

// negated is the signature (r, n-s), which verifies when (r, s) does.
func negated(t *testing.T, sig string) string {
	t.Helper()
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(corekit.Must(base64.StdEncoding.DecodeString(sig)), &v); err != nil {
		t.Fatal(err)
	}
	v.S.Sub(elliptic.P256().Params().N, v.S)
	return base64.StdEncoding.EncodeToString(corekit.Must(asn1.Marshal(v)))
}

func TestBadStatementsAreNotSigned(t *testing.T) {
	s := sample()
	s.Artifacts[0].SHA512[0] ^= 1
	_, err := statement.Sign(s, corekit.Ed25519("a"))
	wantRefusal(t, err, statement.CodeStateMismatch, "subject[0].annotations.states.sha512")

	p384 := corekit.Must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	if _, err := statement.Sign(sample(), p384); err == nil {
		t.Error("signed with a P-384 key")
	}
}

// judge is the independent implementation of DSSE with std's own verification.
type judge struct{ key crypto.Signer }

func (j judge) KeyID() (string, error)   { return "", nil }
func (j judge) Public() crypto.PublicKey { return j.key.Public() }
func (j judge) Sign(_ context.Context, data []byte) ([]byte, error) {
	if k, ok := j.key.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(data)
		return ecdsa.SignASN1(rand.Reader, k, sum[:])
	}
	return j.key.Sign(rand.Reader, data, crypto.Hash(0))
}

func (j judge) Verify(_ context.Context, data, sig []byte) error {
	ok := false
	switch k := j.key.Public().(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(k, sum[:], sig)
	}
	if !ok {
		return errors.New("does not verify")
	}
	return nil
}

func TestAnotherImplementationVerifiesOurEnvelope(t *testing.T) {
	for name, key := range keys() {
		s := corekit.Must(statement.Sign(sample(), key))
		var env dsse.Envelope
		if err := json.Unmarshal(s.Raw(), &env); err != nil {
			t.Fatal(err)
		}
		env.Signatures[0].KeyID = "" // it would look for its own form of it
		_, payload, err := corekit.Must(dsse.NewEnvelopeVerifier(judge{key})).VerifyAndDecode(t.Context(), &env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(payload, payloadOf(s)) {
			t.Errorf("%s: it reads another payload", name)
		}
		if !bytes.Equal(statement.PAE(statement.PayloadType, payload), dsse.PAE(env.PayloadType, payload)) {
			t.Errorf("%s: the PAE differs", name)
		}
	}
}

func TestWeReadAnotherImplementationsEnvelope(t *testing.T) {
	for name, key := range keys() {
		signer := corekit.Must(dsse.NewEnvelopeSigner(judge{key}))
		payload := payloadOf(corekit.Must(statement.Sign(sample(), key)))
		env := corekit.Must(signer.SignPayload(t.Context(), statement.PayloadType, payload))
		s, err := statement.Parse(corekit.Must(json.Marshal(env)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Verify(corekit.Public(key)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The spec's own example, and lengths at which digits are added.
func TestPAE(t *testing.T) {
	if got := string(statement.PAE("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("got %q", got)
	}
	for _, n := range []int{0, 9, 10, 99, 100, 100000} {
		p := bytes.Repeat([]byte{0xff}, n)
		if !bytes.Equal(statement.PAE("t", p), dsse.PAE("t", p)) {
			t.Errorf("a payload of %d bytes differs", n)
		}
	}
}

func TestURLSafeBase64IsRead(t *testing.T) {
	s := corekit.Must(statement.Sign(sample(), corekit.Ed25519("a")))
	var env dsse.Envelope
	if err := json.Unmarshal(s.Raw(), &env); err != nil {
		t.Fatal(err)
	}
	env.Payload = base64.URLEncoding.EncodeToString(payloadOf(s))
	sig := corekit.Must(base64.StdEncoding.DecodeString(env.Signatures[0].Sig))
	env.Signatures[0].Sig = base64.URLEncoding.EncodeToString(sig)
	back, err := statement.Parse(corekit.Must(json.Marshal(env)))
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Verify(corekit.Public(corekit.Ed25519("a"))); err != nil {
		t.Error(err)
	}
}
