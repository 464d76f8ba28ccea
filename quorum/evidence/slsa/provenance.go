package slsa

import (
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/strict"
	"quorate/quorum/statement"
)

type (
	resource struct {
		Name   string            `json:"name"`
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest"`
	}
	provenanceV1 struct {
		BuildDefinition struct {
			BuildType    string                    `json:"buildType"`
			External     map[string]jsontext.Value `json:"externalParameters"`
			Dependencies []resource                `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
			Metadata struct {
				FinishedOn string `json:"finishedOn"`
			} `json:"metadata"`
		} `json:"runDetails"`
	}
	provenanceV0 struct { // v0.1 and v0.2
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		BuildType string `json:"buildType"`
		Recipe    struct {
			Type string `json:"type"`
		} `json:"recipe"`
		Invocation struct {
			ConfigSource resource `json:"configSource"`
		} `json:"invocation"`
		Metadata struct {
			Finished string `json:"buildFinishedOn"`
		} `json:"metadata"`
		Materials []resource `json:"materials"`
	}
)

func readV1(s *evidence.Statement, value jsontext.Value) error {
	var p provenanceV1
	if err := readPredicate(value, &p); err != nil {
		return err
	}
	if s.Subject = p.BuildDefinition.BuildType; s.Subject == statement.BuildType {
		// Read here, a builder's own statement could be counted a second time.
		return evidence.Refuse(kind, evidence.CodeWrongKind, "predicate.buildDefinition.buildType", "this is a statement of Quorate's own kind")
	}
	for _, name := range slices.Sorted(maps.Keys(p.BuildDefinition.External)) {
		s.Environment = append(s.Environment, evidence.Var{Name: name, Value: string(p.BuildDefinition.External[name])})
	}
	return fill(s, p.RunDetails.Builder.ID, p.RunDetails.Metadata.FinishedOn, "predicate.runDetails.metadata.finishedOn", p.BuildDefinition.Dependencies)
}

func readV0(s *evidence.Statement, value jsontext.Value) error {
	var p provenanceV0
	if err := readPredicate(value, &p); err != nil {
		return err
	}
	s.Subject = p.BuildType
	if s.Subject == "" {
		s.Subject = p.Recipe.Type
	}
	if source := p.Invocation.ConfigSource; source.URI != "" {
		s.Environment = append(s.Environment, evidence.Var{Name: "configSource", Value: source.URI})
	}
	return fill(s, p.Builder.ID, p.Metadata.Finished, "predicate.metadata.buildFinishedOn", p.Materials)
}

func readPredicate(value jsontext.Value, into any) error {
	if len(value) == 0 || value.Kind() != '{' {
		return evidence.Refuse(kind, evidence.CodeBadField, "predicate", "is missing")
	}
	return strict.Unmarshal(kind, "predicate", value, into)
}

func fill(s *evidence.Statement, builder, finished, finishedField string, inputs []resource) error {
	s.Environment = append(s.Environment, evidence.Var{Name: "builder.id", Value: builder})
	if finished != "" {
		t, err := time.Parse(time.RFC3339, finished)
		if err != nil {
			return evidence.Refuse(kind, evidence.CodeBadField, finishedField, "is not an RFC 3339 time")
		}
		s.Built = t.UTC()
	}
	if len(inputs) > maxDependences {
		return evidence.Refuse(kind, statement.CodeTooLarge, "predicate", "%d inputs, at most %d", len(inputs), maxDependences)
	}
	for _, r := range inputs {
		s.Inputs = append(s.Inputs, statement.Dependency{Name: r.Name, URI: r.URI, Digest: r.Digest})
	}
	return nil
}
