package coordinator

import (
	"context"
	"errors"
	"net/http"

	"quorate/coordinator/store"
	"quorate/coordinator/web"
	"quorate/internal/api"
	"quorate/internal/difference"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/evidence/live"
	"quorate/quorum/statement"
)

const (
	// maxDiffering bounds the artifacts of one answer. Each costs reading the lists
	// of what is in it.
	maxDiffering = 16

	// comparing is how many answers are made at once: they take more time and memory
	// than anything else that is shown.
	comparing = 2
)

// getDifferences says why an artifact differs. It is made from the statements
// each time: what it says decides nothing, so nothing of it is stored.
func (c *Coordinator) getDifferences(r *http.Request) (out api.Differences, err error) {
	t, err := c.targetOf(r)
	if err != nil {
		return out, err
	}
	name := r.URL.Query().Get("artifact")
	verdicts, err := c.db.Verdicts(t.ID, name)
	if err != nil {
		return out, err
	}
	if name != "" && len(verdicts) == 0 {
		return out, notFound("the target has no artifact %q", name)
	}
	out = api.Differences{ID: t.ID.String(), Channel: t.Channel, Target: t.Case.Target, Stage: t.Stage, Artifacts: []difference.Artifact{}}
	return out, c.explainInTurn(r.Context(), verdicts, &out)
}

// explainInTurn waits until there is room for one more comparison.
func (c *Coordinator) explainInTurn(ctx context.Context, verdicts []*quorum.Verdict, out *api.Differences) error {
	select {
	case c.comparing <- struct{}{}:
		defer func() { <-c.comparing }()
		return c.explainAll(verdicts, out)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Coordinator) explainAll(verdicts []*quorum.Verdict, out *api.Differences) error {
	statements := statementCache{c: c, read: map[statement.SHA256]*statement.Statement{}}
	for _, v := range verdicts {
		groups := difference.Groups(v)
		switch {
		case len(groups) < 2:
		case len(out.Artifacts) == maxDiffering:
			out.More++
		default:
			for i, g := range groups {
				if c.files.has(g.SHA256) {
					groups[i].File = "/v1/files/" + g.SHA256.String()
				}
			}
			out.Artifacts = append(out.Artifacts, difference.Explain(v.Artifact, groups, statements.get))
		}
	}
	return statements.err
}

// statementCache keeps the statements of one answer: most are about all of a
// target's artifacts.
type statementCache struct {
	c    *Coordinator
	read map[statement.SHA256]*statement.Statement
	err  error
}

// get returns nil for what cannot be read, or is more than is read for one answer.
func (s *statementCache) get(id statement.SHA256) *statement.Statement {
	st, known := s.read[id]
	if known || s.err != nil || len(s.read) >= 2*difference.MaxStatements {
		return st
	}
	st, err := s.c.buildOf(id)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !isAboutBytes(err) {
		s.err = err
		return nil
	}
	s.read[id] = st
	return st
}

// buildOf reads what a statement says of its build, whoever made it. What importers
// brought is looked for first, as for requests.
func (c *Coordinator) buildOf(id statement.SHA256) (*statement.Statement, error) {
	_, message, err := c.db.RawForeign(id)
	if err == nil {
		f, err := wire.ParseForeign(message)
		if err != nil {
			return nil, err // it was read before it was stored
		}
		return live.Build(f.Evidence)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	raw, err := c.db.Raw(id)
	if err != nil {
		return nil, err
	}
	return statement.Parse(raw)
}

// differencesOf says why the artifacts of a page differ; nil when none does.
func (c *Coordinator) differencesOf(ctx context.Context, artifacts []api.Artifact) (*web.Differences, error) {
	var verdicts []*quorum.Verdict
	for i := range artifacts {
		if v := &artifacts[i].Verdict; len(difference.Groups(v)) > 1 {
			verdicts = append(verdicts, v)
		}
	}
	if len(verdicts) == 0 {
		return nil, nil
	}
	var d api.Differences
	if err := c.explainInTurn(ctx, verdicts, &d); err != nil {
		return nil, err
	}
	return web.NewDifferences(&d, artifacts), nil
}
