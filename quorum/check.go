package quorum

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// Approval is the proof that [Check] said yes. It can only be made there, so a
// function that asks for one cannot be called without the check.
type Approval struct {
	request  *Request
	verdict  Verdict
	state    hashstate.State
	text     hashstate.State
	batch    statement.DigestSet
	evidence []statement.SHA256 // ids, in the order of the request
}

// Request returns what was approved.
func (a *Approval) Request() *Request { return a.request }

// Verdict returns the decision, for the record of why it was signed.
func (a *Approval) Verdict() Verdict { return a.verdict }

// State returns the SHA-512 state of the file, which finalises to the agreed
// digest; or one that cannot be resumed, if no output is made from the state.
func (a *Approval) State() hashstate.State { return a.state }

// TextState returns the SHA-512 state of the file's text (see [statement.TextState])
// that the quorum agreed on by itself; or one that cannot be resumed, if no output
// is made from it.
func (a *Approval) TextState() hashstate.State { return a.text }

// EvidenceDigest returns the digest of the evidence set.
func (a *Approval) EvidenceDigest() statement.SHA256 { return EvidenceDigestOf(a.evidence) }

// Statements returns the ids of the evidence, in the order of the request.
func (a *Approval) Statements() []statement.SHA256 { return slices.Clone(a.evidence) }

// Check is the gate in front of the key: it believes nothing in the request,
// verifies each statement against its own policy and decides again. Decisions of
// any other process play no part.
func Check(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	return (*Memory)(nil).Check(p, r, at)
}

// Check is [Check], the package's, that parses and verifies nothing twice.
func (m *Memory) Check(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	if r.Policy.Version != p.Version || r.Policy.Digest != p.Digest {
		// Retryable: the two files are replaced one after the other.
		return nil, &Refusal{RefusePolicyMismatch, fmt.Sprintf("request was decided by policy version %d (sha256 %s), the signer has version %d (sha256 %s)",
			r.Policy.Version, r.Policy.Digest, p.Version, p.Digest), true}
	}
	a, ref := m.Recheck(p, r, at)
	if ref == nil && r.Digest != agreedDigests(p.Channel(r.Channel), &a.verdict) {
		// A second spelling of the digests would be a second request for the
		// same signature.
		return nil, refuseRequest(RefuseQuorum, "the evidence agrees on another digest than the request asks for")
	}
	return a, ref
}

// Recheck is [Check] under a policy that need not be the one the request names:
// for somebody who holds an old request and asks whether it would pass by their
// own policy, as of the time of the signature.
func Recheck(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	return (*Memory)(nil).Recheck(p, r, at)
}

// Recheck is [Recheck], the package's, that parses and verifies nothing twice.
func (m *Memory) Recheck(p *policy.Policy, r *Request, at time.Time) (*Approval, *Refusal) {
	ch := p.Channel(r.Channel)
	switch {
	case r.Version != Version:
		return nil, refuseRequest(RefuseBadRequest, "request: version %d, want %d", r.Version, Version)
	case r.ID != r.ComputeID():
		return nil, refuseRequest(RefuseBadRequest, "request: id is not the hash of what is asked")
	case p.Expired(at):
		return nil, &Refusal{RefusePolicyExpired, "policy expired on " + p.Expires.Format(time.RFC3339), true}
	case ch == nil:
		return nil, refuseRequest(RefuseBadRequest, "request: the policy has no channel %q", r.Channel)
	}
	if ref := cmp.Or(checkOutputs(ch, r), checkBatch(r), checkSignables(r)); ref != nil {
		return nil, ref
	}
	if ref := checkActs(p, r, at); ref != nil {
		return nil, ref
	}
	v, ids, ref := m.checkEvidence(p, ch, r, at)
	if ref != nil {
		return nil, ref
	}
	a := &Approval{request: r.clone(), verdict: v, evidence: ids}
	if a.state, ref = checkState(r); ref != nil {
		return nil, ref
	}
	if ref = checkAgreed(r, &v); ref != nil {
		return nil, ref
	}
	if a.text, ref = readText(r); ref != nil {
		return nil, ref
	}
	if a.batch, ref = readBatch(r); ref != nil {
		return nil, ref
	}
	return a, nil
}

// clone makes the approval stand for what was checked, whatever becomes of the
// request in the caller's hands. Bytes are shared: nothing signs them.
func (r *Request) clone() *Request {
	c := *r
	c.Outputs, c.Signables = slices.Clone(r.Outputs), maps.Clone(r.Signables)
	return &c
}

func checkOutputs(ch *policy.Channel, r *Request) *Refusal {
	if len(r.Outputs) == 0 {
		return refuseRequest(RefuseBadRequest, "request: outputs is empty")
	}
	for i, o := range r.Outputs {
		if !slices.Contains(ch.Sign, o) {
			return refuseRequest(RefuseFormat, "channel %q does not sign %s with key %q", ch.Name, o.Format, o.Key)
		}
		if slices.Contains(r.Outputs[:i], o) {
			return refuseRequest(RefuseBadRequest, "request: output %s with key %q stands twice", o.Format, o.Key)
		}
	}
	return nil
}

// checkEvidence verifies the statements and decides about the one file: what they say
// of others plays no part. It returns their ids.
func (m *Memory) checkEvidence(p *policy.Policy, ch *policy.Channel, r *Request, at time.Time) (v Verdict, ids []statement.SHA256, ref *Refusal) {
	if len(r.Evidence) > MaxEvidence {
		return v, nil, refuseRequest(RefuseTooLarge, "request: %d statements, at most %d", len(r.Evidence), MaxEvidence)
	}
	obs := make([]Observation, 0, len(r.Evidence))
	voted := map[string]bool{}
	for i, e := range r.Evidence {
		id := statement.ID(e.Raw)
		o, err := m.admit(p, r, e, id, at)
		if err != nil {
			return v, nil, refuseRequest(RefuseEvidence, "evidence[%d]: %v", i, err)
		}
		if voted[o.Operator] {
			return v, nil, refuseRequest(RefuseEvidence, "evidence[%d]: operator %q stands in it twice", i, o.Operator)
		}
		voted[o.Operator] = true
		// The signer does not know when the record took a statement in; the
		// settle time is the coordinator's to keep.
		o.Received, o.Seq = time.Time{}, uint64(i)+1
		obs, ids = append(obs, o), append(ids, id)
	}
	for _, v := range Decide(ch, obs, nil, at) {
		if v.Artifact == r.Artifact {
			return v, ids, judgeRequest(ch, r, v)
		}
	}
	return v, nil, refuseRequest(RefuseQuorum, "no statement votes on %q", r.Artifact)
}

func judgeRequest(ch *policy.Channel, r *Request, v Verdict) *Refusal {
	switch {
	case v.State == Held:
		return refuseRequest(RefuseHeld, "an operator of the quorum differs on %q, and channel %q holds on dissent", r.Artifact, ch.Name)
	case v.State != Agreed:
		return refuseRequest(RefuseQuorum, "%q is %s (%s) by the evidence in the request", r.Artifact, v.State, v.Reason)
	case !carries(r, v):
		return refuseRequest(RefuseQuorum, "the evidence agrees on another digest than the request asks for")
	}
	return nil
}

// carries reports whether the verdict is for the digests of the request. Another
// policy than that of the request may ask for a SHA-512 where the request had no
// need of one, or the other way round; what an output is made from must have had
// its quorum.
func carries(r *Request, v Verdict) bool {
	if policy.NeedsSHA512(r.Outputs) {
		return r.Digest == Digests{v.SHA256, v.SHA512}
	}
	return r.Digest.Agree(Digests{v.SHA256, v.SHA512})
}

// checkSignables wants exactly what the outputs are made from. What belongs to
// nothing would still be under the id, and make two requests of one.
func checkSignables(r *Request) *Refusal {
	names := policy.Signables(r.Outputs)
	if policy.NeedsState(r.Outputs) {
		names = append(names, StateSHA512)
	}
	for _, name := range names {
		if _, ok := r.Signables[name]; !ok || len(r.Signables) != len(names) {
			return refuseRequest(RefuseBadRequest, "request: signables must be exactly %q", names)
		}
	}
	if len(r.Signables) > len(names) {
		return refuseRequest(RefuseBadRequest, "request: signables must be empty, no output is made from any")
	}
	return nil
}

// checkAgreed wants the signables of the statements to be those that the evidence
// agrees on, as bytes. Each was read in the statements, so it is well-formed.
func checkAgreed(r *Request, v *Verdict) *Refusal {
	for _, name := range policy.Signables(r.Outputs) {
		i := slices.IndexFunc(v.Signables, func(s SignableDigest) bool { return s.Name == name })
		if i < 0 || v.Signables[i].SHA256 != sha256.Sum256(r.Signables[name]) {
			return refuseRequest(RefuseState, "the evidence agrees on another %q than the request asks for", name)
		}
	}
	return nil
}

// readText reads the state of the text, if it is in the request.
func readText(r *Request) (st hashstate.State, ref *Refusal) {
	value, ok := r.Signables[statement.TextState]
	if !ok {
		return st, nil
	}
	st, err := hashstate.Decode(hashstate.SHA512, value)
	if err != nil {
		return st, refuseRequest(RefuseState, "%s: %v", statement.TextState, err)
	}
	return st, nil
}

// checkState finalises a clone of the state and compares: a signature made from a
// state is good for exactly the file whose digest the state gives.
func checkState(r *Request) (hashstate.State, *Refusal) {
	if !policy.NeedsState(r.Outputs) {
		return hashstate.State{}, nil
	}
	value := r.Signables[StateSHA512]
	st, err := hashstate.Decode(hashstate.SHA512, value)
	if err != nil {
		return st, refuseRequest(RefuseState, "%s: %v", StateSHA512, err)
	}
	// The id covers these bytes, so a second spelling of the state would be a
	// second request for the same signature.
	if canonical, err := st.MarshalJSON(); err != nil || !bytes.Equal(canonical, value) {
		return st, refuseRequest(RefuseBadRequest, "%s is not in its one form", StateSHA512)
	}
	sum, err := st.Sum()
	if err != nil || !bytes.Equal(sum, r.Digest.SHA512[:]) {
		return st, refuseRequest(RefuseState, "%s does not finalise to the requested digest", StateSHA512)
	}
	return st, nil
}
