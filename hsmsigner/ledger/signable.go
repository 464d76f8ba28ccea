package ledger

import (
	"context"

	"quorate/quorum"
)

// bind binds each signable beside the commitment that stands, or confirms that it
// is bound to the same value already.
func (have Commitment) bind(ctx context.Context, tx querier, c Commitment, signables []quorum.SignableDigest) error {
	for _, s := range signables {
		// The constraint decides here too.
		_, err := tx.ExecContext(ctx, insertSignable, c.Channel, c.Target, c.Artifact, s.Name, s.SHA256[:], c.Request[:], stamp(c.At))
		if err != nil {
			return err
		}
		bound := quorum.SignableDigest{Name: s.Name}
		row := tx.QueryRowContext(ctx, selectSignable, c.Channel, c.Target, c.Artifact, s.Name)
		if err := row.Scan(digest(bound.SHA256[:]), clock{&have.At}); err != nil {
			return err
		}
		if bound != s {
			return &OtherDigestError{have, s.Name, bound.SHA256.String(), s.SHA256.String()}
		}
	}
	return nil
}
