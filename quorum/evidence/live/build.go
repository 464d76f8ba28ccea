package live

import (
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/kinds"
	"quorate/quorum/statement"
)

// agentNames are what our own agents call a fact that others name differently, so
// that the two can be compared.
var agentNames = map[string]string{"Build-Path": "path"}

// Build is what evidence says of the build it is about: what was installed, the
// environment, and when it ended. No signature is looked at, and nothing of it is a
// vote: the result has no files and is good for comparing builds only.
func Build(raw []byte) (*statement.Statement, error) {
	b, err := evidence.DecodeBundle(raw)
	if err != nil {
		return nil, err
	}
	s, err := kinds.Read(b, kinds.Keys{}, time.Time{})
	if err != nil {
		return nil, err
	}
	out := statement.Foreign(KindOf(s.Kind), statement.Case{}, raw, nil, nil)
	out.Dependencies, out.Finished = s.Inputs, s.Built
	for _, v := range s.Environment {
		if out.Environment == nil {
			out.Environment = map[string]string{}
		}
		name := v.Name
		if ours, ok := agentNames[name]; ok {
			name = ours
		}
		out.Environment[name] = v.Value
	}
	return out, nil
}
