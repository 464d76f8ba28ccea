package statement_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// sample is a vote with everything a statement can carry.
func sample() *statement.Statement {
	s := corekit.Vote("arch-berlin-1",
		corekit.Artifact(corekit.File, strings.Repeat("package ", 40)),
		corekit.Artifact("zlib-debug.pkg.tar.zst", ""))
	s.Stage = "noncodesigned"
	s.Source = &statement.Source{URI: "git+https://example.org/zlib", Digest: map[string]string{"gitCommit": "ab"}}
	s.Dependencies = []statement.Dependency{{Name: "gcc", Annotations: map[string]string{"version": "14.2.1"}}}
	s.Byproducts = []statement.Byproduct{{Name: "build.log", Digest: map[string]string{"sha256": "cd"}}}
	return s
}

// keys are one of each kind.
func keys() map[string]crypto.Signer {
	return map[string]crypto.Signer{"ed25519": corekit.Ed25519("a"), "ecdsa-p256": corekit.P256("a")}
}

// payloadOf is the JSON inside of an envelope.
func payloadOf(s *statement.Statement) []byte {
	var env struct {
		Payload []byte `json:"payload"`
	}
	if err := json.Unmarshal(s.Raw(), &env); err != nil {
		panic(err)
	}
	return env.Payload
}

// wrap puts a payload into an envelope whose signature verifies: a builder can
// sign whatever it likes.
func wrap(payload string) []byte {
	sig := corekit.Must(corekit.Ed25519("a").Sign(nil, statement.PAE(statement.PayloadType, []byte(payload)), crypto.Hash(0)))
	return envelope(statement.PayloadType, payload, base64.StdEncoding.EncodeToString(sig))
}

func envelope(payloadType, payload string, sigs ...string) []byte {
	type signature struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	env := map[string]any{"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString([]byte(payload))}
	list := []signature{}
	for _, s := range sigs {
		list = append(list, signature{"", s})
	}
	env["signatures"] = list
	return corekit.Must(json.Marshal(env))
}

// replace changes one place of a text, and stops when it is not exactly one.
func replace(t testing.TB, text, old, with string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times in the text", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, with, 1)
}

// wantRefusal checks code and field of an error.
func wantRefusal(t *testing.T, err error, code statement.Code, field string) {
	t.Helper()
	var e *statement.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal %s", err, code)
	}
	if e.Code != code || e.Field != field {
		t.Errorf("got %s at %q (%v), want %s at %q", e.Code, e.Field, err, code, field)
	}
}
