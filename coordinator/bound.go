package coordinator

import (
	"time"

	"quorate/coordinator/store"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// CodeTooMany refuses what a builder says about a case beyond the bound of [maxSaid].
const CodeTooMany statement.Code = "too-many"

// What one builder may say about one case. A decision reads all of it, and is made
// again with every batch of statements: without a bound one key takes the memory and
// the time of the coordinator, and nobody's files are signed any more. Variables,
// because tests make them small.
var (
	maxSaid      = 1000                      // statements
	maxSaidBytes = 32 << 20                  // of votes as they are stored: some 250,000 files
	maxSaidNames = 2 * statement.MaxSubjects // files that are told apart by their names: each has a verdict
)

// saying is a builder and what it speaks about.
type saying struct {
	id      store.CaseID
	builder string
}

// amount is how much there is of it, in this batch and before.
type amount struct {
	count, bytes int
	names        map[string]struct{} // nil: not read, they cannot be too many
}

// saidOf reads it once a batch.
func (a *application) saidOf(k saying) (*amount, error) {
	if s := a.said[k]; s != nil {
		return s, nil
	}
	count, bytes, err := a.tx.Said(k.id, k.builder)
	a.said[k] = &amount{count: count, bytes: bytes}
	return a.said[k], err
}

// tooMany refuses one more statement of a builder that has said so much about a case
// that there must be a fault, or a thief of its key.
func (a *application) tooMany(id store.CaseID, o *quorum.Observation) (*refusal, error) {
	s, err := a.saidOf(saying{id, o.Builder})
	if err != nil {
		return nil, err
	}
	if s.count >= maxSaid || s.bytes >= maxSaidBytes {
		return refuse(CodeTooMany, "builder %q has %d statements with %d bytes of votes about this target and stage; beyond %d or %d bytes none counts",
			o.Builder, s.count, s.bytes, maxSaid, maxSaidBytes), nil
	}
	if s.names == nil && s.bytes/store.MinVote+len(o.Files) <= maxSaidNames {
		return nil, nil
	}
	if s.names == nil {
		if s.names, err = a.tx.SaidNames(id, o.Builder); err != nil {
			return nil, err
		}
	}
	n := len(s.names)
	for i := range o.Files {
		if _, known := s.names[o.Files[i].Name]; !known {
			n++
		}
	}
	if n > maxSaidNames {
		return refuse(CodeTooMany, "builder %q would name %d files of this target and stage, at most %d", o.Builder, n, maxSaidNames), nil
	}
	return nil, nil
}

// add adds an admitted statement.
func (a *application) add(c statement.Case, o *quorum.Observation, started, finished time.Time) error {
	id := store.NewCaseID(c)
	s, err := a.saidOf(saying{id, o.Builder})
	if err != nil {
		return err
	}
	n, err := a.tx.AddStatement(id, o, started, finished)
	s.count, s.bytes = s.count+1, s.bytes+n
	for i := range o.Files {
		if s.names != nil {
			s.names[o.Files[i].Name] = struct{}{}
		}
	}
	a.dirty[id] = c
	return err
}
