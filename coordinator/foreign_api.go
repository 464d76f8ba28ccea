package coordinator

import (
	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/internal/wire"
	"quorate/quorum/evidence"
	"quorate/quorum/statement"
)

// toForeign shows what an importer brought; nil for an agent's statement.
func toForeign(f *store.Foreign) *api.Foreign {
	if f == nil {
		return nil
	}
	out := &api.Foreign{Kind: f.Kind, Importer: f.Importer, Origin: f.Origin, Fetched: f.Fetched, Judged: f.Judged,
		Verdicts: make([]api.SignatureVerdict, len(f.Verdicts))}
	for i, v := range f.Verdicts {
		out.Verdicts[i] = api.SignatureVerdict{Status: string(v.Status), Key: v.Key, Created: v.Created, Reason: v.Reason}
	}
	return out
}

// getForeign returns the evidence with that identity, or one part of it as it was
// found.
func (c *Coordinator) getForeign(id statement.SHA256, part string) (out raw, err error) {
	_, message, err := c.db.RawForeign(id)
	if err != nil {
		return out, err
	}
	f, err := wire.ParseForeign(message)
	if err != nil {
		return out, err // it was read before it was stored
	}
	b, err := evidence.DecodeBundle(f.Evidence)
	if err != nil {
		return out, err
	}
	out = raw{contentType: "application/octet-stream", name: id.String() + ".evidence", data: f.Evidence}
	switch part {
	case "":
	case "body":
		out.name, out.data = id.String(), b.Body
	case "signature":
		out.name, out.data = id.String()+".sig", b.Signature
	case "key":
		if out.name = id.String() + ".key"; len(f.Keys) > 0 {
			out.data = f.Keys[0]
		} else {
			out.data = nil
		}
	default:
		return raw{}, badRequest("part is body, signature or key")
	}
	if len(out.data) == 0 {
		return raw{}, notFound("evidence %s has no %s", id, part)
	}
	return out, nil
}
