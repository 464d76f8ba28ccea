// Package buildinfo reads Debian .buildinfo files (deb-buildinfo(5), format 1.0),
// clear-signed or not.
//
// Guarantees: when the file is signed, only the text that the signature covers
// is read, and text outside of it is refused. The three lists of checksums must
// name the same files with the same sizes. Not guaranteed: a vote. Most archives
// publish these files without signatures or with keys that are not at hand; then
// there is no accepted signature, and what the file says is only shown. The
// file's own name is not looked at: it may contradict the fields.
package buildinfo

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 4 << 20

const kind = evidence.BuildInfo

// Read reads a file and judges its signatures as of the time. A file without a
// signature has no verdicts.
func Read(b evidence.Bundle, keys *openpgp.Ring, at time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	text := b.Body
	if openpgp.IsClearSigned(b.Body) {
		if text, s.Verdicts, err = keys.JudgeClearSigned(b.Body, at); err != nil {
			return nil, err
		}
	} else {
		s.Warn("signature", "the file is not signed")
	}
	p, err := parse(text)
	if err != nil {
		return nil, err
	}
	if err := p.fill(s); err != nil {
		return nil, err
	}
	return s, nil
}

func (p *paragraph) fill(s *evidence.Statement) error {
	for _, name := range []string{"Format", "Source", "Architecture", "Version", "Checksums-Sha256"} {
		if p.get(name) == "" {
			return evidence.Refuse(kind, missingCode(name), name, "is missing")
		}
	}
	if major, _, _ := strings.Cut(p.get("Format"), "."); major != "1" {
		return evidence.Refuse(kind, evidence.CodeWrongKind, "Format", "%q, want 1.x", evidence.Clip(p.get("Format")))
	}
	s.Subject = p.get("Source") + " " + p.get("Version") + " " + p.get("Architecture")
	if date := p.get("Build-Date"); date != "" {
		t, err := time.Parse(time.RFC1123Z, date)
		if err != nil {
			return evidence.Refuse(kind, evidence.CodeBadField, "Build-Date", "is not an RFC 5322 date")
		}
		s.Built = t.UTC()
	}
	if err := p.checksums(s); err != nil {
		return err
	}
	if err := p.depends(s); err != nil {
		return err
	}
	return p.environment(s)
}

// missingCode: without Format the file is something else.
func missingCode(field string) statement.Code {
	if field == "Format" {
		return evidence.CodeWrongKind
	}
	return evidence.CodeBadField
}

// checksums reads Checksums-Sha256, and holds the weaker lists against it.
func (p *paragraph) checksums(s *evidence.Statement) error {
	entries, err := p.list("Checksums-Sha256", 32)
	if err != nil {
		return err
	}
	for _, e := range entries {
		s.Artifacts = append(s.Artifacts, evidence.Artifact{Name: e.name, SHA256: statement.SHA256(e.digest), Size: &e.size})
	}
	if err := s.CheckArtifacts("Checksums-Sha256"); err != nil {
		return err
	}
	for i, name := range []string{"Checksums-Md5", "Checksums-Sha1"} {
		if p.get(name) == "" {
			continue
		}
		weak, err := p.list(name, 16+4*i)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(weak, entries, func(a, b entry) bool { return a.name == b.name && a.size == b.size }) {
			return evidence.Refuse(kind, evidence.CodeBadField, name, "names other files or sizes than Checksums-Sha256")
		}
	}
	return nil
}

// entry is one line of a list of checksums.
type entry struct {
	digest []byte
	size   uint64
	name   string
}

func (p *paragraph) list(field string, digestSize int) ([]entry, error) {
	var entries []entry
	for i, line := range p.lines(field) {
		at := field + " line " + strconv.Itoa(i+1)
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, at, "is not digest, size and name")
		}
		digest, err := hex.DecodeString(parts[0])
		if err != nil || len(digest) != digestSize || strings.ToLower(parts[0]) != parts[0] {
			return nil, evidence.Refuse(kind, statement.CodeBadDigest, at, "is not %d lower-case hex digits", 2*digestSize)
		}
		size, err := strconv.ParseUint(parts[1], 10, 63)
		if err != nil {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, at, "the size is not a number")
		}
		if err := evidence.CheckPath(parts[2]); err != nil || strings.Contains(parts[2], "/") {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, at, "the name is not that of a file")
		}
		entries = append(entries, entry{digest, size, parts[2]})
	}
	return entries, nil
}

// depends reads Installed-Build-Depends: "name (= version)", comma separated.
func (p *paragraph) depends(s *evidence.Statement) error {
	const field = "Installed-Build-Depends"
	text := strings.TrimSuffix(strings.TrimSpace(p.get(field)), ",")
	if text == "" {
		return nil
	}
	for item := range strings.SplitSeq(text, ",") {
		name, version, ok := strings.Cut(strings.TrimSpace(item), " (= ")
		version, closed := strings.CutSuffix(version, ")")
		if !ok || !closed || evidence.CheckName(name) != nil || evidence.CheckName(version) != nil || strings.ContainsAny(name+version, " ()") {
			return evidence.Refuse(kind, evidence.CodeBadField, field, "%q is not name (= version)", evidence.Clip(item))
		}
		s.Inputs = append(s.Inputs, statement.Dependency{Name: name, Annotations: map[string]string{"version": version}})
	}
	return nil
}

// environment reads the Environment lines and keeps the fields that tell one
// build machine from another beside them.
func (p *paragraph) environment(s *evidence.Statement) error {
	for i, line := range p.lines("Environment") {
		name, value, ok := strings.Cut(line, "=")
		quoted := len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"'
		if !ok || name == "" || !quoted {
			return evidence.Refuse(kind, evidence.CodeBadField, "Environment line "+strconv.Itoa(i+1), "is not NAME=\"value\"")
		}
		s.Environment = append(s.Environment, evidence.Var{Name: name, Value: unescape(value[1 : len(value)-1])})
	}
	for _, name := range []string{"Build-Origin", "Build-Architecture", "Build-Path", "Build-Tainted-By", "Build-Kernel-Version", "Binary-Only-Changes"} {
		if value := strings.Join(p.lines(name), "\n"); value != "" {
			s.Environment = append(s.Environment, evidence.Var{Name: name, Value: value})
		}
	}
	return nil
}

// unescape undoes the backslashes before quotes and backslashes.
func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s)
}

// paragraph is the one deb822 paragraph of the file.
type paragraph struct {
	fields map[string][]string // folded name -> lines of the value
}

const maxFields = 256

// get returns the value with its lines joined by spaces.
func (p *paragraph) get(name string) string { return strings.Join(p.lines(name), " ") }

// lines returns the lines of the value that are not empty.
func (p *paragraph) lines(name string) []string { return p.fields[strings.ToLower(name)] }

// parse reads exactly one paragraph (deb822(5)). Comments and a second
// paragraph are refused: a .buildinfo has neither, and readers differ on them.
func parse(text []byte) (*paragraph, error) {
	p := &paragraph{fields: map[string][]string{}}
	last := ""
	text = bytes.Trim(text, "\n")
	for i, raw := range bytes.Split(text, []byte("\n")) {
		line, at := strings.TrimRight(string(raw), " \t\r"), "line "+strconv.Itoa(i+1)
		switch {
		case line == "":
			return nil, evidence.Refuse(kind, evidence.CodeBadField, at, "is empty: only one paragraph is allowed")
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, evidence.Refuse(kind, evidence.CodeWrongKind, at, "continues no field")
			}
			p.fields[last] = append(p.fields[last], strings.TrimLeft(line, " \t"))
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || !validField(name) {
				return nil, evidence.Refuse(kind, evidence.CodeWrongKind, at, "is not \"Field: value\"")
			}
			last = strings.ToLower(name)
			if _, twice := p.fields[last]; twice || len(p.fields) >= maxFields {
				return nil, evidence.Refuse(kind, evidence.CodeDuplicate, evidence.Clip(name), "stands twice, or there are too many fields")
			}
			p.fields[last] = nil
			if value = strings.TrimSpace(value); value != "" {
				p.fields[last] = []string{value}
			}
		}
		if err := evidence.CheckText(strings.ReplaceAll(line, "\t", " ")); err != nil {
			return nil, evidence.Refuse(kind, evidence.CodeBadField, at, "%v", err)
		}
	}
	return p, nil
}

// validField reports whether s can name a field: printable ASCII without space
// and colon, not beginning with # or -.
func validField(s string) bool {
	if s == "" || s[0] == '#' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
