package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"quorate/quorum/statement"
)

func answer(row *sql.Row) (data []byte, found bool, err error) {
	var want []byte
	err = row.Scan(&data, &want)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case !bytes.Equal(sum(data), want):
		return nil, false, errDamaged
	}
	return data, true, nil
}

// page is how many records are read at a time, so that no transaction stays open
// while a caller thinks.
const page = 256

// Records calls yield for each stored answer and each batch of which a part is
// stored, the oldest first, without the answers' bytes. It stops at the first error.
func (l *Ledger) Records(ctx context.Context, yield func(Record) error) error {
	last := &Record{}
	for {
		records, err := l.recordsAfter(ctx, last)
		if err != nil {
			return fmt.Errorf("read ledger: %w", err)
		}
		for i := range records {
			if err := l.details(ctx, &records[i]); err != nil {
				return fmt.Errorf("read ledger: %w", err)
			}
			if err := yield(records[i]); err != nil {
				return err
			}
			last = &records[i]
		}
		if len(records) < page {
			return nil
		}
	}
}

func (l *Ledger) recordsAfter(ctx context.Context, last *Record) (records []Record, err error) {
	err = scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var r Record
		var version int64
		var batch bool
		err := rows.Scan(digest(r.Request[:]), &r.Channel, &r.Target, &r.Stage, &r.Artifact, digest(r.SHA256[:]), digest(r.SHA512[:]),
			&version, digest(r.PolicyDigest[:]), digest(r.Evidence[:]), clock{&r.At}, &batch)
		if r.PolicyVersion = uint64(version); batch {
			r.Batch = new(Batch)
		}
		records = append(records, r)
		return err
	}, `SELECT request, channel, target, stage, artifact, sha256, sha512, policy_version, policy_digest, evidence, at, 0
		FROM answer WHERE (at, request) > (?1, ?2)
		UNION ALL
		SELECT request, channel, target, stage, artifact, sha256, sha512, policy_version, policy_digest, evidence, at, 1
		FROM batch WHERE (at, request) > (?1, ?2)
		ORDER BY at, request LIMIT ?3`, stamp(last.At), last.Request[:], page)
	return records, err
}

// details reads the rows that belong to a record.
func (l *Ledger) details(ctx context.Context, r *Record) error {
	if r.Batch != nil {
		return l.batchDetails(ctx, r)
	}
	err := scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var s Signature
		err := rows.Scan(&s.Format, &s.Key, &s.Fingerprint, &s.Bytes, clock{&s.SignedAt})
		r.Signatures = append(r.Signatures, s)
		return err
	}, `SELECT format, key, fingerprint, bytes, signed_at FROM signature WHERE request = ? ORDER BY format, key`, r.Request[:])
	if err != nil {
		return err
	}
	return l.statements(ctx, r, "statement")
}

func (l *Ledger) statements(ctx context.Context, r *Record, table string) error {
	return scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var id statement.SHA256
		err := rows.Scan(digest(id[:]))
		r.Statements = append(r.Statements, id)
		return err
	}, `SELECT statement FROM `+table+` WHERE request = ? ORDER BY statement`, r.Request[:])
}

// Refusals calls yield for each recorded no, the oldest first.
func (l *Ledger) Refusals(ctx context.Context, yield func(Refusal) error) error {
	err := scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var r Refusal
		err := rows.Scan(digest(r.Request[:]), &r.Channel, &r.Target, &r.Artifact, digest(r.SHA256[:]), &r.Code, &r.Message, clock{&r.At})
		if err != nil {
			return err
		}
		return yield(r)
	}, `SELECT request, channel, target, artifact, sha256, code, message, at FROM refusal ORDER BY seq`)
	if err != nil {
		return fmt.Errorf("read refusals: %w", err)
	}
	return nil
}

// Commitments calls yield for each bound name, in the order of the names.
func (l *Ledger) Commitments(ctx context.Context, yield func(Commitment) error) error {
	err := scan(ctx, l.db.Read(), func(rows *sql.Rows) error {
		var c Commitment
		err := rows.Scan(&c.Channel, &c.Target, &c.Artifact, digest(c.SHA256[:]), digest(c.SHA512[:]), &c.Stage, digest(c.Request[:]), clock{&c.At})
		if err != nil {
			return err
		}
		return yield(c)
	}, `SELECT channel, target, artifact, sha256, sha512, stage, request, at FROM commitment ORDER BY channel, target, artifact`)
	if err != nil {
		return fmt.Errorf("read commitments: %w", err)
	}
	return nil
}

func scan(ctx context.Context, q querier, each func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func sum(data []byte) []byte {
	s := sha256.Sum256(data)
	return s[:]
}

const layout = "2006-01-02T15:04:05.000000000Z" // of equal length, so that text sorts as time

func stamp(t time.Time) string { return t.UTC().Format(layout) }

// digest scans a blob of exactly that many bytes.
type digest []byte

func (d digest) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(d) {
		return fmt.Errorf("column holds no digest of %d bytes", len(d))
	}
	copy(d, b)
	return nil
}

// clock scans a time.
type clock struct{ t *time.Time }

func (c clock) Scan(src any) error {
	s, ok := src.(string)
	if !ok {
		return fmt.Errorf("column holds %T, want the text of a time", src)
	}
	var err error
	*c.t, err = time.Parse(layout, s)
	return err
}
