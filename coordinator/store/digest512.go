package store

import (
	"database/sql"
	"strings"

	"quorate/quorum/statement"
)

// AddSHA512 makes the artifact findable by a SHA-512 digest that was voted for.
func (tx *Tx) AddSHA512(d statement.SHA512, id CaseID, artifact string) error {
	return tx.exec("INSERT OR IGNORE INTO vote_sha512 (sha512, case_id, artifact) VALUES (?, ?, ?)", d[:], id[:], artifact)
}

// BySHA512 is [DB.ByDigest] for a SHA-512 digest.
func (db *DB) BySHA512(d statement.SHA512, f PlaceFilter, limit int) ([]Place, error) {
	return db.byDigest("sha512", d[:], f, limit)
}

// placesQuery has DIGEST for the name of the digest, which is that of a column and
// of a member of a verdict.
const placesQuery = `SELECT v.case_id, v.artifact FROM vote_DIGEST v
		JOIN target_case c ON c.id = v.case_id LEFT JOIN artifact a ON a.case_id = v.case_id AND a.name = v.artifact
		WHERE v.DIGEST = ?1 AND (?2 = '' OR c.channel = ?2) AND (?3 = '' OR c.target = ?3) AND (?4 = '' OR v.artifact = ?4) AND (?5 IS NULL OR c.stage = ?5)
		ORDER BY json_extract(a.verdict, '$.DIGEST') IS NOT lower(hex(?1)),
		CASE a.state WHEN 'signed' THEN 0 WHEN 'disputed' THEN 1 WHEN 'agreed' THEN 2 WHEN 'held' THEN 3 ELSE 4 END,
		v.case_id, v.artifact LIMIT ?6`

func (db *DB) byDigest(name string, d []byte, f PlaceFilter, limit int) (list []Place, err error) {
	query := strings.ReplaceAll(placesQuery, "DIGEST", name)
	if name == "sha256" {
		query = strings.Replace(query, "vote_sha256", "vote_digest", 1) // the older of the two
	}
	err = each(db, func(r *sql.Rows) error {
		var p Place
		var id []byte
		if err := r.Scan(&id, &p.Artifact); err != nil {
			return err
		}
		copy(p.Case[:], id)
		list = append(list, p)
		return nil
	}, query, d, f.Channel, f.Target, f.Name, f.Stage, limit)
	return list, err
}
