// Package corekit makes what the tests of the core run on: keys that are the same
// in every run, artifacts with genuine hash states, and statements. Nothing
// outside of tests may use it: its keys are public.
package corekit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// Epoch is when the builds of the tests finish.
var Epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Target is what the tests build.
const Target = "pkg:alpm/arch/zlib@1.3.1-2?arch=x86_64"

// File is the name of the artifact that the tests build.
const File = "zlib-1.3.1-2-x86_64.pkg.tar.zst"

// Ed25519 returns the key of that label.
func Ed25519(label string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("quorate test key " + label))
	return ed25519.NewKeyFromSeed(seed[:])
}

// P256 returns the key of that label.
func P256(label string) *ecdsa.PrivateKey {
	scalar := sha256.Sum256([]byte("quorate test key " + label))
	return Must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]))
}

// Text writes the public key as a policy names it.
func Text(key crypto.Signer) string { return Public(key).String() }

// Public returns the public key.
func Public(key crypto.Signer) statement.PublicKey {
	return Must(statement.NewPublicKey(key.Public()))
}

// Must passes the value on and stops the test when there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("corekit: %v", err))
	}
	return v
}

// Artifact is a file of that name and content.
func Artifact(name, content string) statement.Artifact {
	a := statement.Artifact{Name: name, Size: uint64(len(content)),
		State256: State(hashstate.SHA256, content), State512: State(hashstate.SHA512, content)}
	copy(a.SHA256[:], Must(a.State256.Sum()))
	copy(a.SHA512[:], Must(a.State512.Sum()))
	return a
}

// State is the state of a hash after the content.
func State(alg hashstate.Algorithm, content string) hashstate.State {
	h := alg.New()
	h.Write([]byte(content))
	return Must(hashstate.Of(alg, h))
}

// Text512 is the signable of a canonical text.
func Text512(canonical string) []statement.Signable {
	return []statement.Signable{{Name: statement.TextState, Value: Must(State(hashstate.SHA512, canonical).MarshalJSON())}}
}

// Vote is an unsigned statement of a builder about [Target] in channel core.
func Vote(builder string, artifacts ...statement.Artifact) *statement.Statement {
	return &statement.Statement{
		Case:       statement.Case{Channel: "core", Target: Target},
		Builder:    builder,
		Artifacts:  artifacts,
		Invocation: "build-" + builder,
		Started:    Epoch.Add(-time.Minute),
		Finished:   Epoch,
		Version:    "0.1.0",
	}
}

// NoVote is an unsigned statement without a vote.
func NoVote(builder string, status statement.Status) *statement.Statement {
	s := Vote(builder)
	s.Status, s.Reason = status, "said by a test"
	return s
}

// Sign signs with the Ed25519 key that has the builder's name as its label.
func Sign(s *statement.Statement) *statement.Statement {
	return Must(statement.Sign(s, Ed25519(s.Builder)))
}

// Operators writes the policy's operators, each with one builder of its name and
// the key of that label.
func Operators(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "[[operator]]\nname = %q\n  [[operator.builder]]\n  name = %q\n  key = %q\n", n, n, Text(Ed25519(n)))
	}
	return b.String()
}

// Group writes a group of the policy. Need is written as it stands.
func Group(name, need string, members ...string) string {
	return fmt.Sprintf("[[group]]\nname = %q\nneed = %s\nmembers = [\"%s\"]\n", name, need, strings.Join(members, `", "`))
}

// Channel writes channel core with the quorum and further lines.
func Channel(quorum string, lines ...string) string {
	return "[[channel]]\nname = \"core\"\ntargets = [\"pkg:alpm/arch/*\"]\nquorum = \"" + quorum + "\"\n" +
		"sign = [{ format = \"openpgp\", key = \"core-2026\" }]\n" + strings.Join(append(lines, ""), "\n")
}

// Head begins a policy that is good for years.
const Head = "version = 7\nexpires = 2036-01-01T00:00:00Z\n"
