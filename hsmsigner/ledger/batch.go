package ledger

import (
	"context"
	"database/sql"
	"fmt"

	"quorate/quorum/statement"
)

// Batch is one output with many signatures. They are in the parts of its answer.
type Batch struct {
	Format, Key, Fingerprint string
	Signatures, Parts        int // that were asked for

	// Stored and StoredParts are how many of them there are: less, if the signer was
	// stopped, or refused the rest. [Ledger.Records] alone gives them.
	Stored, StoredParts int
}

// Part is a part of the answer to a batch, and Record, which has a Batch, is what it
// is a part of. Its Answer is the part as it is published. What it says of policy and
// evidence is kept of the part that is stored first.
type Part struct {
	Record
	Index      int // from 0
	Signatures int // in the part
}

// StorePart keeps a part and returns what is stored for it: the given bytes, or
// those of an earlier part with its number.
func (l *Ledger) StorePart(ctx context.Context, p Part) (stored []byte, err error) {
	err = l.write(ctx, func(tx querier) error {
		first, err := p.insert(ctx, tx)
		if stored = p.Answer; err != nil || first {
			return err
		}
		var found bool
		if stored, found, err = answer(tx.QueryRowContext(ctx, selectPart, p.Request[:], p.Index)); err == nil && !found {
			err = errDamaged
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store part of answer: %w", err)
	}
	return stored, nil
}

// insert writes no part and returns false if there is one with its number.
func (p *Part) insert(ctx context.Context, tx querier) (first bool, err error) {
	r, b := &p.Record, p.Batch
	begun, err := inserted(tx.ExecContext(ctx, insertBatch,
		r.Request[:], r.Channel, r.Target, r.Stage, r.Artifact, r.SHA256[:], r.SHA512[:],
		b.Format, b.Key, b.Fingerprint, b.Signatures, b.Parts, int64(r.PolicyVersion), r.PolicyDigest[:], r.Evidence[:], stamp(r.At)))
	if err != nil {
		return false, err
	}
	for i := 0; begun && i < len(r.Statements); i++ {
		if _, err := tx.ExecContext(ctx, insertBatchStatement, r.Request[:], r.Statements[i][:]); err != nil {
			return false, err
		}
	}
	return inserted(tx.ExecContext(ctx, insertPart, r.Request[:], p.Index, p.Signatures, r.Answer, sum(r.Answer), stamp(r.At)))
}

// StoredParts returns which parts of the answer to a batch are stored, in their
// order, and how many it has; 0 if none is stored.
func (l *Ledger) StoredParts(ctx context.Context, request statement.SHA256) (stored []int, count int, err error) {
	err = scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var i int
		err := rows.Scan(&i, &count)
		stored = append(stored, i)
		return err
	}, `SELECT part, parts FROM answer_part JOIN batch USING (request) WHERE request = ? ORDER BY part`, request[:])
	if err != nil {
		return nil, 0, fmt.Errorf("look up parts of answer: %w", err)
	}
	return stored, count, nil
}

// AnswerPart returns a stored part of the answer to a batch.
func (l *Ledger) AnswerPart(ctx context.Context, request statement.SHA256, part int) (data []byte, found bool, err error) {
	data, found, err = answer(l.db.Read().QueryRowContext(ctx, selectPart, request[:], part))
	if err != nil {
		return nil, false, fmt.Errorf("look up part of answer: %w", err)
	}
	return data, found, nil
}

// batchDetails reads the rows that belong to a record of a batch.
func (l *Ledger) batchDetails(ctx context.Context, r *Record) error {
	b := new(Batch)
	row := l.db.Read().QueryRowContext(ctx, `SELECT format, key, fingerprint, signatures, parts,
		(SELECT count(*) FROM answer_part p WHERE p.request = batch.request),
		(SELECT coalesce(sum(signatures), 0) FROM answer_part p WHERE p.request = batch.request)
		FROM batch WHERE request = ?`, r.Request[:])
	if err := row.Scan(&b.Format, &b.Key, &b.Fingerprint, &b.Signatures, &b.Parts, &b.StoredParts, &b.Stored); err != nil {
		return err
	}
	r.Batch = b
	return l.statements(ctx, r, "batch_statement")
}
