package store

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
)

// projection is what two coordinators of one stream must have alike.
var projection = []string{
	"SELECT seq, subject, received, sha256, first, raw FROM record ORDER BY seq",
	"SELECT case_id, seq, id, payload, operator, builder, received, revoked, started, finished, status, reason, files FROM statement ORDER BY case_id, seq",
	"SELECT seq, id, kind, importer, origin, fetched, judged, verdicts, good FROM foreign_statement ORDER BY seq",
	"SELECT case_id, operator, made FROM foreign_latest ORDER BY case_id, operator",
	"SELECT seq, code, message FROM rejected ORDER BY seq",
	"SELECT case_id FROM dirty ORDER BY case_id",
	"SELECT id, channel, target, stage, updated, state, counts FROM target_case ORDER BY id",
	"SELECT case_id, name, state, until, verdict FROM artifact ORDER BY case_id, name",
	"SELECT sha256, case_id, artifact FROM vote_digest ORDER BY sha256, case_id, artifact",
	"SELECT sha512, case_id, artifact FROM vote_sha512 ORDER BY sha512, case_id, artifact",
	"SELECT case_id, artifact, format, key, sha256, sha512, fingerprint, signed_at, request_id, seq, signature FROM signature ORDER BY case_id, artifact, format, key",
	"SELECT request_id, case_id, artifact, format, key, sha256, sha512, fingerprint, seq, parts, signatures, digests FROM batch ORDER BY request_id",
	"SELECT request_id, part, seq, signed_at FROM batch_part ORDER BY request_id, part",
	"SELECT n / 65536, case_id, since, posted FROM listed ORDER BY case_id",
	"SELECT p.term, l.case_id FROM posting p JOIN listed l ON l.n = p.n ORDER BY p.term, l.case_id",
	"SELECT channel, state, n FROM tally WHERE n <> 0 ORDER BY channel, state",
	"SELECT builder, statements, failed, votes, agreed, differed, changed, last FROM builder_tally WHERE statements <> 0 ORDER BY builder",
	"SELECT request_id, seq, received, code, message, retryable, partly FROM answer ORDER BY request_id",
	"SELECT seq, id, message, kind, channel, target, stage, artifact, builder, maintainer, fingerprint, reason, said, received, after FROM act ORDER BY seq",
	"SELECT channel, target, stage, artifact, head, held, hold, released, withdrawn FROM act_chain ORDER BY channel, target, stage, artifact",
}

// Dump writes record and projection as text, so that two databases can be
// compared. It leaves out what a coordinator has of its own.
func (db *DB) Dump(w io.Writer) error {
	for _, q := range projection {
		if _, err := fmt.Fprintln(w, q); err != nil {
			return err
		}
		err := each(db, func(r *sql.Rows) error { return dumpRow(w, r) }, q)
		if err != nil {
			return fmt.Errorf("dump: %w", err)
		}
	}
	return nil
}

func dumpRow(w io.Writer, r *sql.Rows) error {
	names, err := r.Columns()
	if err != nil {
		return err
	}
	values, pointers := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		pointers[i] = &values[i]
	}
	if err := r.Scan(pointers...); err != nil {
		return err
	}
	for _, v := range values {
		if b, ok := v.([]byte); ok {
			v = hex.EncodeToString(b)
		}
		if _, err := fmt.Fprintf(w, "%v\t", v); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(w)
	return err
}
