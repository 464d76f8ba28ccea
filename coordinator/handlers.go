package coordinator

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"quorate/coordinator/store"
	"quorate/internal/api"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Sizes of a page.
const (
	defaultLimit = 100
	maxLimit     = 500
)

func (c *Coordinator) getChannels(*http.Request) (out api.Channels, err error) {
	counts, err := c.db.StateCounts()
	if err != nil {
		return out, err
	}
	out = api.Channels{Policy: api.Policy{PolicyRef: quorum.PolicyRef{Version: c.policy.Version, Digest: c.policy.Digest}, Expires: c.policy.Expires}}
	for _, ch := range c.policy.Channels {
		out.Channels = append(out.Channels, api.Channel{Name: ch.Name, Targets: ch.Targets, Quorum: ch.Rule.Name, Roster: ch.Roster,
			Settle: ch.Settle.String(), Dissent: ch.Dissent, Sign: ch.Sign, Counts: everyState(counts[ch.Name])})
	}
	return out, nil
}

func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, badRequest("limit is not a number from 1 to %d", maxLimit)
	}
	return n, nil
}

func (c *Coordinator) getTarget(r *http.Request) (out api.TargetDetail, err error) {
	t, err := c.targetOf(r)
	if err != nil {
		return out, err
	}
	out.Target = toTarget(&t)
	if out.Artifacts, err = c.artifacts(&t, ""); err != nil {
		return out, err
	}
	if out.Acts, out.Alarms, err = c.aroundTarget(&t); err != nil {
		return out, err
	}
	out.Statements, err = c.statementsOf(t.ID)
	return out, err
}

func (c *Coordinator) statementsOf(id store.CaseID) ([]api.StatementInfo, error) {
	list, err := c.db.Statements(id)
	if err != nil {
		return nil, err
	}
	brought, err := c.db.ForeignOf(id)
	if err != nil {
		return nil, err
	}
	out := make([]api.StatementInfo, len(list))
	for i, s := range list {
		out[i] = api.StatementInfo{ID: s.ID, Seq: s.Seq, Operator: s.Operator, Builder: s.Builder, Received: s.Received,
			Started: s.Started, Finished: s.Finished, Status: s.Status, Reason: s.Reason, Path: "/v1/statements/" + s.ID.String(), Foreign: toForeign(brought[s.Seq])}
	}
	return out, c.addLogs(id, out)
}

func (c *Coordinator) targetOf(r *http.Request) (t store.Target, err error) {
	id, err := store.ParseCaseID(r.PathValue("id"))
	if err != nil {
		return t, badRequest("the id of a target is 32 hex digits")
	}
	t, err = c.db.Target(id)
	if errors.Is(err, store.ErrNotFound) {
		return t, notFound("no target has the id %s", id)
	}
	return t, err
}

// artifacts shows what is known of a target's artifacts, of one unless name is
// empty.
func (c *Coordinator) artifacts(t *store.Target, name string) ([]api.Artifact, error) {
	verdicts, err := c.db.Verdicts(t.ID, name)
	if err != nil {
		return nil, err
	}
	sigs, err := c.db.Signatures(t.ID, name)
	if err != nil {
		return nil, err
	}
	c.inOrder(t.Channel, sigs)
	requests, err := c.db.Requests(t.ID, name)
	if err != nil {
		return nil, err
	}
	out := make([]api.Artifact, len(verdicts))
	for i, v := range verdicts {
		a := api.Artifact{Verdict: *v, Channel: t.Channel, Target: t.Case.Target, Stage: t.Stage, TargetID: t.ID.String()}
		base := "/v1/targets/" + t.ID.String() + "/artifacts/" + url.PathEscape(v.Artifact)
		a.Signatures, a.Requests = toSignatures(sigs, v.Artifact, base), toRequests(requests, v.Artifact)
		if len(a.Signatures) > 0 {
			a.Evidence = base + "/evidence"
		}
		out[i] = a
	}
	return out, nil
}

// inOrder sorts signatures as the channel lists its outputs, what it no longer lists
// last: readers name files by this order, which must not depend on which signer
// was faster.
func (c *Coordinator) inOrder(channel string, sigs []store.Signature) {
	var sign []policy.Output
	if ch := c.policy.Channel(channel); ch != nil {
		sign = ch.Sign
	}
	place := func(s store.Signature) int {
		if i := slices.Index(sign, s.Output); i >= 0 {
			return i
		}
		return len(sign)
	}
	slices.SortStableFunc(sigs, func(a, b store.Signature) int { return place(a) - place(b) })
}

func toSignatures(sigs []store.Signature, artifact, base string) (out []api.Signature) {
	for _, s := range sigs {
		if s.Artifact == artifact {
			out = append(out, api.Signature{Output: s.Output, Fingerprint: s.Fingerprint, SignedAt: s.SignedAt, Request: s.RequestID, Count: s.Count,
				Path: base + "/signatures/" + s.Key + "." + string(s.Format)})
		}
	}
	return out
}

func toRequests(list []*store.Request, artifact string) (out []api.Request) {
	for _, q := range list {
		if q.Artifact != artifact {
			continue
		}
		a := api.Request{ID: q.ID, Key: q.Key, Attempts: q.Attempts, Asked: q.Asked, Next: q.Next}
		if q.Parts > 0 {
			a.Parts = &api.Parts{Have: q.Have, Count: q.Parts}
		}
		if q.Problem != "" {
			a.Refusal = &quorum.Refusal{Code: quorum.RefuseBadRequest, Message: q.Problem}
		}
		// An id can be computed by anybody, and a refusal made up before the first
		// question: then nobody refused anything.
		if q.Answer != nil && (q.Attempts > 1 || q.Answer.Seq > q.AskedSeq) {
			a.Answered, a.Refusal = q.Answer.Received, q.Answer.Refusal
		}
		out = append(out, a)
	}
	return out
}

func (c *Coordinator) getArtifacts(r *http.Request) (out api.Artifacts, err error) {
	places, err := c.placesOf(r, &out)
	if err != nil {
		return out, err
	}
	if len(places) == 0 {
		return out, notFound("nobody voted for %s, or none of the votes is what was asked for", r.PathValue("digest"))
	}
	for _, p := range places {
		t, err := c.db.Target(p.Case)
		if errors.Is(err, store.ErrNotFound) {
			continue // decided away between the two reads
		}
		if err != nil {
			return out, err
		}
		list, err := c.artifacts(&t, p.Artifact)
		if err != nil {
			return out, err
		}
		out.Artifacts = append(out.Artifacts, list...)
	}
	return out, nil
}

func placeFilter(q url.Values) store.PlaceFilter {
	f := store.PlaceFilter{Channel: q.Get("channel"), Target: q.Get("target"), Name: q.Get("name")}
	if stage := q.Get("stage"); q.Has("stage") {
		f.Stage = &stage
	}
	return f
}

func digestOf(r *http.Request) (statement.SHA256, error) {
	d, err := statement.ParseSHA256(r.PathValue("sha256"))
	if err != nil {
		return d, badRequest("a digest is 64 lower-case hex digits")
	}
	return d, nil
}

func (c *Coordinator) getSignature(r *http.Request) (out raw, err error) {
	s, err := c.signatureOf(r)
	if err != nil {
		return out, err
	}
	row, err := format.Lookup(s.Format)
	if err != nil {
		return out, err // it was verified by its format before it was stored
	}
	if s.Count > 0 {
		if s.Signature, err = c.batchFile(r, &s); err != nil {
			return out, err
		}
	}
	return raw{row.MediaType, r.PathValue("name") + row.Suffix, s.Signature}, nil
}

// signatureOf finds the signature that the path names: /…/{key}.{format}.
func (c *Coordinator) signatureOf(r *http.Request) (s store.Signature, err error) {
	id, err := store.ParseCaseID(r.PathValue("id"))
	if err != nil {
		return s, badRequest("the id of a target is 32 hex digits")
	}
	key, name, _ := strings.Cut(r.PathValue("file"), ".")
	sigs, err := c.db.Signatures(id, r.PathValue("name"))
	if err != nil {
		return s, err
	}
	for _, s := range sigs {
		if s.Output == (policy.Output{Format: policy.Format(name), Key: key}) {
			return s, nil
		}
	}
	return s, notFound("there is no %s signature by key %q for %q", name, key, r.PathValue("name"))
}

func (c *Coordinator) getStatement(r *http.Request) (out raw, err error) {
	id, err := digestOf(r)
	if err != nil {
		return out, err
	}
	data, err := c.db.Raw(id)
	if errors.Is(err, store.ErrNotFound) {
		out, err = c.getForeign(id, r.URL.Query().Get("part"))
		if errors.Is(err, store.ErrNotFound) {
			err = notFound("no message with sha256 %s is recorded", id)
		}
		return out, err
	}
	// Also what was refused is here, as it came: never a type that a browser
	// would show as a page.
	return raw{contentType: "application/octet-stream", name: id.String() + ".json", data: data}, err
}

func (c *Coordinator) getRejected(r *http.Request) (out api.Rejected, err error) {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return out, err
	}
	before := uint64(0)
	if text := q.Get("before"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 63); err != nil {
			return out, badRequest("before is not a number")
		}
	}
	list, err := c.db.Rejected(before, limit+1)
	if err != nil {
		return out, err
	}
	if len(list) > limit {
		list = list[:limit]
		out.Next = list[limit-1].Seq
	}
	out.Rejected = make([]api.Rejection, len(list))
	for i, j := range list {
		out.Rejected[i] = api.Rejection{Seq: j.Seq, Subject: strings.ToValidUTF8(j.Subject, "\uFFFD"), SHA256: j.SHA256, Code: j.Code, Message: j.Reason, Received: j.Received}
	}
	return out, nil
}

// contentDisposition makes browsers save instead of show. Names that are more
// than plain are encoded by the rules of RFC 2231.
func contentDisposition(name string) string {
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" {
		return v
	}
	return "attachment"
}
