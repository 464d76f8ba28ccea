// Package manifest is the list of what is inside an artifact, as a builder adds
// it to its statement: the members of an archive or the sections of an ELF file.
//
// Guarantees: a list that [Parse] returns is bounded, and its texts are one line
// of valid UTF-8 without control characters. Not guaranteed: that it is true.
// Nobody but the builder saw what it was made from; it explains a difference and
// is never a vote. Member names are names only and must never become paths: they
// may be absolute or lead upwards.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"quorate/quorum/statement"
)

// Version is the only one there is.
const Version = 1

// Limits of what is carried.
const (
	MaxBytes   = 256 << 10 // of one encoded list, and of all in one statement
	MaxName    = 1024      // bytes of a member's name or of the target of a link
	maxWord    = 64        // bytes of format, type and mode
	maxOwner   = 160
	maxProblem = 512
)

// Types of members that are not a plain file, whose type is empty.
const (
	Directory = "directory"
	Symlink   = "symlink"
	Hardlink  = "hardlink"
	Archive   = "archive" // its members are listed in its place
	Special   = "special" // device, pipe or anything else
)

// Manifest is what is inside one artifact.
type Manifest struct {
	Version int    `json:"version"`
	Format  string `json:"format,omitzero"` // such as "tar+zstd", "deb", "elf"
	Members int    `json:"members"`         // how many there are, listed or not

	// SHA256 is over the JSON of every member, listed or not, each followed by a
	// line feed: two lists that are cut can still be told apart.
	SHA256    statement.SHA256 `json:"sha256,omitzero"`
	Truncated bool             `json:"truncated,omitzero"` // only the first members are listed
	List      []Member         `json:"list,omitempty"`     // in the order of the artifact

	// Problem says why there is no list.
	Problem string `json:"problem,omitzero"`
}

// Member is one file of an archive, or one section of an ELF file.
type Member struct {
	Name   string           `json:"name"`
	Type   string           `json:"type,omitzero"` // empty: a plain file or section
	Size   uint64           `json:"size,omitzero"`
	SHA256 statement.SHA256 `json:"sha256,omitzero"` // of the content; zero: it has none
	Mode   string           `json:"mode,omitzero"`   // octal, or the flags of a section
	Owner  string           `json:"owner,omitzero"`  // uid:gid, and the names where the archive has them
	MTime  string           `json:"mtime,omitzero"`  // RFC 3339 in UTC
	Link   string           `json:"link,omitzero"`   // target of a link
}

// Text makes one line of what an archive calls a member: bytes that are not
// printable UTF-8 are written as escapes, and what is too long keeps its beginning
// and a part of its digest, so that two long names stay two.
func Text(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		q := strconv.QuoteToASCII(s)
		s = q[1 : len(q)-1]
	}
	if len(s) <= MaxName {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:MaxName-32], "") + "..." + hex.EncodeToString(sum[:8])
}

// Builder makes a manifest member by member, in memory that does not grow with
// their number. Its zero value is not usable, see [NewBuilder].
type Builder struct {
	m     Manifest
	sum   hash.Hash
	left  int
	sizes []int // of the encoded members in the list
}

// envelopeBytes is room for everything but the list.
const envelopeBytes = 256

// NewBuilder returns one whose list takes at most limit bytes when it is encoded.
func NewBuilder(limit int) *Builder {
	return &Builder{m: Manifest{Version: Version}, sum: sha256.New(), left: min(limit, MaxBytes) - envelopeBytes}
}

// Add puts a member at the end. Its texts must have been through [Text].
func (b *Builder) Add(m Member) error {
	data, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode member %q: %w", m.Name, err)
	}
	b.m.Members++
	b.sum.Write(append(data, '\n'))
	if b.left -= len(data) + 1; b.left < 0 {
		b.m.Truncated, b.left = true, 0
		return nil
	}
	if !b.m.Truncated {
		b.m.List, b.sizes = append(b.m.List, m), append(b.sizes, len(data)+1)
	}
	return nil
}

// Members is how many were added.
func (b *Builder) Members() int { return b.m.Members }

// Manifest returns the result.
func (b *Builder) Manifest(format string) *Manifest {
	b.m.Format = format
	b.sum.Sum(b.m.SHA256[:0])
	return &b.m
}

// Failed is a manifest that says why there is none.
func Failed(format, problem string) *Manifest {
	text := Text(problem)
	return &Manifest{Version: Version, Format: format, Problem: strings.ToValidUTF8(text[:min(len(text), maxProblem)], "")}
}

// Encode writes the manifest.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return data, nil
}

// Cut encodes as many of the first members as fit into limit bytes, at worst none.
func (m *Manifest) Cut(limit int) ([]byte, error) {
	data, err := m.Encode()
	if err != nil || len(data) <= limit {
		return data, err
	}
	b, cut := NewBuilder(limit), *m
	for _, member := range m.List {
		if err := b.Add(member); err != nil {
			return nil, err
		}
	}
	cut.List, cut.Truncated = b.m.List, true
	return cut.Encode()
}

// Parse reads a manifest from a statement.
func Parse(data []byte) (*Manifest, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("manifest: %d bytes, at most %d", len(data), MaxBytes)
	}
	m := new(Manifest)
	// What a later version adds is passed over.
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.Version != Version {
		return nil, fmt.Errorf("manifest: version %d, want %d", m.Version, Version)
	}
	if m.Members < len(m.List) || !m.Truncated && m.Members != len(m.List) {
		return nil, fmt.Errorf("manifest: members is %d, but %d are listed", m.Members, len(m.List))
	}
	if !line(m.Format, maxWord) || !line(m.Problem, maxProblem) {
		return nil, errors.New("manifest: format or problem is too long or not printable")
	}
	for i := range m.List {
		if field := m.List[i].bad(); field != "" {
			return nil, fmt.Errorf("manifest: list[%d].%s is too long or not printable", i, field)
		}
	}
	return m, nil
}

func (m *Member) bad() string {
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"name", m.Name, MaxName}, {"type", m.Type, maxWord}, {"mode", m.Mode, maxWord},
		{"owner", m.Owner, maxOwner}, {"mtime", m.MTime, maxWord}, {"link", m.Link, MaxName},
	} {
		if !line(f.value, f.limit) {
			return f.name
		}
	}
	return ""
}

func line(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
