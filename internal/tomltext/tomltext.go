// Package tomltext writes the parts of TOML files that programs make for people to
// edit. Reading is go-toml's.
package tomltext

import (
	"fmt"
	"strings"
)

// Quote writes a basic string (TOML v1.0.0, "String"). Go's own quoting has escapes
// that TOML does not know.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
