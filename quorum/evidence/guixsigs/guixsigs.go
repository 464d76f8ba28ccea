// Package guixsigs reads what Bitcoin Core's builders and those who copied them
// publish: RELEASE/NAME/STAGE.SHA256SUMS with a detached OpenPGP signature
// beside it.
//
// Guarantees: the list is read in one way or refused. Names are kept as they
// are written, a folder before the file name included: whether
// "x86_64-w64-mingw32/a.zip" and "a.zip" are one file is for a policy to say.
//
// Not guaranteed: that a list belongs where it lies. Release, builder and stage
// stand in the path only and nobody signed them ([evidence.Claim]). A list
// counts for the builder whose pinned key signed it, and for no other: the
// caller must compare the accepted key with the one pinned for the name in the
// path, and not count the statement when they differ. Nor is a list complete: a
// builder that leaves out a file is silent on it.
package guixsigs

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

// MaxSize bounds a list, in bytes.
const MaxSize = 1 << 20

// Suffix ends the name of a list; with SignatureSuffix behind it, of its
// signature.
const (
	Suffix          = ".SHA256SUMS"
	SignatureSuffix = ".asc"
)

const kind = evidence.GuixSigs

// Read reads a list and judges its signatures as of the time.
func Read(b evidence.Bundle, keys *openpgp.Ring, at time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	if s.Claim, err = ParsePath(b.Path); err != nil {
		return nil, err
	}
	s.Subject = s.Claim.Release
	if err := readList(s, b.Body); err != nil {
		return nil, err
	}
	if s.Verdicts, err = keys.JudgeDetached(b.Body, b.Signature, at); err != nil {
		return nil, err
	}
	return s, nil
}

// ParsePath takes the last three parts of the path as release, builder and
// stage.
func ParsePath(path string) (evidence.Claim, error) {
	var c evidence.Claim
	parts := strings.Split(path, "/")
	if evidence.CheckPath(path) != nil || len(parts) != 3 {
		return c, evidence.Refuse(kind, evidence.CodeBadField, "path", "%q is not RELEASE/NAME/STAGE%s", path, Suffix)
	}
	stage, ok := strings.CutSuffix(parts[2], Suffix)
	if !ok || stage == "" {
		return c, evidence.Refuse(kind, evidence.CodeBadField, "path", "%q does not end in STAGE%s", path, Suffix)
	}
	return evidence.Claim{Release: parts[0], Name: parts[1], Stage: stage}, nil
}

// readList reads the lines. The last may lack its end, and carriage returns
// before a line's end are not part of the name: the lists of 22.0rc1 have two
// of them on every line.
func readList(s *evidence.Statement, list []byte) error {
	list = bytes.TrimSuffix(list, []byte("\n"))
	returns := 0
	for i, line := range bytes.Split(list, []byte("\n")) {
		trimmed := bytes.TrimRight(line, "\r")
		returns += len(line) - len(trimmed)
		a, err := parseLine(string(trimmed), "line "+strconv.Itoa(i+1))
		if err != nil {
			return err
		}
		s.Artifacts = append(s.Artifacts, a)
	}
	if returns > 0 {
		s.Warn("lines", "end in carriage returns, which are not read as part of the names")
	}
	return s.CheckArtifacts("lines")
}

// parseLine reads "<64 hex digits><space><space or *><name>", the form of
// sha256sum. The form with a backslash before the digest, for names that need
// escapes, is refused with the names.
func parseLine(line, field string) (evidence.Artifact, error) {
	var a evidence.Artifact
	if len(line) < 67 || line[64] != ' ' || line[65] != ' ' && line[65] != '*' {
		return a, evidence.Refuse(kind, wrongOr(line), field, "is not a SHA-256 digest, two spaces and a name")
	}
	if err := a.SHA256.UnmarshalText([]byte(line[:64])); err != nil {
		return a, evidence.Refuse(kind, statement.CodeBadDigest, field+": digest", "%v", err)
	}
	a.Name = line[66:]
	if err := evidence.CheckPath(a.Name); err != nil {
		return a, evidence.Refuse(kind, evidence.CodeBadField, field+": name", "%v", err)
	}
	return a, nil
}

// wrongOr tells a list with a broken line from something that is no list.
func wrongOr(line string) statement.Code {
	if len(line) > 0 && strings.ContainsRune("0123456789abcdef", rune(line[0])) {
		return evidence.CodeBadField
	}
	return evidence.CodeWrongKind
}
