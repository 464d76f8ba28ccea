package main

import (
	"fmt"
	"strings"

	"quorate/internal/api"
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// linesOf takes each line of a text for a file inside of it.
func linesOf(text string) statement.DigestSet {
	var list []statement.SHA256
	for line := range strings.Lines(text) {
		list = append(list, statement.ID([]byte(line)))
	}
	return must(statement.NewDigestSet(list))
}

// signBatch makes the parts of a batch, and serves them as the coordinator does: one
// file, and evidence that has the part which came first, here the last.
func (w *world) signBatch(wc *worldCase, approval *quorum.Approval, a *quorum.Answer) {
	r, set := approval.Request(), approval.Batch()
	o := r.Outputs[0]
	k := must(sigformat.NewKey(seeded(o.Key).Public(), signWith(seeded(o.Key))))
	fingerprint := must((&sigcheck.Key{Public: k.Public()}).Fingerprint(o.Format))
	var file []byte
	for i := range quorum.PartCount(set.Len()) {
		p, end := quorum.NewPart(set.Len(), i)
		signed := quorum.SignedOutput{Output: o, Fingerprint: fingerprint, SignedAt: worldTime}
		for _, d := range set.Range(p.First, end) {
			value := must(sshsig.SignBlob(k, sigcheck.Namespace, d))
			signed.Values = append(signed.Values, value)
			file = sigcheck.AppendBatchLine(file, d, value)
		}
		a.Part, a.Signatures = &p, []quorum.SignedOutput{signed}
	}
	w.seq++
	wc.signed[r.Artifact] = quorum.Signature{SHA256: r.Digest.SHA256, Seq: w.seq, Complete: true}
	wc.requests[r.Artifact] = append(wc.requests[r.Artifact], api.Request{ID: r.ID, Key: o.Key, Attempts: 1, Asked: worldTime, Answered: worldTime,
		Parts: &api.Parts{Have: a.Part.Count, Count: a.Part.Count}})
	path := fmt.Sprintf("/v1/signatures/%s/%s.%s", r.ID, o.Key, o.Format)
	w.blobs[path] = file
	wc.sigs[r.Artifact] = append(wc.sigs[r.Artifact], api.Signature{Output: o, Fingerprint: fingerprint, SignedAt: worldTime, Request: r.ID, Count: set.Len(), Path: path})
	w.serveEvidence(wc, r, a)
}
