package coordinator

import (
	"net/http"
	"slices"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// digests512Of are the SHA-512 digests by which an artifact is found, bounded as
// those of SHA-256 are.
func digests512Of(v *quorum.Verdict) (list []statement.SHA512) {
	add := func(d statement.SHA512) {
		if len(list) < maxDigests && d != (statement.SHA512{}) && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	add(v.SHA512)
	for _, g := range v.Groups {
		add(g.SHA512)
	}
	other := func(m *quorum.Member) {
		if m.OtherSHA512 != nil {
			add(*m.OtherSHA512)
		}
	}
	for _, g := range v.Groups {
		for i := range g.Members {
			other(&g.Members[i])
		}
	}
	for i := range v.Late {
		other(&v.Late[i].Member)
	}
	return list
}

// placesOf finds artifacts by the digest in the path, whichever of the two it is, and
// notes it in the answer.
func (c *Coordinator) placesOf(r *http.Request, out *api.Artifacts) (places []store.Place, err error) {
	text, f := r.PathValue("digest"), placeFilter(r.URL.Query())
	if len(text) == 2*len(out.SHA512) {
		if err := out.SHA512.UnmarshalText([]byte(text)); err != nil {
			return nil, badDigest()
		}
		return c.db.BySHA512(out.SHA512, f, maxLimit)
	}
	if err := out.SHA256.UnmarshalText([]byte(text)); err != nil {
		return nil, badDigest()
	}
	return c.db.ByDigest(out.SHA256, f, maxLimit)
}

func badDigest() error {
	return badRequest("a digest is 64 lower-case hex digits for SHA-256, 128 for SHA-512")
}
