package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"quorate/internal/api"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// fetchSignature gets the bytes of a signature. For a batch it also gets the evidence,
// which says what of the file was agreed on: the file does not, without being taken
// apart as builders do it.
func (w *waiter) fetchSignature(ctx context.Context, f *waitFile, a *api.Artifact, s api.Signature) ([]byte, error) {
	if !format.IsBatch(s.Format) {
		return w.client.Raw(ctx, s.Path, maxSignature)
	}
	data, err := w.client.Raw(ctx, a.Evidence+"?"+url.Values{"key": {s.Key}}.Encode(), quorum.MaxBundle)
	if err != nil {
		return nil, err
	}
	f.agreed = func(set statement.DigestSet) error { return f.agreedIn(data, s.Request, set) }
	return w.client.Raw(ctx, s.Path, sigcheck.MaxBatchFile)
}

// agreedIn compares a set of digests with what the request in the evidence asked for.
// The id, unless it is zero, is that of the request.
func (h *hashedFile) agreedIn(evidence []byte, id statement.SHA256, have statement.DigestSet) error {
	b, err := quorum.ParseBundle(evidence)
	if err != nil {
		return err
	}
	set, err := h.batchOf(b)
	switch {
	case err != nil:
		return err
	case id != (statement.SHA256{}) && b.Request.ID != id:
		return errors.New("the evidence is about another request than the signatures")
	case !bytes.Equal(set.Signable().Value, have.Signable().Value):
		return fmt.Errorf("the signatures are over other digests than the %d that were agreed on", set.Len())
	}
	return nil
}

// batchOf returns the digests that the request in the evidence asked for. That they
// are what builders agreed on is proven by [checker.checkQuorum].
func (h *hashedFile) batchOf(b *quorum.Bundle) (set statement.DigestSet, err error) {
	switch r := b.Request; {
	case r.ID != r.ComputeID():
		return set, errors.New("the id of the request in the evidence is not the hash of what was asked")
	case r.Digest.SHA256 != h.sha256:
		return set, errors.New("the request in the evidence is for another file")
	case !r.IsBatch():
		return set, errors.New("the request in the evidence is for no signatures of files inside of the file")
	}
	return b.Request.Batch()
}

// verifyPart verifies the part of a batch that is in the evidence, by whichever key
// fits.
func (k *checker) verifyPart(b *quorum.Bundle) (sig *sigcheck.Result, err error) {
	set, err := k.file.batchOf(b)
	if err != nil {
		return nil, err
	}
	if err := b.Answer.CheckPart(set); err != nil {
		return nil, err
	}
	o := &b.Answer.Signatures[0]
	shown := fmt.Errorf("%w", errNoKey)
	for _, key := range k.keys {
		_, err := key.VerifyValues(o.Format, set, b.Answer.Part.First, o.Values)
		if err == nil {
			fingerprint, err := key.Fingerprint(o.Format)
			return &sigcheck.Result{Fingerprint: fingerprint, Count: set.Len()}, err
		}
		if isNamed(key, o.Format, o.Fingerprint) {
			shown = err
		}
	}
	return nil, shown
}

// partInFile reports whether the file of signatures has those of the part.
func partInFile(a *quorum.Answer, data []byte) bool {
	b, err := sigcheck.ParseBatch(data)
	if err != nil || a.Part == nil || a.CheckPart(b.Set) != nil {
		return false
	}
	values := a.Signatures[0].Values
	return slices.EqualFunc(b.Values[a.Part.First:a.Part.First+len(values)], values, bytes.Equal)
}

// ofFiles says of how many files a batch has signatures, empty for other formats.
func ofFiles(count int) string {
	if count == 0 {
		return ""
	}
	return " of " + plural(count, "file") + " inside"
}
