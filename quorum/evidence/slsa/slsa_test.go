package slsa_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/slsa"
	"quorate/quorum/statement"
)

const digest = "59a6f8a560dc8a7f99f470570bcc100f50e415922fbf71a27af34c5630cf233a"

const v1 = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"` + digest + `"}}],
"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{"buildType":"https://example.org/b",
"externalParameters":{"source":{"uri":"git+https://example.org/a"}},"resolvedDependencies":[{"uri":"git+https://example.org/a","digest":{"sha1":"00"}}]},
"runDetails":{"builder":{"id":"https://example.org/x"},"metadata":{"finishedOn":"2024-01-02T03:04:05Z"}}}}`

const v02 = `{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"a","digest":{"sha256":"` + digest + `"}}],
"predicateType":"https://slsa.dev/provenance/v0.2","predicate":{"builder":{"id":"https://example.org/x"},"buildType":"https://example.org/b",
"invocation":{"configSource":{"uri":"git+https://example.org/a","digest":{"sha1":"00"}}},
"metadata":{"buildFinishedOn":"2024-01-02T03:04:05Z"},"materials":[{"uri":"git+https://example.org/a","digest":{"sha1":"00"}}]}}`

type signer struct {
	key  evidence.Key
	sign func(msg []byte) []byte
}

func wrap(t testing.TB, pub any) evidence.Key {
	t.Helper()
	p, err := statement.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	k, err := evidence.NewKey(p)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newEd25519 makes a fixed key: the workers of a fuzz test must know the key that
// signed the seeds.
func newEd25519(t testing.TB) signer {
	t.Helper()
	priv := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return signer{wrap(t, priv.Public()), func(msg []byte) []byte { return ed25519.Sign(priv, msg) }}
}

func newECDSA(t testing.TB) signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{wrap(t, &priv.PublicKey), func(msg []byte) []byte {
		sum := sha256.Sum256(msg)
		sig, err := ecdsa.SignASN1(rand.Reader, priv, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}}
}

// envelope signs the payload; raw signers cover it without the DSSE encoding.
func envelope(payload string, by []signer, raw ...signer) string {
	var sigs []string
	add := func(s signer, msg []byte) {
		sigs = append(sigs, fmt.Sprintf(`{"keyid":"k","sig":%q}`, base64.StdEncoding.EncodeToString(s.sign(msg))))
	}
	for _, s := range by {
		add(s, statement.PAE(statement.PayloadType, []byte(payload)))
	}
	for _, s := range raw {
		add(s, []byte(payload))
	}
	return fmt.Sprintf(`{"payload":%q,"payloadType":%q,"signatures":[%s]}`,
		base64.StdEncoding.EncodeToString([]byte(payload)), statement.PayloadType, strings.Join(sigs, ","))
}

func read(body string, keys ...evidence.Key) (*evidence.Statement, error) {
	return slsa.Read(evidence.Bundle{Kind: evidence.DSSE, Body: []byte(body)}, keys, time.Time{})
}

func TestVersions(t *testing.T) {
	a, b := newEd25519(t), newECDSA(t)
	for name, payload := range map[string]string{
		"v1 in v1":     v1,
		"v1 in v0.1":   strings.Replace(v1, "Statement/v1", "Statement/v0.1", 1),
		"v0.2 in v0.1": v02,
		"v0.2 in v1":   strings.Replace(v02, "Statement/v0.1", "Statement/v1", 1),
		"v0.1":         strings.Replace(v02, "provenance/v0.2", "provenance/v0.1", 1),
	} {
		body := envelope(payload, []signer{a, b})
		for form, body := range map[string]string{
			"bare":    body,
			"bundle":  `{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.1","verificationMaterial":{},"dsseEnvelope":` + body + `}`,
			"bundle3": `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":` + body + `}`,
			"cloud":   `{"provenance_summary":{"provenance":[{"envelope":` + body + `}]}}`,
		} {
			s, err := read(body, a.key, b.key)
			if err != nil {
				t.Errorf("%s, %s: %v", name, form, err)
				continue
			}
			if len(s.Accepted(evidence.Accept{})) != 2 || s.Subject != "https://example.org/b" || len(s.Inputs) != 1 || s.Built.IsZero() ||
				len(s.Artifacts) != 1 || s.Artifacts[0].SHA256.String() != digest {
				t.Errorf("%s, %s: %+v", name, form, s)
			}
		}
	}
}

func TestSignatures(t *testing.T) {
	a, b, c := newECDSA(t), newEd25519(t), newECDSA(t)
	for name, tt := range map[string]struct {
		body     string
		keys     []evidence.Key
		accepted int
		statuses string
	}{
		"one of two pinned":      {envelope(v1, []signer{a, b}), []evidence.Key{b.key}, 1, "no-key good"},
		"one key twice":          {envelope(v1, []signer{a, a}), []evidence.Key{a.key}, 1, "good good"},
		"key pinned twice":       {envelope(v1, []signer{b}), []evidence.Key{b.key, b.key}, 1, "good"},
		"not over the encoding":  {envelope(v1, []signer{a}, c), []evidence.Key{a.key, c.key}, 1, "good bad"},
		"only over the payload":  {envelope(v1, nil, b), []evidence.Key{b.key}, 0, "bad"},
		"none pinned":            {envelope(v1, []signer{a}), nil, 0, "no-key"},
		"over another statement": {strings.Replace(envelope(v1, []signer{a}), base64.StdEncoding.EncodeToString([]byte(v1)), base64.StdEncoding.EncodeToString([]byte(v02)), 1), []evidence.Key{a.key}, 0, "no-key"},
		"URL-safe base64":        {urlSafe(envelope(v1, []signer{a})), []evidence.Key{a.key}, 1, "good"},
	} {
		s, err := read(tt.body, tt.keys...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var statuses []string
		for _, v := range s.Verdicts {
			statuses = append(statuses, string(v.Status))
		}
		if got := s.Accepted(evidence.Accept{ExpiredSince: true}); len(got) != tt.accepted || strings.Join(statuses, " ") != tt.statuses {
			t.Errorf("%s: accepted %v of %v", name, got, statuses)
		}
	}
}

// urlSafe writes the payload and the signatures in the other alphabet.
func urlSafe(body string) string {
	body = strings.NewReplacer("+", "-", "/", "_").Replace(body)
	return strings.Replace(body, "application_vnd.in-toto-json", statement.PayloadType, 1)
}

func TestRefused(t *testing.T) {
	a := newEd25519(t)
	good := envelope(v1, []signer{a})
	payload := func(old, new string) string { return envelope(strings.Replace(v1, old, new, 1), []signer{a}) }
	for name, tt := range map[string]struct{ body, field string }{
		"payload type":       {strings.Replace(good, "vnd.in-toto+json", "json", 1), "payloadType"},
		"no signature":       {envelope(v1, nil), "signatures"},
		"many signatures":    {envelope(v1, make33(a)), "signatures"},
		"payload not base64": {strings.Replace(good, `"payload":"`, `"payload":"!`, 1), "payload"},
		"sig not base64":     {strings.Replace(good, `"sig":"`, `"sig":"!`, 1), "signatures[0].sig"},
		"payload twice":      {strings.Replace(good, `{"payload"`, `{"payload":"","payload"`, 1), "body/payload"},
		"truncated":          {good[:len(good)-2], "body/signatures"},
		"trailing":           {good + good, "body"},
		"no envelope":        {`{}`, "payload"},
		"payload null":       {`{"payload":null}`, "payload"},
		"other container":    {`{"mediaType":"x","dsseEnvelope":` + good + `}`, "mediaType"},
		"two places":         {strings.Replace(good, "{", `{"dsseEnvelope":{},`, 1), "dsseEnvelope"},
		"two envelopes":      {`{"provenance_summary":{"provenance":[{"envelope":` + good + `},{"envelope":` + good + `}]}}`, "envelopes"},
		"statement type":     {payload("Statement/v1", "Statement/v2"), "_type"},
		"predicate type":     {payload("slsa.dev/provenance/v1", "docs.oss-rebuild.dev/ArtifactEquivalence@v0.1"), "predicateType"},
		"subject twice":      {payload(`"subject":[`, `"subject":[{"name":"a","digest":{"sha256":"`+digest+`"}},`), "subject"},
		"no subject":         {payload(`"subject"`, `"subjects"`), "subject"},
		"no name":            {payload(`"name":"a"`, `"name":""`), "subject[0].name"},
		"no sha256":          {payload(`"sha256"`, `"sha1"`), "subject[0].digest.sha256"},
		"name twice":         {payload(`"name":"a"`, `"name":"a","name":"b"`), "payload/subject/0/name"},
		"no predicate":       {payload(`"predicate":`, `"predicated":`), "predicate"},
		"finished":           {payload("2024-01-02T03:04:05Z", "yesterday"), "predicate.runDetails.metadata.finishedOn"},
		"one of our own":     {payload("https://example.org/b", statement.BuildType), "predicate.buildDefinition.buildType"},
		"too large":          {strings.Repeat(" ", slsa.MaxSize+1), "body"},
	} {
		_, err := read(tt.body, a.key)
		var e *evidence.Error
		if !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: %v, want an error in %q", name, err, tt.field)
		}
	}
}

func make33(a signer) []signer {
	many := make([]signer, 33)
	for i := range many {
		many[i] = a
	}
	return many
}

func FuzzRead(f *testing.F) {
	a := newEd25519(f)
	f.Add(envelope(v1, []signer{a}))
	f.Add(envelope(v02, []signer{a}))
	f.Add(`{"mediaType":"application/vnd.dev.sigstore.bundle","dsseEnvelope":` + envelope(v1, []signer{a}) + `}`)
	f.Fuzz(func(t *testing.T, body string) {
		s, err := read(body, a.key)
		if err == nil && len(s.Accepted(evidence.Accept{})) > 0 && (len(s.Artifacts) != 1 || s.Artifacts[0].SHA256.String() != digest) {
			t.Errorf("accepted %+v", s)
		}
	})
}

// FuzzPayload signs whatever payload it is given.
func FuzzPayload(f *testing.F) {
	a := newEd25519(f)
	f.Add(v1)
	f.Add(v02)
	f.Fuzz(func(t *testing.T, payload string) {
		s, err := read(envelope(payload, []signer{a}), a.key)
		if err == nil && (len(s.Artifacts) == 0 || len(s.Accepted(evidence.Accept{})) != 1) {
			t.Errorf("read as %+v", s)
		}
	})
}
