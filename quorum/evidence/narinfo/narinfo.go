// Package narinfo reads the .narinfo files of Nix binary caches.
//
// Guarantees: a signature is accepted only when it verifies with a pinned key
// over the fingerprint that is made from the file; the name before the colon of
// a Sig line is a hint. Signed are the store path, the hash and size of the NAR
// and the references, and nothing else: URL, FileHash, Compression and Deriver
// can be changed by whoever serves the file, and are only shown. The artifact is
// the NAR, named by the last part of the store path.
//
// Not guaranteed: that a cache built what it signed. A key that signs for
// substitution may have copied the file from elsewhere.
package narinfo

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// Limits.
const (
	MaxSize       = 256 << 10
	maxSignatures = 64
)

const kind = evidence.NarInfo

// info is the file, line by line.
type info struct {
	fields map[string]string
	sigs   []string
}

// shown are the fields that nobody signs.
var shown = []string{"URL", "Compression", "FileHash", "FileSize", "Deriver", "System", "CA"}

// Read reads a file and judges its Sig lines. The time is not used: neither the
// signatures nor their keys know one.
func Read(b evidence.Bundle, keys []evidence.Key, _ time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	in, err := parse(string(b.Body))
	if err != nil {
		return nil, err
	}
	fingerprint, err := in.fill(s)
	if err != nil {
		return nil, err
	}
	for i, text := range in.sigs {
		name, sig, err := splitNamed(text, ed25519.SignatureSize)
		if err != nil {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, "Sig line "+strconv.Itoa(i+1), "%v", err)
		}
		s.Verdicts = append(s.Verdicts, evidence.JudgeKeys(keys, []byte(fingerprint), sig, name))
	}
	return s, nil
}

// ParseKey reads a public key as Nix writes it, NAME:BASE64. The name is for
// display.
func ParseKey(text string) (name string, key evidence.Key, err error) {
	name, raw, err := splitNamed(strings.TrimSpace(text), ed25519.PublicKeySize)
	if err != nil {
		return "", key, evidence.Refuse(kind, evidence.CodeBadKey, "key", "%v", err)
	}
	pub, err := statement.NewPublicKey(ed25519.PublicKey(raw))
	if err != nil {
		return "", key, evidence.Refuse(kind, evidence.CodeBadKey, "key", "%v", err)
	}
	key, err = evidence.NewKey(pub)
	return name, key, err
}

// splitNamed reads NAME:BASE64 with size bytes.
func splitNamed(text string, size int) (name string, raw []byte, err error) {
	name, b64, ok := strings.Cut(text, ":")
	if !ok || evidence.CheckName(name) != nil {
		return "", nil, fmt.Errorf("is not NAME:BASE64")
	}
	raw, err = base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil || len(raw) != size {
		return "", nil, fmt.Errorf("does not hold %d bytes in base64", size)
	}
	return name, raw, nil
}

// parse reads "Key: value" lines.
func parse(text string) (info, error) {
	in := info{fields: map[string]string{}}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		at := "line " + strconv.Itoa(i+1)
		name, value, ok := strings.Cut(line, ":")
		if !ok || evidence.CheckText(line) != nil {
			return in, evidence.Refuse(kind, evidence.CodeWrongKind, at, "is not \"Key: value\"")
		}
		value = strings.TrimPrefix(value, " ")
		switch {
		case name == "Sig":
			if in.sigs = append(in.sigs, value); len(in.sigs) > maxSignatures {
				return in, evidence.Refuse(kind, statement.CodeTooLarge, "Sig", "more than %d lines", maxSignatures)
			}
		case name == "Signature":
			return in, evidence.Refuse(kind, evidence.CodeWrongKind, "Signature", "this is a Guix narinfo, which is not read")
		default:
			if _, twice := in.fields[name]; twice {
				return in, evidence.Refuse(kind, evidence.CodeDuplicate, at, "%.64q stands twice", name)
			}
			in.fields[name] = value
		}
	}
	if _, ok := in.fields["StorePath"]; !ok {
		return in, evidence.Refuse(kind, evidence.CodeWrongKind, "StorePath", "is missing")
	}
	return in, nil
}

// fill reads the fields and returns the fingerprint: what a signature covers
// (Nix, ValidPathInfo::fingerprint).
func (in info) fill(s *evidence.Statement) (fingerprint string, err error) {
	store, name := path.Split(in.fields["StorePath"])
	if !validStorePath(name) || len(store) < 2 || store[0] != '/' || path.Clean(store)+"/" != store {
		return "", evidence.Refuse(kind, evidence.CodeBadField, "StorePath", "is not STORE/HASH-NAME")
	}
	hash, err := ParseHash(in.fields["NarHash"])
	if err != nil {
		return "", evidence.Refuse(kind, statement.CodeBadDigest, "NarHash", "%v", err)
	}
	size, err := strconv.ParseUint(in.fields["NarSize"], 10, 63)
	if err != nil || size == 0 || strconv.FormatUint(size, 10) != in.fields["NarSize"] {
		return "", evidence.Refuse(kind, evidence.CodeBadField, "NarSize", "is not a number above 0")
	}
	refs, err := in.references()
	if err != nil {
		return "", err
	}
	full := make([]string, len(refs))
	for i, r := range refs {
		full[i] = store + r
		s.Inputs = append(s.Inputs, statement.Dependency{Name: r})
	}
	for _, f := range shown {
		if v, ok := in.fields[f]; ok {
			s.Environment = append(s.Environment, evidence.Var{Name: f, Value: v})
		}
	}
	s.Subject = name
	s.Artifacts = []evidence.Artifact{{Name: name, SHA256: hash, Size: &size}}
	return fmt.Sprintf("1;%s%s;sha256:%s;%d;%s", store, name, encodeBase32(hash[:]), size, strings.Join(full, ",")), nil
}

// references returns the references in the order that Nix signs them in: it
// keeps them as a sorted set.
func (in info) references() ([]string, error) {
	refs := strings.Fields(in.fields["References"])
	for _, r := range refs {
		if !validStorePath(r) {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, "References", "%.128q is not HASH-NAME", r)
		}
	}
	slices.Sort(refs)
	if len(slices.Compact(slices.Clone(refs))) != len(refs) {
		return nil, evidence.Refuse(kind, evidence.CodeDuplicate, "References", "names a path twice")
	}
	return refs, nil
}

// validStorePath checks HASH-NAME: 32 digits of nix-base32, a dash, and the
// characters that Nix allows in names.
func validStorePath(s string) bool {
	if len(s) < 34 || len(s) > 32+1+211 || s[32] != '-' {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case i < 32 && strings.IndexByte(base32Digits, c) < 0:
			return false
		case i > 32 && !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+-._?=", c) >= 0):
			return false
		}
	}
	return true
}
