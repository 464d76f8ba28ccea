package coordinator

import (
	"bytes"
	"crypto/sha256"
	"math/bits"
	"slices"
	"time"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// planner decides, in the transaction that stores a case's verdicts, what is to
// be asked of the signers and when.
type planner struct {
	c    *Coordinator
	tx   *store.Tx
	cs   store.Case
	ch   *policy.Channel
	sigs map[string][]store.Signature // by artifact
	now  time.Time

	due     bool              // something was planned
	refused []*quorum.Verdict // on what a signer's no was taken note of
}

func (p *planner) plan(verdicts []quorum.Verdict) error {
	list, err := p.tx.Requests(p.cs.ID)
	if err != nil {
		return err
	}
	open := map[[2]string]*store.Request{}
	for _, q := range list {
		open[[2]string{q.Artifact, q.Key}] = q
	}
	for i := range verdicts {
		v := &verdicts[i]
		for _, key := range channelKeys(p.ch) {
			if err := p.one(v, key, open[[2]string{v.Artifact, key}]); err != nil {
				return err
			}
		}
	}
	return nil
}

// one plans one question. Unless something about it is new, its row stays as it
// is: statements about other files must not push it back.
func (p *planner) one(v *quorum.Verdict, key string, q *store.Request) error {
	wanted := v.State == quorum.Agreed && len(missingOutputs(p.ch, key, p.sigs[v.Artifact])) > 0
	if q == nil && !wanted {
		return nil
	}
	fresh := q == nil || wanted && q.SHA256 != v.SHA256
	if fresh {
		q = &store.Request{Case: p.cs.ID, Artifact: v.Artifact, Key: key, SHA256: v.SHA256, Next: p.now}
	}
	before := *q
	evidence := evidenceOf(v)
	switch {
	case !wanted:
		q.Next = time.Time{}
	case fresh:
	case q.Answer != nil && q.Answer.Seq > q.HandledSeq:
		q.HandledSeq = q.Answer.Seq
		if refused(q) {
			p.refused = append(p.refused, v)
		}
		q.Next = p.afterAnswer(q, evidence)
	case q.Evidence != evidence && (refused(q) || q.Problem != ""):
		q.Next = p.now // new votes may be what the signer missed
	case q.Next.IsZero() && q.Problem == "":
		q.Next = p.now // it was agreed before, then not, and is again
	}
	q.Evidence = evidence
	if *q == before && !fresh {
		return nil
	}
	p.due = true
	return p.tx.PutRequest(q)
}

// afterAnswer is when a question is asked again that was answered and yet is
// still open.
func (p *planner) afterAnswer(q *store.Request, evidence statement.SHA256) time.Time {
	switch {
	case q.Answer.Seq <= q.AskedSeq && q.Next.IsZero():
		return p.now // it was agreed before, then not, and is again
	case q.Answer.Seq <= q.AskedSeq:
		return q.Next // an answer to an earlier question of the same id
	case refused(q) && !q.Answer.Refusal.Retryable && q.Evidence == evidence:
		// It waits for a person. But nobody can verify a refusal, and one that
		// somebody made up must not keep a file from being signed for ever.
		return p.now.Add(time.Duration(p.c.config.Retry.Max))
	case refused(q) && q.Evidence != evidence:
		return p.now
	case q.Answer.Partly:
		return p.now.Add(time.Duration(p.c.config.Retry.Answer)) // for the next part
	}
	return p.now.Add(p.c.pause(q.Attempts))
}

func refused(q *store.Request) bool { return q.Answer != nil && q.Answer.Refusal != nil }

// pause is how long to wait after that many attempts.
func (c *Coordinator) pause(attempts int) time.Duration {
	first, limit := time.Duration(c.config.Retry.First), time.Duration(c.config.Retry.Max)
	doublings := max(attempts-1, 0)
	if first <= 0 || doublings >= bits.LeadingZeros64(uint64(first))-1 {
		return limit
	}
	return min(first<<doublings, limit)
}

// byArtifact sorts the signatures of a case.
func byArtifact(sigs []store.Signature) map[string][]store.Signature {
	by := map[string][]store.Signature{}
	for _, s := range sigs {
		by[s.Artifact] = append(by[s.Artifact], s)
	}
	return by
}

// missingOutputs lists what the key still has to sign for the artifact that has the
// signatures.
func missingOutputs(ch *policy.Channel, key string, sigs []store.Signature) (missing []policy.Output) {
	for _, o := range ch.Sign {
		has := slices.ContainsFunc(sigs, func(s store.Signature) bool { return s.Output == o })
		if o.Key == key && !has {
			missing = append(missing, o)
		}
	}
	return missing
}

func channelKeys(ch *policy.Channel) (keys []string) {
	for _, o := range ch.Sign {
		if !slices.Contains(keys, o.Key) {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// voters lists the statements that carry the votes on an artifact which count,
// dissenting ones included: one for each operator.
func voters(v *quorum.Verdict) []statement.SHA256 {
	var ids []statement.SHA256
	for _, g := range v.Groups {
		for _, m := range g.Members {
			ids = append(ids, m.Statement)
		}
	}
	return ids
}

// evidenceOf is [quorum.EvidenceDigest] of the votes that count.
func evidenceOf(v *quorum.Verdict) statement.SHA256 {
	ids := voters(v)
	slices.SortFunc(ids, func(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, id := range ids {
		h.Write(id[:])
	}
	return statement.SHA256(h.Sum(nil))
}
