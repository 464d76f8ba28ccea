package builderagent

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"quorate/builder-agent/filehash"
	"quorate/quorum/statement"
)

// ErrFiles says that the given files cannot be attested as they are, whatever
// is in them.
var ErrFiles = errors.New("cannot attest these files")

// CheckFiles finds what is wrong with a list of files before hours are spent on
// hashing them: one that is missing or not regular, a name that a statement
// cannot carry, two of the same name.
func CheckFiles(paths []string) error {
	if len(paths) == 0 {
		return fmt.Errorf("%w: no files given", ErrFiles)
	}
	if len(paths) > statement.MaxSubjects {
		return fmt.Errorf("%w: %d files, at most %d in one statement", ErrFiles, len(paths), statement.MaxSubjects)
	}
	seen := make(map[string]string, len(paths))
	for _, path := range paths {
		name := filepath.Base(path)
		if other, twice := seen[name]; twice {
			return fmt.Errorf("%w: %s and %s have the same name (hint: a vote is for a name without its directory)", ErrFiles, other, path)
		}
		seen[name] = path
		err := filehash.Check(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, filehash.ErrNotRegular) {
			return fmt.Errorf("%w: %w", ErrFiles, err)
		}
		if err != nil {
			return err
		}
		if !validFileName(name) {
			return fmt.Errorf("%w: %q: the name has control characters, is not UTF-8 or is longer than %d bytes", ErrFiles, path, statement.MaxName)
		}
	}
	return nil
}

// validFileName foresees what signing would refuse.
func validFileName(name string) bool {
	return utf8.ValidString(name) && len(name) <= statement.MaxName && !strings.ContainsFunc(name, unicode.IsControl)
}
