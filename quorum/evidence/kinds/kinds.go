// Package kinds reads a bundle of any kind with the package that is for it.
package kinds

import (
	"bytes"
	"strings"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/buildinfo"
	"quorate/quorum/evidence/guixsigs"
	"quorate/quorum/evidence/link"
	"quorate/quorum/evidence/narinfo"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/evidence/rebuilderd"
	"quorate/quorum/evidence/slsa"
)

// Keys are the pinned keys of both sorts.
type Keys struct {
	OpenPGP *openpgp.Ring
	Plain   []evidence.Key
}

// Read reads a bundle and judges its signatures as of the time.
func Read(b evidence.Bundle, keys Keys, at time.Time) (*evidence.Statement, error) {
	switch b.Kind {
	case evidence.GuixSigs:
		return guixsigs.Read(b, keys.OpenPGP, at)
	case evidence.Rebuilderd:
		return rebuilderd.Read(b, keys.Plain, at)
	case evidence.Link:
		return link.Read(b, keys.OpenPGP, at)
	case evidence.BuildInfo:
		return buildinfo.Read(b, keys.OpenPGP, at)
	case evidence.NarInfo:
		return narinfo.Read(b, keys.Plain, at)
	case evidence.DSSE:
		return slsa.Read(b, keys.Plain, at)
	}
	return nil, evidence.Refuse("", evidence.CodeWrongKind, "kind", "%.64q is not known", string(b.Kind))
}

// Detect guesses the kind of a file from its name and its bytes, for reading a
// folder. The guess decides nothing: the reader of the kind refuses what is not
// of it. Signatures, keys and everything unknown give false.
func Detect(name string, body []byte) (evidence.Kind, bool) {
	switch {
	case strings.HasSuffix(name, guixsigs.Suffix):
		return evidence.GuixSigs, true
	case strings.HasSuffix(name, ".buildinfo"):
		return evidence.BuildInfo, true
	case strings.HasSuffix(name, ".narinfo"):
		return evidence.NarInfo, true
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 || body[0] != '{' {
		return "", false
	}
	has := func(member string) bool { return bytes.Contains(body, []byte(`"`+member+`"`)) }
	switch {
	case has("dsseEnvelope"), has("payloadType"):
		return evidence.DSSE, true
	case !strings.HasSuffix(name, ".link") && (!has("signed") || !has("products")):
		return "", false
	case has("other_headers"):
		return evidence.Link, true
	}
	return evidence.Rebuilderd, true
}
