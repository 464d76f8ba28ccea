package evidence

import (
	"fmt"
	"strconv"
	"strings"

	"quorate/quorum/statement"
)

// Codes that are not among those of [statement.Error].
const (
	CodeBadField  = statement.CodeBadField
	CodeWrongKind = statement.Code("wrong-kind")   // the bytes are another format's
	CodeDuplicate = statement.Code("duplicate")    // a name or field stands twice
	CodeExpired   = statement.Code("expired")      // the document limits its own life
	CodeBadKey    = statement.Code("bad-key")      // a pinned key cannot be used
	CodeArmor     = statement.Code("bad-armor")    // not one OpenPGP block of the wanted sort
	CodeMissing   = statement.Code("missing-part") // a file of the bundle is not there
)

// Error says which field of a foreign statement, or of a key, is wrong and how.
type Error struct {
	Kind  Kind // empty for a key
	Code  statement.Code
	Field string // empty for the whole
	Msg   string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("evidence")
	for _, part := range []string{string(e.Kind), e.Field} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	fmt.Fprintf(&b, ": %s (%s)", e.Msg, e.Code)
	return b.String()
}

// Refuse makes an [Error].
func Refuse(k Kind, c statement.Code, field, format string, args ...any) error {
	return &Error{Kind: k, Code: c, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// Clip keeps a hostile string from filling a log line. It leaves no half of a
// character: JSON cannot carry one, and judgements are stored as JSON.
func Clip(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.QuoteToASCII(Clip(n))
	}
	return strings.Join(quoted, ", ")
}
