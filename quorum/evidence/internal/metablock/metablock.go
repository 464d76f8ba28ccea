// Package metablock reads the older in-toto file form: a JSON object with
// "signatures" and "signed", where a signature covers the OLPC canonical JSON of
// "signed". It reads what is signed, and leaves the signatures to others.
package metablock

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/strict"
	"quorate/quorum/statement"
)

// Limits.
const (
	MaxSignatures = 16
	maxDepth      = 32 // the canonical encoder recurses
)

// Block is a file taken apart.
type Block struct {
	Signatures []Signature    `json:"signatures"`
	Signed     jsontext.Value `json:"signed"`

	Canonical []byte `json:"-"` // what the signatures cover
}

// Signature is one entry of "signatures". The forms differ: plain keys have sig,
// OpenPGP has other_headers and signature.
type Signature struct {
	KeyID        string  `json:"keyid"`
	Sig          *string `json:"sig"`
	OtherHeaders *string `json:"other_headers"`
	Signature    *string `json:"signature"`
}

// link is the part of an in-toto link that is used.
type link struct {
	Type        string                       `json:"_type"`
	Name        string                       `json:"name"`
	Materials   map[string]map[string]string `json:"materials"`
	Products    map[string]map[string]string `json:"products"`
	Environment map[string]jsontext.Value    `json:"environment"`
}

// Parse takes a file apart and makes the canonical form of what is signed.
func Parse(k evidence.Kind, raw []byte) (Block, error) {
	var b Block
	if err := strict.Unmarshal(k, "body", raw, &b); err != nil {
		return b, err
	}
	if len(b.Signed) == 0 || b.Signed.Kind() != '{' {
		return b, evidence.Refuse(k, evidence.CodeWrongKind, "signed", "is missing: not an in-toto file")
	}
	if len(b.Signatures) > MaxSignatures {
		return b, evidence.Refuse(k, statement.CodeTooLarge, "signatures", "%d signatures, at most %d", len(b.Signatures), MaxSignatures)
	}
	if err := checkSyntax(k, b.Signed); err != nil {
		return b, err
	}
	var err error
	if b.Canonical, err = cjson.EncodeCanonical(json.RawMessage(b.Signed)); err != nil {
		return b, evidence.Refuse(k, evidence.CodeBadField, "signed", "has no canonical form: %v", err)
	}
	return b, nil
}

// checkSyntax refuses what the canonical encoder would recurse into too deeply.
// Everything else was checked when the whole was decoded.
func checkSyntax(k evidence.Kind, v jsontext.Value) error {
	depth, inString := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			if depth++; depth > maxDepth {
				return evidence.Refuse(k, evidence.CodeBadField, "signed", "is nested deeper than %d", maxDepth)
			}
		case !inString && (c == '}' || c == ']'):
			depth--
		}
	}
	return nil
}

// Type returns the _type of what is signed: "link" or "layout".
func (b Block) Type(k evidence.Kind) (string, error) {
	var t struct {
		Type string `json:"_type"`
	}
	err := strict.Unmarshal(k, "signed", b.Signed, &t)
	return t.Type, err
}

// Fill reads a link into the statement.
func (b Block) Fill(s *evidence.Statement) error {
	t, err := b.Type(s.Kind)
	if err != nil {
		return err
	}
	if t != "link" {
		return evidence.Refuse(s.Kind, evidence.CodeWrongKind, "signed._type", "%q, want \"link\"", evidence.Clip(t))
	}
	var l link
	if err := strict.Unmarshal(s.Kind, "signed", b.Signed, &l); err != nil {
		return err
	}
	s.Subject = l.Name
	if len(l.Name) > evidence.MaxName {
		return evidence.Refuse(s.Kind, statement.CodeTooLarge, "signed.name", "%d bytes, at most %d", len(l.Name), evidence.MaxName)
	}
	if err := fillProducts(s, l.Products); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Materials)) {
		s.Inputs = append(s.Inputs, statement.Dependency{Name: name, Digest: l.Materials[name]})
		if products := l.Products[name]; products != nil && maps.Equal(products, l.Materials[name]) {
			s.Warn("signed.materials."+strconv.Quote(evidence.Clip(name)), "is also the product: it does not show from what the file was built")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Environment)) {
		s.Environment = append(s.Environment, evidence.Var{Name: name, Value: string(l.Environment[name])})
	}
	return s.CheckArtifacts("signed.products")
}

func fillProducts(s *evidence.Statement, products map[string]map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(products)) {
		field := "signed.products." + strconv.Quote(evidence.Clip(name))
		if err := evidence.CheckName(name); err != nil {
			return evidence.Refuse(s.Kind, evidence.CodeBadField, field, "the name %v", err)
		}
		a := evidence.Artifact{Name: name}
		if err := a.ReadDigests(s.Kind, field, products[name]); err != nil {
			return err
		}
		s.Artifacts = append(s.Artifacts, a)
	}
	return nil
}

// Hex decodes a hex field of a signature, of at most max bytes.
func Hex(k evidence.Kind, field string, text *string, max int) ([]byte, error) {
	switch {
	case text == nil:
		return nil, evidence.Refuse(k, evidence.CodeWrongKind, field, "is missing")
	case len(*text) > 2*max:
		return nil, evidence.Refuse(k, statement.CodeTooLarge, field, "%d hex digits, at most %d", len(*text), 2*max)
	}
	b, err := hex.DecodeString(*text)
	if err != nil || len(b) == 0 {
		return nil, evidence.Refuse(k, evidence.CodeBadField, field, "is not hex")
	}
	return b, nil
}
