package evidence_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"quorate/quorum/evidence"
)

// Judgements carry clipped text, and they are stored as JSON, which has no half of a
// character.
func TestClipLeavesWholeCharacters(t *testing.T) {
	for _, s := range []string{strings.Repeat("k", 127) + "é", strings.Repeat("k", 126) + "€€", "\xff", strings.Repeat("\xff", 200)} {
		if c := evidence.Clip(s); !utf8.ValidString(c) || len(c) > 128+len("...")+len("\uFFFD") {
			t.Errorf("%q became %q", s, c)
		}
	}
}
