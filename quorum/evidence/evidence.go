// Package evidence holds what the packages below it have in common: they read
// statements that others already make (Bitcoin Core's guix.sigs, rebuilderd,
// Debian .buildinfo, Nix narinfo, in-toto links, SLSA provenance) and judge
// their signatures against keys that the caller pins.
//
// Guarantees: reading is a pure function of the bytes, the pinned keys and the
// time given; nothing is fetched, no clock is read. A statement that cannot be
// read in exactly one way is refused with an [Error] that names the field. What
// a signature says about its own key (key id, name) is a hint for people and is
// never believed. A [Bundle] keeps the bytes as they came, and its identity is a
// hash over all of them.
//
// Not guaranteed: that a statement counts. A [Statement] with no accepted
// signature is still returned, so that it can be shown; only
// [Statement.Accepted] says which pinned keys stand behind it, and it is the
// caller who knows whose keys they are. One statement is one vote, however many
// of its signatures are accepted. Most of these formats do not sign everything
// that a decision needs (a release name, a channel): see [Claim].
package evidence

import (
	"slices"
	"time"

	"quorate/quorum/statement"
)

// Kind is a format of foreign statements.
type Kind string

// The kinds.
const (
	GuixSigs   Kind = "guix.sigs"    // SHA256SUMS with a detached OpenPGP signature
	Rebuilderd Kind = "rebuilderd"   // in-toto link signed with Ed25519
	Link       Kind = "in-toto-link" // in-toto link signed with OpenPGP
	BuildInfo  Kind = "buildinfo"    // Debian .buildinfo, clear-signed or not signed
	NarInfo    Kind = "narinfo"      // Nix binary cache
	DSSE       Kind = "dsse"         // in-toto Statement with SLSA provenance
)

// Kinds lists all kinds.
var Kinds = []Kind{GuixSigs, Rebuilderd, Link, BuildInfo, NarInfo, DSSE}

// MaxArtifacts bounds how many files one statement may name.
const MaxArtifacts = 16384

// Artifact is one file that a statement names.
type Artifact struct {
	Name   string // as written in the statement: never shortened or normalised
	SHA256 statement.SHA256
	SHA512 statement.SHA512 // zero when the format or the statement has none
	Size   *uint64          // nil when the format or the statement has none
}

// ReadDigests takes the digests from an in-toto digest set: sha256 must be there,
// sha512 may.
func (a *Artifact) ReadDigests(k Kind, field string, set map[string]string) error {
	if err := a.SHA256.UnmarshalText([]byte(set["sha256"])); err != nil {
		return Refuse(k, statement.CodeBadDigest, field+".sha256", "%v", err)
	}
	if text, ok := set["sha512"]; ok {
		if err := a.SHA512.UnmarshalText([]byte(text)); err != nil {
			return Refuse(k, statement.CodeBadDigest, field+".sha512", "%v", err)
		}
	}
	return nil
}

// Claim is what the place says in which a statement was found. Nobody signed it.
type Claim struct {
	Release string // guix.sigs: the first folder
	Name    string // guix.sigs: the builder's folder
	Stage   string // guix.sigs: the file name before ".SHA256SUMS"
}

// Var is one named value, such as an environment variable of the build.
type Var struct {
	Name, Value string
}

// Warning is something about a statement that people should see and that does
// not decide anything.
type Warning struct {
	Field string
	Msg   string
}

// Statement is what one foreign statement says, with a verdict on every
// signature that it carries.
type Statement struct {
	Kind      Kind
	ID        statement.SHA256 // of the bundle, see [Bundle.ID]
	Claim     Claim
	Subject   string // what was built, in the words of the statement; may be empty
	Artifacts []Artifact
	Verdicts  []Verdict // one for each signature, in the order of the statement

	// For display and comparison, never for counting.
	Inputs      []statement.Dependency
	Environment []Var
	Built       time.Time // when the build was made, as the statement says; zero: not said
	Warnings    []Warning
}

// Accept says which verdicts besides [Good] stand for the key's holder.
type Accept struct {
	ExpiredSince bool // the key expired after the signature was made
	RevokedSince bool // the key was retired or superseded after the signature was made
}

// Accepted returns the pinned keys, in their text form and each once, whose
// signatures are accepted. Two signatures by one key are one.
func (s *Statement) Accepted(a Accept) []string {
	var keys []string
	for _, v := range s.Verdicts {
		if v.Counts(a) && !slices.Contains(keys, v.Key) {
			keys = append(keys, v.Key)
		}
	}
	return keys
}

// SignedAt returns the time that the first accepted signature claims for
// itself; zero when the format carries none.
func (s *Statement) SignedAt(a Accept) time.Time {
	for _, v := range s.Verdicts {
		if v.Counts(a) {
			return v.Created
		}
	}
	return time.Time{}
}

// Warn adds a warning.
func (s *Statement) Warn(field, msg string) {
	s.Warnings = append(s.Warnings, Warning{field, msg})
}

// CheckArtifacts refuses what no kind may contain, no artifacts and a name
// twice, and adds a warning for names that only look alike.
func (s *Statement) CheckArtifacts(field string) error {
	switch {
	case len(s.Artifacts) == 0:
		return Refuse(s.Kind, CodeBadField, field, "names no artifact")
	case len(s.Artifacts) > MaxArtifacts:
		return Refuse(s.Kind, statement.CodeTooLarge, field, "%d artifacts, at most %d", len(s.Artifacts), MaxArtifacts)
	}
	seen := make(map[string]bool, len(s.Artifacts))
	names := make([]string, len(s.Artifacts))
	for i := range s.Artifacts {
		name := s.Artifacts[i].Name
		if names[i] = name; seen[name] {
			// Even with one digest: whoever reads the first line and whoever reads
			// the last must not come to different files.
			return Refuse(s.Kind, CodeDuplicate, field, "%q is listed twice", Clip(name))
		}
		seen[name] = true
	}
	for _, group := range LookAlikes(names) {
		s.Warn(field, "names that differ in letter case or Unicode form only: "+quoteAll(group))
	}
	return nil
}
