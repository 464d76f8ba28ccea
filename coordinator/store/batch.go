package store

import (
	"database/sql"
	"fmt"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// Part is one verified part of a batch of signatures.
type Part struct {
	Signature                     // Seq and SignedAt are those of the part; the bytes stay in the record
	Set       statement.DigestSet // what all parts together sign
	quorum.Part
}

// AddPart adds a part and reports whether all are there now. The first part of each
// number stays. With the last one the batch is a signature of the artifact like others.
func (tx *Tx) AddPart(p *Part) (complete bool, err error) {
	err = tx.exec(`INSERT OR IGNORE INTO batch
		(request_id, case_id, artifact, format, key, sha256, sha512, fingerprint, seq, parts, signatures, digests) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RequestID[:], p.Case[:], p.Artifact, string(p.Format), p.Key, p.Digests.SHA256[:], p.Digests.SHA512[:], p.Fingerprint, p.Seq,
		p.Part.Count, p.Set.Len(), []byte(p.Set.Signable().Value))
	if err != nil {
		return false, err
	}
	err = tx.exec("INSERT OR IGNORE INTO batch_part (request_id, part, seq, signed_at) VALUES (?, ?, ?, ?)", p.RequestID[:], p.Index, p.Seq, nanos(p.SignedAt))
	if err != nil {
		return false, err
	}
	whole := p.Signature
	var have int
	var last int64
	err = one(tx, []any{&have, &last, &whole.Seq}, `SELECT count(1), max(p.signed_at), b.seq FROM batch b JOIN batch_part p ON p.request_id = b.request_id
		WHERE b.request_id = ?`, p.RequestID[:])
	if err != nil || have < p.Part.Count {
		return false, err
	}
	// It is signed from the first part on: so its place is that one's.
	whole.SignedAt, whole.Signature = instant(last), []byte{}
	return true, tx.AddSignature(&whole)
}

const partial = "(SELECT count(1) FROM batch_part p WHERE p.request_id = b.request_id)"

// PartialBatches reads the batches of a case of which some parts are there and others
// not, as signatures without bytes.
func (tx *Tx) PartialBatches(id CaseID) (list []Signature, err error) {
	err = each(tx, func(r *sql.Rows) error {
		s := Signature{Case: id}
		var sha256, sha512 []byte
		err := r.Scan(&s.Artifact, &s.Format, &s.Key, &sha256, &sha512, &s.Seq)
		copy(s.Digests.SHA256[:], sha256)
		copy(s.Digests.SHA512[:], sha512)
		list = append(list, s)
		return err
	}, "SELECT artifact, format, key, sha256, sha512, seq FROM batch b WHERE case_id = ? AND "+partial+" < b.parts ORDER BY seq", id[:])
	return list, err
}

// BatchSet is what the signatures of a batch are over, in their order; or
// [ErrNotFound], if no part of it is there.
func (db *DB) BatchSet(request statement.SHA256) (set statement.DigestSet, err error) {
	var value []byte
	if err := one(db, []any{&value}, "SELECT digests FROM batch WHERE request_id = ?", request[:]); err != nil {
		return set, err
	}
	if set, err = statement.ParseDigestSet(value); err != nil {
		return set, fmt.Errorf("stored batch %s: %w", request, err)
	}
	return set, nil
}

// BatchPart reads the signatures of a part from the record, or [ErrNotFound].
func (db *DB) BatchPart(request statement.SHA256, index int) ([][]byte, error) {
	var seq uint64
	if err := one(db, []any{&seq}, "SELECT seq FROM batch_part WHERE request_id = ? AND part = ?", request[:], index); err != nil {
		return nil, err
	}
	m, err := db.MessageAt(seq)
	if err != nil {
		return nil, err
	}
	a, err := quorum.ParseAnswer(m.Raw)
	if err != nil {
		return nil, fmt.Errorf("recorded answer %d: %w", seq, err)
	}
	return a.Signatures[0].Values, nil
}
