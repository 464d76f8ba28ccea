package ledger

import (
	"context"
	"database/sql"
	"fmt"
)

// What every request runs; it is prepared once, because SQLite takes as long to
// read these as to do them.
const (
	insertCommitment = `INSERT INTO commitment (channel, target, artifact, sha256, sha512, stage, request, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (channel, target, artifact) DO NOTHING`
	selectCommitment = `SELECT sha256, sha512, stage, request, at FROM commitment
			WHERE channel = ? AND target = ? AND artifact = ?`
	insertSignable = `INSERT INTO commitment_signable (channel, target, artifact, name, sha256, request, at)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (channel, target, artifact, name) DO NOTHING`
	selectSignable = `SELECT sha256, at FROM commitment_signable
			WHERE channel = ? AND target = ? AND artifact = ? AND name = ?`
	selectAnswer = `SELECT body, body_digest FROM answer WHERE request = ?`
	insertAnswer = `INSERT INTO answer (request, channel, target, stage, artifact, sha256, sha512,
		policy_version, policy_digest, evidence, body, body_digest, at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ` + committedSHA512 + `, ?8, ?9, ?10, ?11, ?12, ?13)
		ON CONFLICT (request) DO NOTHING`
	insertSignature = `INSERT INTO signature (request, format, key, fingerprint, bytes, signed_at)
			VALUES (?, ?, ?, ?, ?, ?)`
	insertStatement = `INSERT INTO statement (request, statement) VALUES (?, ?)`
	insertBatch     = `INSERT INTO batch (request, channel, target, stage, artifact, sha256, sha512,
		format, key, fingerprint, signatures, parts, policy_version, policy_digest, evidence, at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ` + committedSHA512 + `, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
		ON CONFLICT (request) DO NOTHING`
	insertBatchStatement = `INSERT INTO batch_statement (request, statement) VALUES (?, ?)`
	insertPart           = `INSERT INTO answer_part (request, part, signatures, body, body_digest, at)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (request, part) DO NOTHING`
	selectPart = `SELECT body, body_digest FROM answer_part WHERE request = ? AND part = ?`

	// committedSHA512 is that of the commitment, which may be none where the answer has
	// one or the other way round; the body has what was answered.
	committedSHA512 = `(SELECT c.sha512 FROM commitment c
			LEFT JOIN commitment_sha512 l USING (channel, target, artifact)
			WHERE c.channel = ?2 AND c.target = ?3 AND c.artifact = ?5
			AND (?7 = zeroblob(64) OR ?7 = c.sha512 OR ?7 = l.sha512))`
)

// querier is a database or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// prepare is called once.
func (l *Ledger) prepare(ctx context.Context) (err error) {
	l.prepared = map[string]*sql.Stmt{}
	for _, query := range []string{insertCommitment, selectCommitment, insertSignable, selectSignable,
		selectAnswer, insertAnswer, insertSignature, insertStatement,
		insertBatch, insertBatchStatement, insertPart, selectPart} {
		if l.prepared[query], err = l.db.PrepareWrite(ctx, query); err != nil {
			return fmt.Errorf("prepare ledger: %w", err)
		}
	}
	if l.lookup, err = l.db.Read().PrepareContext(ctx, selectAnswer); err != nil {
		return fmt.Errorf("prepare ledger: %w", err)
	}
	return nil
}

// LingerWhile has writes wait some milliseconds for others, to be committed together,
// for as long as worth says so.
func (l *Ledger) LingerWhile(worth func() bool) { l.db.LingerWhile(worth) }

// write runs fn in a transaction, together with what others write meanwhile.
func (l *Ledger) write(ctx context.Context, fn func(tx querier) error) error {
	return l.db.WriteGrouped(ctx, func(tx *sql.Tx) error { return fn(&transaction{tx, l.prepared}) })
}

// transaction runs what is prepared as such.
type transaction struct {
	*sql.Tx
	prepared map[string]*sql.Stmt
}

func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if s, ok := t.prepared[query]; ok {
		return t.StmtContext(ctx, s).ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s, ok := t.prepared[query]; ok {
		return t.StmtContext(ctx, s).QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}
