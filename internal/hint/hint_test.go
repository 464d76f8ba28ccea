package hint_test

import (
	"testing"

	"quorate/internal/hint"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][2]string{
		"no file":                              {"no file", ""},
		"no file (hint: make it)":              {"no file", "make it"},
		"no file (hint: make it): load":        {"no file: load", "make it"},
		"a (hint: one)\nb (hint: two)":         {"a (hint: one)\nb", "two"},
		"cut short (hint: it never ends":       {"cut short (hint: it never ends", ""},
		"no file (is it there?) (hint: look)":  {"no file (is it there?)", "look"},
		"the text (hint:without a space) ends": {"the text (hint:without a space) ends", ""},
	} {
		if rest, got := hint.Split(text); rest != want[0] || got != want[1] {
			t.Errorf("%q: %q, %q", text, rest, got)
		}
	}
}
