// Package ledger is the signer's memory: which digest an artifact's name belongs
// to, what was signed and on what evidence, and what was refused.
//
// Guarantees: for one (channel, target, artifact name) there is at most one
// digest and one value of each signable, for ever, held by the database's own
// constraints; an answer can only be stored for the digest that is committed; one
// request has one answer, or one for each part of a batch; what a call wrote is on the disk when it returns;
// nothing is changed or removed.
//
// Not guaranteed: anything against somebody who can write the file, or who puts
// an older copy of it in its place.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"quorate/internal/sqlite"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// Ledger is an open ledger. Its methods may be called concurrently, and several
// processes may have the same ledger open.
type Ledger struct {
	db       *sqlite.DB
	prepared map[string]*sql.Stmt // by their text
	lookup   *sql.Stmt            // selectAnswer, outside of transactions
}

// Commitment binds the name of an artifact to its digest. A SHA-512 of zeros says
// that none was agreed on, because nothing that is signed needs it.
type Commitment struct {
	Channel, Target, Artifact string
	Stage                     string
	SHA256                    statement.SHA256
	SHA512                    statement.SHA512
	Request                   statement.SHA256 // that asked first
	At                        time.Time
}

// OtherDigestError says that the artifact's name belongs to another digest, or to
// another value of a signable.
type OtherDigestError struct {
	Commitment // the one that stands

	What         string // differs: sha256, sha512, or the name of a signable
	Bound, Asked string // in hex; of a signable the SHA-256 of its value
}

func (e *OtherDigestError) Error() string {
	return fmt.Sprintf("ledger: %q of %s in channel %s is committed to %s %s since %s",
		e.Artifact, e.Target, e.Channel, e.What, e.Bound, e.At.Format(time.RFC3339))
}

// Record is an answer with signatures and why it was given.
type Record struct {
	Request                          statement.SHA256
	Channel, Target, Stage, Artifact string
	SHA256                           statement.SHA256
	SHA512                           statement.SHA512
	PolicyVersion                    uint64
	PolicyDigest                     statement.SHA256
	Evidence                         statement.SHA256   // digest of the evidence set
	Statements                       []statement.SHA256 // that are in it
	Signatures                       []Signature
	Batch                            *Batch // in the place of Signatures; nil: it is none
	Answer                           []byte // as it is published
	At                               time.Time
}

// Signature is one signature of a record.
type Signature struct {
	Format, Key, Fingerprint string
	Bytes                    []byte
	SignedAt                 time.Time
}

// Refusal is a recorded no.
type Refusal struct {
	Request                   statement.SHA256
	Channel, Target, Artifact string
	SHA256                    statement.SHA256
	Code, Message             string
	At                        time.Time
}

// errDamaged says that the file no longer holds what was written.
var errDamaged = errors.New("the stored answer is damaged (hint: restore nothing; check the disk, and keep the file for a closer look)")

// Commit binds the artifact's name to the digest and to the signables, or confirms
// that it is bound to them already. Of a signable that was never signed, the first
// value that comes is bound. The error is an [*OtherDigestError] if the name is
// bound to something else; then nothing of c is.
func (l *Ledger) Commit(ctx context.Context, c Commitment, signables ...quorum.SignableDigest) error {
	err := l.write(ctx, func(tx querier) error {
		// The constraint decides; only who lost by it asks what stands there.
		first, err := inserted(tx.ExecContext(ctx, insertCommitment,
			c.Channel, c.Target, c.Artifact, c.SHA256[:], c.SHA512[:], c.Stage, c.Request[:], stamp(c.At)))
		if err != nil {
			return err
		}
		if first {
			return c.bind(ctx, tx, c, signables)
		}
		have := Commitment{Channel: c.Channel, Target: c.Target, Artifact: c.Artifact}
		row := tx.QueryRowContext(ctx, selectCommitment, c.Channel, c.Target, c.Artifact)
		if err := row.Scan(digest(have.SHA256[:]), digest(have.SHA512[:]), &have.Stage, digest(have.Request[:]), clock{&have.At}); err != nil {
			return err
		}
		if err := have.admit(ctx, tx, c); err != nil {
			return err
		}
		return have.bind(ctx, tx, c, signables)
	})
	if err != nil {
		return fmt.Errorf("commit digest: %w", err)
	}
	return nil
}

// admit compares what is asked for with the commitment that stands. Where that
// has no SHA-512, the first one that comes is bound beside it.
func (have Commitment) admit(ctx context.Context, tx querier, c Commitment) error {
	none := statement.SHA512{}
	switch {
	case have.SHA256 != c.SHA256:
		return &OtherDigestError{have, "sha256", have.SHA256.String(), c.SHA256.String()}
	case have.SHA512 == c.SHA512 || c.SHA512 == none:
		return nil
	case have.SHA512 != none:
		return &OtherDigestError{have, "sha512", have.SHA512.String(), c.SHA512.String()}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO commitment_sha512 (channel, target, artifact, sha512, request, at)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (channel, target, artifact) DO NOTHING`,
		c.Channel, c.Target, c.Artifact, c.SHA512[:], c.Request[:], stamp(c.At))
	if err != nil {
		return err
	}
	row := tx.QueryRowContext(ctx, `SELECT sha512 FROM commitment_sha512 WHERE channel = ? AND target = ? AND artifact = ?`,
		c.Channel, c.Target, c.Artifact)
	if err := row.Scan(digest(have.SHA512[:])); err != nil {
		return err
	}
	if have.SHA512 != c.SHA512 {
		return &OtherDigestError{have, "sha512", have.SHA512.String(), c.SHA512.String()}
	}
	return nil
}

// Store keeps the answer to a request and returns what is stored for it: the
// given bytes, or those of an earlier answer.
func (l *Ledger) Store(ctx context.Context, r Record) (stored []byte, err error) {
	err = l.write(ctx, func(tx querier) error {
		first, err := r.insert(ctx, tx)
		if stored = r.Answer; err != nil || first {
			return err
		}
		var found bool
		if stored, found, err = answer(tx.QueryRowContext(ctx, selectAnswer, r.Request[:])); err == nil && !found {
			err = errDamaged
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store answer: %w", err)
	}
	return stored, nil
}

// insert writes nothing and returns false if the request has an answer.
func (r *Record) insert(ctx context.Context, tx querier) (first bool, err error) {
	first, err = inserted(tx.ExecContext(ctx, insertAnswer,
		r.Request[:], r.Channel, r.Target, r.Stage, r.Artifact, r.SHA256[:], r.SHA512[:],
		int64(r.PolicyVersion), r.PolicyDigest[:], r.Evidence[:], r.Answer, sum(r.Answer), stamp(r.At)))
	if err != nil || !first {
		return false, err
	}
	for _, s := range r.Signatures {
		_, err := tx.ExecContext(ctx, insertSignature, r.Request[:], s.Format, s.Key, s.Fingerprint, s.Bytes, stamp(s.SignedAt))
		if err != nil {
			return false, err
		}
	}
	for _, id := range r.Statements {
		if _, err := tx.ExecContext(ctx, insertStatement, r.Request[:], id[:]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// inserted tells whether a row that gives way to an earlier one was written.
func inserted(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// Answer returns the stored answer to a request.
func (l *Ledger) Answer(ctx context.Context, request statement.SHA256) (data []byte, found bool, err error) {
	data, found, err = answer(l.lookup.QueryRowContext(ctx, request[:]))
	if err != nil {
		return nil, false, fmt.Errorf("look up answer: %w", err)
	}
	return data, found, nil
}

// RefusalsPerHour is how many refusals are recorded within an hour. Nothing is ever
// removed from the ledger: whoever may send requests could fill the disk with
// them, and then nothing is signed any more.
const RefusalsPerHour = 1000

// AndMore is the code of the row that stands for refusals that are not recorded.
const AndMore = "and-more"

// Refuse records a no; beyond [RefusalsPerHour] it only records that there were more.
func (l *Ledger) Refuse(ctx context.Context, r Refusal) error {
	err := l.write(ctx, func(tx querier) error {
		record, err := admitRefusal(ctx, tx, &r)
		if err != nil || !record {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO refusal (request, channel, target, artifact, sha256, code, message, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			r.Request[:], r.Channel, r.Target, r.Artifact, r.SHA256[:], r.Code, r.Message, stamp(r.At))
		return err
	})
	if err != nil {
		return fmt.Errorf("record refusal: %w", err)
	}
	return nil
}

// admitRefusal reports whether a row is written: the refusal, or in its place the
// one row that stands for all that follow.
func admitRefusal(ctx context.Context, tx querier, r *Refusal) (bool, error) {
	var oldest, last string
	err := tx.QueryRowContext(ctx, `SELECT at, (SELECT code FROM refusal ORDER BY seq DESC LIMIT 1)
		FROM refusal ORDER BY seq DESC LIMIT 1 OFFSET ?`, RefusalsPerHour-1).Scan(&oldest, &last)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return true, nil
	case err != nil:
		return false, err
	case oldest <= stamp(r.At.Add(-time.Hour)), oldest > stamp(r.At):
		return true, nil // rows from a clock that was ahead must not silence the ledger until their time has come
	}
	*r = Refusal{Code: AndMore, Message: "further refusals of this hour are only in the signer's log", At: r.At}
	return last != AndMore, nil
}
