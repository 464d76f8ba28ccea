package coordinator

import (
	"errors"
	"fmt"
	"time"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// readEvidence reads the statements that an answer names, all of them, and finds
// the signed file in them. Whether they were admitted plays no part: a signature
// that exists stays what it is when the policy changes. The bound is that of a
// request, so that nobody has the coordinator read more than a signer would.
func (a *application) readEvidence(ans *quorum.Answer) (stmts []*statement.Statement, file *statement.Artifact, ref *refusal, err error) {
	if len(ans.Statements) > quorum.MaxEvidence {
		return nil, nil, refuse(CodeBadAnswer, "%d statements, at most %d", len(ans.Statements), quorum.MaxEvidence), nil
	}
	p, err := a.policyOf(ans.Policy.Digest)
	if errors.Is(err, store.ErrNotFound) {
		p, err = a.c.policy, nil // the answer is refused in the end; what is wrong with its statements is said first
	}
	if err != nil {
		return nil, nil, nil, err
	}
	room := quorum.MaxRequest
	for _, id := range ans.Statements {
		_, s, err := a.c.evidenceFor(a.tx, p, caseOf(ans), id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, nil, refuse(CodeUnknownArtifact, "statement %s, which the answer names, is not in the record", id), nil
		case err == nil:
			room -= sizeOf(s)
		case !isAboutBytes(err):
			return nil, nil, nil, err
		}
		if room < 0 {
			return nil, nil, refuse(CodeBadAnswer, "the statements have more than %d bytes", quorum.MaxRequest), nil
		}
		if err != nil || s.Case != caseOf(ans) {
			return nil, nil, refuse(CodeUnknownArtifact, "message %s, which the answer names, is no statement about its target", id), nil
		}
		stmts = append(stmts, s)
	}
	if file = signedOf(ans, stmts); file == nil {
		return nil, nil, refuse(CodeUnknownArtifact, "no statement that the answer names votes on %q with its digest", ans.Artifact), nil
	}
	return stmts, file, nil, nil
}

// signedOf finds among the votes for the digest one that gives the signables that
// were signed. The id of the request says which those are: it covers them. Without
// such a vote it is the first, and nil when nobody voted for the digest.
func signedOf(ans *quorum.Answer, stmts []*statement.Statement) (first *statement.Artifact) {
	signables := len(policy.Signables(outputsOf(ans))) > 0
	for _, s := range stmts {
		i := indexOf(s, ans)
		if i < 0 {
			continue
		}
		a := &s.Artifacts[i]
		if !signables {
			return a
		}
		if r, err := requestOf(&policy.Policy{}, ans, a, stmts); err == nil && r.ID == ans.ID {
			return a
		}
		if first == nil {
			first = a
		}
	}
	return first
}

func indexOf(s *statement.Statement, ans *quorum.Answer) int {
	for i := range s.Artifacts {
		if s.Artifacts[i].Name == ans.Artifact && ans.Digest.In(&s.Artifacts[i]) {
			return i
		}
	}
	return -1
}

// prove puts the request of an answer together again and checks it as its signer
// had to, by the policy that the answer names and at the time of each signature.
// A good signature alone proves nothing: every signature ever made is public, and
// one liar's vote for an old file would be enough to replay it as the answer for
// another target, which then no signer is asked for any more.
func (a *application) prove(ans *quorum.Answer, file *statement.Artifact, stmts []*statement.Statement, sigs []store.Signature) (*refusal, error) {
	p, err := a.policyOf(ans.Policy.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return refuse(CodePolicyUnknown, "this coordinator never had policy version %d (sha256 %s); name the file in former_policies", ans.Policy.Version, ans.Policy.Digest), nil
	}
	if err != nil {
		return nil, err
	}
	req, err := requestOf(p, ans, file, stmts)
	if err != nil {
		return refuse(CodeNotApproved, "%v", err), nil
	}
	if req.ID != ans.ID || req.Digest != ans.Digest || req.Policy != ans.Policy || quorum.EvidenceDigestOf(idsOf(stmts)) != ans.Evidence {
		return refuse(CodeNotApproved, "the request that the statements give is another one than was answered"), nil
	}
	var last time.Time
	for i := range sigs {
		if at := sigs[i].SignedAt; i == 0 || !at.Equal(last) {
			if _, no := a.c.memory.Recheck(p, req, at); no != nil {
				return refuse(CodeNotApproved, "no signer could have said yes: %v", no), nil
			}
			last = at
		}
	}
	return nil, nil
}

func idsOf(stmts []*statement.Statement) []statement.SHA256 {
	ids := make([]statement.SHA256, len(stmts))
	for i, s := range stmts {
		ids[i] = s.ID()
	}
	return ids
}

// requestOf makes the request again that was answered, with the signables of file.
func requestOf(p *policy.Policy, ans *quorum.Answer, file *statement.Artifact, stmts []*statement.Statement) (*quorum.Request, error) {
	outputs := outputsOf(ans)
	v := &quorum.Verdict{Artifact: ans.Artifact, SHA256: ans.Digest.SHA256, SHA512: ans.Digest.SHA512}
	for _, name := range policy.Signables(outputs) {
		s := file.Signable(name)
		if s == nil {
			return nil, fmt.Errorf("the statements that the answer names give another %s than was signed", name)
		}
		v.Signables = append(v.Signables, quorum.SignableDigest{Name: name, SHA256: s.Digest()})
	}
	return quorum.NewRequest(p, caseOf(ans), v, outputs, stmts)
}

func outputsOf(ans *quorum.Answer) []policy.Output {
	outputs := make([]policy.Output, len(ans.Signatures))
	for i, o := range ans.Signatures {
		outputs[i] = o.Output
	}
	return outputs
}

// policyOf is a policy that this coordinator has or had, or [store.ErrNotFound].
// When it expired plays no part here: it is judged at the time of the signature.
func (a *application) policyOf(digest statement.SHA256) (*policy.Policy, error) {
	if digest == a.c.policy.Digest {
		return a.c.policy, nil
	}
	if p := a.policies[digest]; p != nil {
		return p, nil
	}
	text, err := a.tx.Policy(digest)
	if err != nil {
		return nil, err
	}
	p, err := policy.Load(text, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("stored policy %s: %w", digest, err)
	}
	a.policies[digest] = p
	return p, nil
}
