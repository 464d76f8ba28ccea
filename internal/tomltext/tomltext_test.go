package tomltext_test

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"quorate/internal/tomltext"
)

// FuzzQuote: what is written reads back as what it was.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "/a\\b/\"quoted\"\t\n\x00\x7f/ü\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got struct{ S string }
		if err := toml.Unmarshal([]byte("s = "+tomltext.Quote(s)+"\n"), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		// What is no UTF-8 becomes the replacement character, one or several.
		without := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\uFFFD", "") }
		if without(got.S) != without(s) || strings.ToValidUTF8(s, "") == s && got.S != s {
			t.Errorf("%q became %q", s, got.S)
		}
	})
}
