package coordinator

import (
	"fmt"
	"net/http"

	"quorate/coordinator/store"
	"quorate/internal/sigcheck"
	"quorate/quorum"
)

// batchFile writes the file of a batch: a line for each digest, in the order of the
// set. The signatures are read from the record, part by part.
func (c *Coordinator) batchFile(r *http.Request, s *store.Signature) ([]byte, error) {
	end, err := c.turn(r)
	if err != nil {
		return nil, err
	}
	defer end()
	set, err := c.db.BatchSet(s.RequestID)
	if err != nil {
		return nil, fmt.Errorf("batch %s: %w", s.RequestID, err)
	}
	var out []byte
	for i := range quorum.PartCount(set.Len()) {
		values, err := c.db.BatchPart(s.RequestID, i)
		if err != nil {
			return nil, fmt.Errorf("part %d of batch %s: %w", i, s.RequestID, err)
		}
		first := i * quorum.PartSize
		for n, digest := range set.Range(first, first+len(values)) {
			out = sigcheck.AppendBatchLine(out, digest, values[n-first])
		}
	}
	return out, nil
}
