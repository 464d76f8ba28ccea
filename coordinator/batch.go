package coordinator

import (
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/go-json-experiment/json"

	"quorate/coordinator/store"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// part applies one part of a batch. Its signatures are believed as those of a whole
// answer are: each verifies, and the request that the answer names would pass again.
// complete says that it was the last part that was missing, or came after that.
func (a *application) part(e *entry, id store.CaseID) (complete bool, ref *refusal, err error) {
	ans := e.answer
	o := &ans.Signatures[0]
	k := a.c.key(o.Key)
	switch {
	case o.SignedAt.IsZero() || o.SignedAt.After(e.Received.Add(quorum.MaxSkew)):
		return false, refuse(CodeBadAnswer, "part by key %q: signedAt is missing, or ahead of the record", o.Key), nil
	case k == nil:
		return false, unknownKey(o.Key), nil
	}
	set, ref, err := a.agreedSet(ans)
	if err != nil || ref != nil {
		return false, ref, err
	}
	if err := ans.CheckPart(set); err != nil {
		return false, refuse(CodeBadAnswer, "%v", err), nil
	}
	if ref = verifyPart(k, ans, set); ref != nil {
		if ref.code != CodeSignatureInvalid {
			return false, ref, nil
		}
		return false, ref, a.alarmIfAsked(ans, id, alarmInvalidSignature, ref.message)
	}
	if ref, err := a.notOther(ans, id); err != nil || ref != nil {
		return false, ref, err
	}
	p := store.Part{Set: set, Part: *ans.Part, Signature: store.Signature{Case: id, Artifact: ans.Artifact, Digests: ans.Digest, RequestID: ans.ID,
		Seq: e.Seq, SignedOutput: quorum.SignedOutput{Output: o.Output, SignedAt: o.SignedAt}}}
	if p.Fingerprint, err = k.Fingerprint(o.Format); err != nil {
		return false, nil, err // the key has just verified
	}
	complete, err = a.tx.AddPart(&p)
	return complete, nil, err
}

// verifyPart checks every signature of a part.
func verifyPart(k *sigcheck.Key, ans *quorum.Answer, set statement.DigestSet) *refusal {
	o := &ans.Signatures[0]
	i, err := k.VerifyValues(o.Format, set, ans.Part.First, o.Values)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sigcheck.ErrUnchecked):
		return refuse(CodeFormat, "part by key %q: %v", o.Key, err)
	}
	return refuse(CodeSignatureInvalid, "part %d by key %q: the signature over %s: %v", ans.Part.Index, o.Key, set.At(ans.Part.First+i), err)
}

// provedKept is how many proofs are kept: the parts of one batch come together, and
// few batches at a time.
const provedKept = 8

// proved is that a request passes, by the policy and at the time that answers name. All
// parts that were made in one go say the same, so it is found out once for them: the
// evidence of a large batch has megabytes. It follows from the record alone and never
// changes, so it may be forgotten at any time.
type proved struct {
	basis [sha256.Size]byte // everything in the answer but its part and values
	set   statement.DigestSet
}

// agreedSet proves that the request of the answer passes, and returns the digests on
// which the quorum agreed in it.
func (a *application) agreedSet(ans *quorum.Answer) (set statement.DigestSet, ref *refusal, err error) {
	basis, err := basisOf(ans)
	if err != nil {
		return set, nil, err
	}
	if i := slices.IndexFunc(a.c.proved, func(p proved) bool { return p.basis == basis }); i >= 0 {
		return a.c.proved[i].set, nil, nil
	}
	stmts, file, ref, err := a.readEvidence(ans)
	if err != nil || ref != nil {
		return set, ref, err
	}
	at := store.Signature{SignedOutput: quorum.SignedOutput{SignedAt: ans.Signatures[0].SignedAt}}
	if ref, err := a.prove(ans, file, stmts, []store.Signature{at}); err != nil || ref != nil {
		return set, ref, err
	}
	if set, err = statement.ParseDigestSet(file.Signable(statement.FileDigests).Value); err != nil {
		return set, nil, err // prove has made the request from it
	}
	a.c.proved = append(a.c.proved, proved{basis, set})
	if len(a.c.proved) > provedKept {
		a.c.proved = slices.Delete(a.c.proved, 0, 1)
	}
	return set, nil, nil
}

func basisOf(ans *quorum.Answer) (sum [sha256.Size]byte, err error) {
	plain := *ans
	plain.Part, plain.Signatures = nil, slices.Clone(ans.Signatures)
	plain.Signatures[0].Values = nil
	data, err := json.Marshal(&plain, json.Deterministic(true))
	return sha256.Sum256(data), err
}
