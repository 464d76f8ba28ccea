package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"quorate/hsmsigner/ledger"
	"quorate/quorum"
)

// ErrBatch says that a request is for a batch, which is answered in parts.
var ErrBatch = errors.New("the request is for a batch, which is answered in parts")

// ReleaseFunc puts a part of an answer where it belongs. It is called by several
// goroutines at once, and with the same bytes again when a request comes again.
type ReleaseFunc func(ctx context.Context, channel string, part []byte) error

// AnswerParts is [Signer.Answer] for requests of any kind. The parts of a batch's
// answer are given to release, each as soon as it is stored, in any order; those
// that are stored from an earlier time come first. The Reply then has no answer of
// its own. If the batch is refused after some of its parts were released, they stay
// stored, and it goes on with the others when it is asked for again.
//
// The error is that of ctx or of release. Then the request must be delivered again.
func (s *Signer) AnswerParts(ctx context.Context, data []byte, release ReleaseFunc) (Reply, error) {
	return s.respond(ctx, data, release)
}

// answerBatch gives what is stored and makes what is missing. A kill at any point
// loses at most the parts that were being made, which nobody saw: the next delivery
// finds the others.
func (s *Signer) answerBatch(ctx context.Context, t *trace, r *quorum.Request, release ReleaseFunc) (Reply, error) {
	stored, count, err := s.ledger.StoredParts(ctx, r.ID)
	if err != nil {
		return s.refuse(ctx, t, r, ledgerDenial(err))
	}
	var b *batch
	if count == 0 || len(stored) < count {
		// Some parts alone are of no use: the others must still be permitted.
		p, den := s.authorise(ctx, t, r)
		if den != nil {
			return s.refuse(ctx, t, r, den)
		}
		if b, den = s.newBatch(ctx, p, release); den != nil {
			return s.refuse(ctx, t, r, den)
		}
		t.batchBegins(s.log, b, len(stored))
	}
	err = s.releaseStored(ctx, r, stored, release)
	t.step("repeat")
	if err == nil && b != nil {
		err = b.run(stored)
		t.step("parts")
	}
	var den *denial
	switch {
	case errors.As(err, &den):
		t.note(b.progress(len(stored))...)
		return s.refuse(ctx, t, r, den)
	case err != nil:
		t.batchBroken(s.log, err, b.progress(len(stored)))
		return Reply{ID: r.ID}, err
	case b == nil:
		t.repeated(s.log)
	default:
		t.batchSigned(s.log, b, len(stored))
	}
	return Reply{Channel: r.Channel, ID: r.ID}, nil
}

// releaseStored gives the parts of an earlier time again, byte for byte.
func (s *Signer) releaseStored(ctx context.Context, r *quorum.Request, stored []int, release ReleaseFunc) error {
	for _, i := range stored {
		data, found, err := s.ledger.AnswerPart(ctx, r.ID, i)
		if err == nil && !found {
			err = fmt.Errorf("part %d of the answer is gone", i)
		}
		if err != nil {
			return ledgerDenial(err)
		}
		if err := release(ctx, r.Channel, data); err != nil {
			return fmt.Errorf("release part %d: %w", i, err)
		}
	}
	return nil
}

// missing lists the parts that are not stored.
func missing(count int, stored []int) (list []int) {
	for i := range count {
		if !slices.Contains(stored, i) {
			list = append(list, i)
		}
	}
	return list
}

// partRecord is what the ledger keeps of a part.
func partRecord(a *quorum.Answer, data []byte, digests int) ledger.Part {
	rec, o := record(a, data), a.Signatures[0]
	rec.Signatures = nil
	rec.Batch = &ledger.Batch{Format: string(o.Format), Key: o.Key, Fingerprint: o.Fingerprint, Signatures: digests, Parts: a.Part.Count}
	return ledger.Part{Record: *rec, Index: a.Part.Index, Signatures: len(o.Values)}
}

// progress is how far a batch came; b is nil if nothing was to be made.
func (b *batch) progress(stored int) []slog.Attr {
	if b == nil {
		return nil
	}
	return []slog.Attr{slog.Int("digests", b.set.Len()), slog.Int("parts", quorum.PartCount(b.set.Len())),
		slog.Int("parts_stored", stored+int(b.storedParts.Load())), slog.Int64("signed", b.signed.Load())}
}

func (t *trace) batchBegins(log *slog.Logger, b *batch, stored int) {
	log.Info("batch begun", t.attrs(append(b.progress(stored), slog.String("key", b.out.Key))...)...)
}

func (t *trace) batchSigned(log *slog.Logger, b *batch, stored int) {
	t.metrics.batchSeconds.WithLabelValues(b.out.Key).Observe(t.now().Sub(t.start).Seconds())
	log.Info("batch signed", t.attrs(append(b.progress(stored), slog.String("key", b.out.Key),
		slog.Any("evidence", b.p.approval.EvidenceDigest()), slog.Uint64("policy", b.p.policy.Version))...)...)
}

// batchBroken is not the end: the bus brings the request again.
func (t *trace) batchBroken(log *slog.Logger, err error, progress []slog.Attr) {
	log.Warn("batch interrupted", t.attrs(append(progress, slog.Any("error", err))...)...)
}
