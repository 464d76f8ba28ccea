// Package hint takes the hint out of an error's text: packages write it as
// "what is wrong (hint: what to do)", and commands show it on a line of its own.
package hint

import "strings"

// Split returns the text without its last hint, and the hint; empty if there is none.
func Split(text string) (rest, hint string) {
	const mark = " (hint: "
	i := strings.LastIndex(text, mark)
	if i < 0 {
		return text, ""
	}
	hint, after, ok := strings.Cut(text[i+len(mark):], ")")
	if !ok {
		return text, ""
	}
	return text[:i] + after, hint
}
