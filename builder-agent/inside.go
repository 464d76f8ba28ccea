package builderagent

import (
	"context"
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

// Hash hashes files like [filehash.Files] and adds to each that is an archive or an
// ELF file the list of what is in it. Without a list an artifact is as good as
// with one; problems say why there is none.
func Hash(ctx context.Context, paths []string, progress filehash.Progress, manifests bool, texts ...string) (artifacts []statement.Artifact, problems []Problem, err error) {
	if !manifests {
		artifacts, err = filehash.Files(ctx, paths, progress, texts...)
		return artifacts, nil, err
	}
	listers := make([]*listing.Lister, len(paths))
	for i := range listers {
		listers[i] = listing.New(listing.Limits{List: manifestBytes})
	}
	artifacts, err = filehash.Inspect(ctx, paths, progress, func(i int) filehash.Inspector { return listers[i] }, texts...)
	if err != nil {
		return nil, nil, err
	}
	found := make([]*manifest.Manifest, len(listers))
	for i, l := range listers {
		if found[i] = l.Manifest(); found[i] != nil && found[i].Problem != "" {
			problems = append(problems, Problem{artifacts[i].Name, found[i].Problem})
		}
	}
	return artifacts, problems, attach(artifacts, found, manifestBytes)
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
