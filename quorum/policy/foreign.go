package policy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"quorate/quorum/statement"
)

// maxFiledAs bounds the names of one builder.
const maxFiledAs = 64

const prefixOpenPGP = "openpgp:"

// String returns the text form of the key, as it stands in the policy.
func (k Key) String() string {
	if k.OpenPGP != "" {
		return prefixOpenPGP + k.OpenPGP
	}
	return k.Public.String()
}

func parseKey(k fileKey) (Key, error) {
	key := Key{NotBefore: k.NotBefore, NotAfter: k.NotAfter, Revoked: k.Revoked}
	var err error
	if text, ok := strings.CutPrefix(k.Key, prefixOpenPGP); ok {
		key.OpenPGP, err = parseFingerprint(text)
	} else {
		key.Public, err = statement.ParsePublicKey(k.Key)
	}
	return key, err
}

// parseFingerprint accepts the whole fingerprint of a version 4 key. A key id is
// refused: it is so short that keys with a wanted one have been made.
func parseFingerprint(text string) (string, error) {
	_, err := hex.DecodeString(text)
	switch n := len(text); {
	case err != nil:
		return "", errors.New("openpgp: is not hex; write openpgp: and the 40 digits of the primary key's fingerprint")
	case n == 8 || n == 16:
		return "", fmt.Errorf("openpgp: %s is a key id, which is not unique; give all 40 digits of the primary key's fingerprint", strings.ToUpper(text))
	case n != 40:
		return "", fmt.Errorf("openpgp: has %d hex digits, want the 40 of the primary key's fingerprint", n)
	}
	return strings.ToUpper(text), nil
}

// foreign reads what concerns foreign statements only.
func (l *loader) foreign(b *Builder, f fileBuilder) {
	b.ExpiredSince = f.ExpiredSince
	if b.ExpiredSince == "" {
		b.ExpiredSince = ExpiredAccept
	}
	if b.ExpiredSince != ExpiredAccept && b.ExpiredSince != ExpiredReject {
		l.bad("builder %q: expired_since %q is neither \"accept\" nor \"reject\"", b.Name, f.ExpiredSince)
	}
	if len(f.FiledAs) > maxFiledAs {
		l.bad("builder %q: filed_as has %d names, at most %d", b.Name, len(f.FiledAs), maxFiledAs)
		return
	}
	l.p.filed[b.Name] = b
	for _, name := range f.FiledAs {
		l.filedAs(b, name)
	}
}

// filedAs takes another name. It may differ from the builder's own in case: that
// is what it is for. What two builders could both be meant by is refused.
func (l *loader) filedAs(b *Builder, name string) {
	if !ValidFiledAs(name) {
		l.bad("builder %q: filed_as: %q is not the name of a folder", b.Name, name)
		return
	}
	key := "builder " + strings.ToLower(name)
	if was, taken := l.names[key]; taken && was != fmt.Sprintf("builder %q", b.Name) {
		l.bad("builder %q: filed_as: the name %q is taken by %s", b.Name, name, was)
		return
	}
	if _, twice := l.p.filed[name]; twice {
		l.bad("builder %q: filed_as: %q stands twice", b.Name, name)
		return
	}
	l.names[key] = fmt.Sprintf("builder %q", b.Name)
	l.p.filed[name] = b
	b.FiledAs = append(b.FiledAs, name)
}

// ValidFiledAs reports whether a builder may file under a name. It is wider than that of a builder,
// because others chose it.
func ValidFiledAs(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 255 {
		return false
	}
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == '/' || c == '\\' {
			return false
		}
	}
	return true
}
