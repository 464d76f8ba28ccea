package builderagent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"quorate/builder-agent/filehash"
	"quorate/builder-agent/listing"
	"quorate/internal/manifest"
	"quorate/quorum/statement"
)

// manifestBytes is what the manifests of one statement may take together. A sign
// request carries a statement of every operator, and must not grow so large for
// them that it cannot be made: with this, some thirty-five fit.
const manifestBytes = 128 << 10

// Problem says why an artifact has no list of what is in it.
type Problem struct{ Name, Why string }

// Wanted is what is said of files beside their digests.
type Wanted struct {
	Manifests bool     // of archives and ELF files the list of what is in them
	Texts     []string // patterns of names: those that are texts, see [filehash.File]
	Inner     []string // patterns of names: packages, of which the digests of their files
}

// ErrInner says that a vote cannot have the digests of the files inside of a file. It
// is wrapped in an error that says why.
var ErrInner = errors.New("cannot say what files are inside")

// Hash hashes files like [filehash.Files] and says the rest in the same pass. Without a
// manifest an artifact is as good as with one; problems say why there is none. Without
// the digests of the files inside it is not what was asked for, as [ErrInner].
func Hash(ctx context.Context, paths []string, progress filehash.Progress, want Wanted) (artifacts []statement.Artifact, problems []Problem, err error) {
	listers := make([]*listing.Lister, len(paths))
	for i, path := range paths {
		limits := listing.Limits{List: manifestBytes, Inner: filehash.Matches(want.Inner, filepath.Base(path))}
		switch {
		case want.Manifests:
			listers[i] = listing.New(limits)
		case limits.Inner:
			limits.Depth = -1
			listers[i] = listing.New(limits)
		}
	}
	artifacts, err = filehash.Inspect(ctx, paths, progress, func(i int) filehash.Inspector {
		if listers[i] == nil {
			return nil
		}
		return listers[i]
	}, want.Texts...)
	if err != nil {
		return nil, nil, err
	}
	for i := range artifacts {
		if !filehash.Matches(want.Inner, artifacts[i].Name) {
			continue
		}
		if err := addInner(&artifacts[i], listers[i]); err != nil {
			return nil, nil, err
		}
	}
	if !want.Manifests {
		return artifacts, nil, nil
	}
	found := make([]*manifest.Manifest, len(listers))
	for i, l := range listers {
		if found[i] = l.Manifest(); found[i] != nil && found[i].Problem != "" {
			problems = append(problems, Problem{artifacts[i].Name, found[i].Problem})
		}
	}
	return artifacts, problems, attach(artifacts, found, manifestBytes)
}

func addInner(a *statement.Artifact, l *listing.Lister) error {
	digests, err := l.Inner()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", a.Name, ErrInner, err)
	}
	return AddInner(a, digests)
}

// AddInner has a vote say that these are the digests of the files inside of the
// artifact; an error that wraps [ErrInner] when there are none, or too many.
func AddInner(a *statement.Artifact, digests []statement.SHA256) error {
	set, err := statement.NewDigestSet(digests)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", a.Name, ErrInner, err)
	}
	// Statements list signables in the order of their names.
	a.Signables = append([]statement.Signable{set.Signable()}, a.Signables...)
	return nil
}

// attach puts the manifests into the artifacts. When all together are too large,
// the largest are cut, to the same size: a small one should not be lost for a
// large one.
func attach(artifacts []statement.Artifact, found []*manifest.Manifest, room int) error {
	var order []int
	encoded := make([][]byte, len(found))
	for i, m := range found {
		if m == nil {
			continue
		}
		data, err := m.Encode()
		if err != nil {
			return err
		}
		encoded[i], order = data, append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return len(encoded[a]) - len(encoded[b]) })
	for n, i := range order {
		share := room / (len(order) - n)
		if len(encoded[i]) > share {
			data, err := found[i].Cut(share)
			if err != nil {
				return err
			}
			encoded[i] = data
		}
		if len(encoded[i]) > share { // not even the head fits
			continue
		}
		artifacts[i].Manifest = encoded[i]
		room -= len(encoded[i])
	}
	return nil
}

// SignVote is [State.Sign], without the manifests when they make the statement too
// large: left says so. The vote is what counts.
func (s *State) SignVote(st statement.Statement) (signed *statement.Statement, left bool, err error) {
	signed, err = s.Sign(st)
	if !isRefused(err, statement.CodeTooLarge) || !slices.ContainsFunc(st.Artifacts, func(a statement.Artifact) bool { return a.Manifest != nil }) {
		return signed, false, err
	}
	st.Artifacts = slices.Clone(st.Artifacts)
	for i := range st.Artifacts {
		st.Artifacts[i].Manifest = nil
	}
	signed, err = s.Sign(st)
	return signed, true, err
}
