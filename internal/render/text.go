// Package render lays out verdicts and lists as plain text for a terminal.
//
// Guarantees: text that comes from others cannot move the cursor, reverse its
// direction, hide, or pass for another name that is spelt with other
// characters of no width; what is cut is cut visibly; colour never says what
// the text does not say. Not guaranteed: that two letters of different scripts
// which look alike can be told apart.
package render

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns a name as it is when it is plain, and otherwise in quotes with
// everything that is not visible by itself escaped. Marks that combine with the
// letter before them count as not visible: two spellings of one name would look
// the same.
func Text(s string) string {
	if s != "" && s == strings.TrimSpace(s) && !strings.ContainsFunc(s, needsQuotes) {
		return s
	}
	return `"` + escape(s, needsQuotes) + `"`
}

func needsQuotes(r rune) bool { return r == '"' || r == '\\' || Unprintable(r) }

// Unprintable reports whether a character does not show itself, or changes its
// neighbours.
func Unprintable(r rune) bool {
	return r == utf8.RuneError || !strconv.IsPrint(r) || unicode.Is(unicode.M, r)
}

// Message makes a text for people harmless, for example the message of an
// error: lines and tabs stay, what could do something to a terminal is escaped.
func Message(s string) string {
	return escape(s, func(r rune) bool { return r != '\n' && r != '\t' && Unprintable(r) })
}

func escape(s string, bad func(rune) bool) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0]), 16))
		case bad(r):
			q := strconv.QuoteRuneToASCII(r)
			if q = q[1 : len(q)-1]; r == '"' {
				q = `\"`
			}
			b.WriteString(q)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// wide are the ranges of characters that take two columns (Unicode Standard
// Annex 11, "Wide" and "Fullwidth"), the rare ones left out.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

// Width returns how many columns a text takes that went through [Text].
func Width(s string) (n int) {
	for _, r := range s {
		if n++; unicode.Is(wide, r) {
			n++
		}
	}
	return n
}

// pad fills up with spaces on the right.
func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-Width(s))) }

// fit cuts the middle out of a text that is too wide. Names of files differ at
// both ends more often than in the middle.
func fit(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	const gap = "..."
	keep := max(width-len(gap), 2)
	head := takeColumns(s, keep-keep/2)
	tail := reverse(takeColumns(reverse(s), keep/2))
	return head + gap + tail
}

func takeColumns(s string, width int) string {
	n := 0
	for i, r := range s {
		if n += Width(string(r)); n > width {
			return s[:i]
		}
	}
	return s
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

// Wrap breaks a text at spaces into lines of the width; the lines after the
// first begin with the indent. A word that is longer stays whole.
func Wrap(s string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(s) {
		switch w := Width(word); {
		case i == 0:
			column = w
		case column+1+w > width:
			b.WriteString("\n" + indent)
			column = len(indent) + w
		default:
			b.WriteByte(' ')
			column += 1 + w
		}
		b.WriteString(word)
	}
	return b.String()
}

// Table lays rows out in columns. The first row is the header.
func Table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += pad(cell, widths[i]) + "  "
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
