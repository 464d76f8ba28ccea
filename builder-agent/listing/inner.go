package listing

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	"quorate/quorum/statement"
)

// ErrNoPackage says that a file is none of the kinds of archives whose files are told
// of by [Lister.Inner].
var ErrNoPackage = errors.New("it is no tar, zip, deb or rpm")

// packages are those kinds, without how they are compressed.
var packages = []string{"tar", "zip", "deb", "rpm"}

// Inner returns, after Finish, the digests of the regular files in the archive, one for
// each that has content of its own: of a deb those in data.tar, of an rpm those in the
// payload. An archive that is a file in it is that file, and is not looked into. It is
// an error unless the archive was read to its end. It needs [Limits.Inner].
func (l *Lister) Inner() ([]statement.SHA256, error) { return l.inner, l.innerErr }

// setInner keeps what a reading gave that ended with err.
func (l *Lister) setInner(k *work, format string, err error) {
	kind, _, _ := strings.Cut(format, "+")
	switch {
	case !l.limits.Inner:
	case errors.Is(err, errUnknown) || !slices.Contains(packages, kind):
		l.innerErr = ErrNoPackage
	case err != nil:
		l.innerErr = err
	default:
		l.inner, l.innerErr = k.files, nil
	}
}

// file takes a member with its own content for a file in the package.
func (k *work) file(digest statement.SHA256) {
	if k.limits.Inner && k.depth == 0 && !k.control {
		k.files = append(k.files, digest)
	}
}

// links are the names of one file in a cpio archive. The content is with one of them,
// mostly the last; an empty file has none.
type links map[int64]bool // by inode: whether the content came

// seen takes note of a file with several names, and reports whether this entry has
// its content.
func (l links) seen(inode, size int64) bool {
	l[inode] = l[inode] || size > 0
	return size > 0
}

// empty reports whether there are files with several names that have no content.
func (l links) empty() bool {
	for _, came := range l {
		if !came {
			return true
		}
	}
	return false
}

// emptyFile is the digest of a file without content.
var emptyFile = statement.SHA256(sha256.Sum256(nil))
