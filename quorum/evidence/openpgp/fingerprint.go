package openpgp

import (
	"encoding/hex"
	"fmt"
	"strings"

	"quorate/quorum/evidence"
)

// Fingerprint is the fingerprint of a version 4 key (RFC 9580 section 5.5.4.2).
type Fingerprint [20]byte

// uriScheme is the registered scheme of OpenPGP fingerprints as URIs.
const uriScheme = "openpgp4fpr:"

// ParseFingerprint reads 40 hex digits in either case, with single spaces as
// GnuPG prints them, or after "openpgp4fpr:". A key id is refused: it is short
// enough that keys with a wanted id have been made.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	text := strings.TrimPrefix(s, uriScheme)
	text = strings.TrimPrefix(strings.ReplaceAll(text, " ", ""), "0x")
	raw, err := hex.DecodeString(text)
	switch {
	case err != nil:
		return f, evidence.Refuse("", evidence.CodeBadKey, "fingerprint", "is not hex")
	case len(raw) == 4 || len(raw) == 8:
		return f, evidence.Refuse("", evidence.CodeBadKey, "fingerprint",
			"%s is a key id, which is not unique; give all 40 digits of the primary key's fingerprint", strings.ToUpper(text))
	case len(raw) != len(f):
		return f, evidence.Refuse("", evidence.CodeBadKey, "fingerprint", "has %d hex digits, want 40", len(text))
	}
	return Fingerprint(raw), nil
}

// String returns 40 upper-case hex digits.
func (f Fingerprint) String() string { return fmt.Sprintf("%X", f[:]) }

// URI returns the text form of a pinned key in an [evidence.Verdict].
func (f Fingerprint) URI() string { return uriScheme + f.String() }
