package tree

import (
	"cmp"
	"io/fs"
	"slices"
)

// sortEntries orders by name, a folder as if its name ended in a slash, so that
// paths come in the order of their bytes.
func sortEntries(entries []fs.DirEntry) {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}
