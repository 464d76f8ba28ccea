package coordinator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// getEvidence puts together what the signer saw: the policy file, the request
// with the statements as they were received, and the answer; beside it what
// maintainers said. Who checks it needs to believe nothing of it. Each key is asked
// by itself, so each has evidence of its own; without a key in the query it is that
// of the one that the channel lists first.
func (c *Coordinator) getEvidence(r *http.Request) (*quorum.Bundle, error) {
	id, err := store.ParseCaseID(r.PathValue("id"))
	if err != nil {
		return nil, badRequest("the id of a target is 32 hex digits")
	}
	name := r.PathValue("name")
	t, err := c.db.Target(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	sigs, err := c.db.Signatures(id, name)
	if err != nil {
		return nil, err
	}
	c.inOrder(t.Channel, sigs)
	if key := r.URL.Query().Get("key"); key != "" {
		sigs = slices.DeleteFunc(sigs, func(s store.Signature) bool { return s.Key != key })
	}
	if len(sigs) == 0 {
		return nil, notFound("%q is not signed", name)
	}
	return c.bundle(sigs[0])
}

func (c *Coordinator) bundle(sig store.Signature) (*quorum.Bundle, error) {
	m, err := c.db.MessageAt(sig.Seq)
	if err != nil {
		return nil, err
	}
	ans, err := quorum.ParseAnswer(m.Raw)
	if err != nil {
		return nil, fmt.Errorf("recorded answer %d: %w", sig.Seq, err)
	}
	text, err := c.db.Policy(ans.Policy.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("this coordinator never had policy version %d (sha256 %s), by which it was signed", ans.Policy.Version, ans.Policy.Digest)
	}
	if err != nil {
		return nil, err
	}
	req, err := c.rebuildRequest(ans, text, sig)
	if err != nil {
		return nil, err
	}
	acts, err := c.db.ActMessages(caseOf(ans), ans.Artifact)
	if err != nil {
		return nil, err
	}
	return &quorum.Bundle{Version: quorum.Version, Policy: text, Request: req, Answer: ans, Acts: acts}, nil
}

// rebuildRequest makes the request again that was answered. Its id proves that it
// is the same one.
func (c *Coordinator) rebuildRequest(ans *quorum.Answer, text []byte, sig store.Signature) (*quorum.Request, error) {
	p, err := policy.Load(text, sig.SignedAt)
	if err != nil {
		return nil, fmt.Errorf("stored policy %s: %w", ans.Policy.Digest, err)
	}
	var stmts []*statement.Statement
	for _, id := range ans.Statements {
		_, s, err := c.evidenceFor(c.db, p, caseOf(ans), id)
		if err != nil {
			return nil, fmt.Errorf("evidence %s: %w", id, err)
		}
		stmts = append(stmts, s)
	}
	if file := signedOf(ans, stmts); file != nil {
		req, err := requestOf(p, ans, file, stmts)
		if err != nil {
			return nil, err
		}
		if req.ID == ans.ID {
			return req, nil
		}
	}
	return nil, notFound("the request that was answered cannot be put together from the record")
}
