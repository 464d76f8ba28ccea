package evidence

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName bounds an artifact's name, in bytes.
const MaxName = 1024

var (
	errNameLength  = errors.New("is empty or too long")
	errNameUTF8    = errors.New("is not UTF-8")
	errNameControl = errors.New("has a control or formatting character")
	errNameFolder  = errors.New("leaves its folder, or has an empty part")
)

// CheckName refuses names that could break a line, a terminal or a person's
// reading: control characters, and the invisible ones that reorder text.
func CheckName(s string) error {
	if s == "" || len(s) > MaxName {
		return errNameLength
	}
	return CheckText(s)
}

// CheckText refuses the same characters in text of any length.
func CheckText(s string) error {
	if !utf8.ValidString(s) {
		return errNameUTF8
	}
	for _, r := range s {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return errNameControl
		}
	}
	return nil
}

// CheckPath refuses what [CheckName] refuses, and everything that is not a
// relative path with plain parts: "/a", "a//b", "a/../b", "./a".
func CheckPath(s string) error {
	if err := CheckName(s); err != nil {
		return err
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return errNameFolder
		}
	}
	if strings.Contains(s, `\`) {
		return errNameFolder // a separator on other systems
	}
	return nil
}

// LookAlikes returns the groups of different names that are the same after
// canonical decomposition and simple case folding (Unicode, "Canonical
// Caseless Matching", D145, without the special cases of full folding). Names
// are compared byte for byte everywhere else; this is what people are told.
func LookAlikes(names []string) [][]string {
	byForm := make(map[string][]string, len(names))
	for _, n := range names {
		key := skeleton(n)
		if !slices.Contains(byForm[key], n) {
			byForm[key] = append(byForm[key], n)
		}
	}
	var groups [][]string
	for _, n := range names {
		key := skeleton(n)
		if g := byForm[key]; len(g) > 1 {
			groups = append(groups, g)
		}
		delete(byForm, key)
	}
	return groups
}

// skeleton decomposes and folds.
func skeleton(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	var out []rune
	for _, r := range s {
		for _, d := range decompose(r) {
			out = append(out, fold(d))
		}
	}
	sortMarks(out)
	return string(out)
}

// fold returns one representative of the letters that differ in case only.
func fold(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return unicode.ToLower(least)
}

// sortMarks puts runs of combining marks into one order. The order is by code
// point and not by combining class: it serves comparison only.
func sortMarks(rs []rune) {
	for i := 0; i < len(rs); {
		j := i
		for j < len(rs) && unicode.Is(unicode.Mn, rs[j]) {
			j++
		}
		slices.Sort(rs[i:j])
		i = max(j, i+1)
	}
}

// decompose returns the full canonical decomposition of a character.
func decompose(r rune) []rune {
	const sBase, lBase, vBase, tBase, vCount, tCount, sCount = 0xac00, 0x1100, 0x1161, 0x11a7, 21, 28, 11172
	if s := r - sBase; s >= 0 && s < sCount { // Hangul, Unicode section 3.12
		d := []rune{lBase + s/(vCount*tCount), vBase + s%(vCount*tCount)/tCount}
		if t := s % tCount; t > 0 {
			d = append(d, tBase+t)
		}
		return d
	}
	if d, ok := decompositions()[r]; ok {
		return d
	}
	return []rune{r}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
