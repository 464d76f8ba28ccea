package statement

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/hashstate"
)

// The JSON of in-toto Statement v1 and SLSA provenance v1, as far as it is used.
type (
	jsonStatement[P any] struct { // P: *jsonPredicate, or jsontext.Value to read it later
		Type          string        `json:"_type"`
		PredicateType string        `json:"predicateType"`
		Subject       []jsonSubject `json:"subject"`
		Predicate     P             `json:"predicate"`
	}
	jsonSubject struct {
		Name        string          `json:"name"`
		Digest      jsonDigest      `json:"digest"`
		Annotations jsonAnnotations `json:"annotations"`
	}
	jsonDigest struct {
		SHA256 string `json:"sha256"`
		SHA512 string `json:"sha512"`
	}
	jsonAnnotations struct {
		Size      *uint64                   `json:"size"`
		States    jsonStates                `json:"states"`
		Signables map[string]jsontext.Value `json:"signables"`
		Manifest  jsontext.Value            `json:"manifest,omitzero"`
	}
	jsonStates struct {
		SHA256 jsontext.Value `json:"sha256"`
		SHA512 jsontext.Value `json:"sha512"`
	}
	jsonPredicate struct {
		Status          Status              `json:"status,omitzero"`
		Reason          string              `json:"reason,omitzero"`
		BuildDefinition jsonBuildDefinition `json:"buildDefinition"`
		RunDetails      jsonRunDetails      `json:"runDetails"`
	}
	jsonBuildDefinition struct {
		BuildType    string         `json:"buildType"`
		External     jsonParameters `json:"externalParameters"`
		Internal     jsontext.Value `json:"internalParameters,omitzero"`
		Dependencies []Dependency   `json:"resolvedDependencies,omitempty"`
	}
	jsonParameters struct {
		Channel string  `json:"channel"`
		Target  string  `json:"target"`
		Stage   string  `json:"stage"`
		Source  *Source `json:"source,omitzero"`
	}
	jsonRunDetails struct {
		Builder    jsonBuilder  `json:"builder"`
		Metadata   jsonMetadata `json:"metadata"`
		Byproducts []Byproduct  `json:"byproducts,omitempty"`
	}
	jsonBuilder struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version,omitempty"`
	}
	jsonMetadata struct {
		InvocationID string `json:"invocationId,omitzero"`
		StartedOn    string `json:"startedOn"`
		FinishedOn   string `json:"finishedOn"`
	}
)

// Parse reads an envelope as received. The error is always an [*Error]. The
// result still has to be verified.
func Parse(raw []byte) (*Statement, error) {
	pae, payload, sig, err := openEnvelope(raw)
	if err != nil {
		return nil, err
	}
	js, err := readPayload(payload)
	if err != nil {
		return nil, err
	}
	s := &Statement{raw: raw, id: ID(raw), sig: sig, payload: sha256.Sum256(payload), pae: pae}
	if err := s.readPredicate(js.Predicate, js.PredicateType == PredicateNoVote); err != nil {
		return nil, err
	}
	if err := s.readSubjects(js.Subject); err != nil {
		return nil, err
	}
	return s, nil
}

// readPayload reads all at once where every name is a known one. Otherwise the
// predicate is read when it is known to be one of ours.
func readPayload(payload []byte) (js jsonStatement[*jsonPredicate], err error) {
	if unmarshalKnown(payload, &js) && js.Predicate != nil {
		return js, js.checkTypes()
	}
	var parts jsonStatement[jsontext.Value]
	if err := unmarshal(payload, &parts, ""); err != nil {
		return js, err
	}
	if err := parts.checkTypes(); err != nil {
		return js, err
	}
	if len(parts.Predicate) == 0 {
		return js, refuse(CodeBadField, "predicate", "is missing")
	}
	js = jsonStatement[*jsonPredicate]{parts.Type, parts.PredicateType, parts.Subject, new(jsonPredicate)}
	return js, unmarshal(parts.Predicate, js.Predicate, "predicate")
}

func (js *jsonStatement[P]) checkTypes() error {
	if js.Type != TypeStatement {
		return refuse(CodeStatementType, "_type", "%q, want %q", clip(js.Type), TypeStatement)
	}
	if js.PredicateType != PredicateProvenance && js.PredicateType != PredicateNoVote {
		return refuse(CodePredicateType, "predicateType", "%q is not known", clip(js.PredicateType))
	}
	return nil
}

func (s *Statement) readPredicate(p *jsonPredicate, noVote bool) error {
	def, run := p.BuildDefinition, p.RunDetails
	s.Case = Case{def.External.Channel, def.External.Target, def.External.Stage}
	s.Source, s.Dependencies, s.Byproducts = def.External.Source, def.Dependencies, run.Byproducts
	s.Environment = readEnvironment(def.Internal)
	s.Invocation, s.Version = run.Metadata.InvocationID, run.Builder.Version["quorate"]
	builder, isURN := strings.CutPrefix(run.Builder.ID, BuilderPrefix)
	s.Builder = builder
	if def.BuildType != BuildType {
		return refuse(CodeBadField, "predicate.buildDefinition.buildType", "%q, want %q", clip(def.BuildType), BuildType)
	}
	if !isURN || !ValidName(builder) {
		return refuse(CodeBadField, "predicate.runDetails.builder.id", "%q is not %sNAME", clip(run.Builder.ID), BuilderPrefix)
	}
	if err := s.Case.check("predicate.buildDefinition.externalParameters."); err != nil {
		return err
	}
	if s.Source != nil && (len(s.Source.URI) > maxSourceURI || !printable(s.Source.URI)) {
		return refuse(CodeBadField, "predicate.buildDefinition.externalParameters.source.uri", "too long or not printable")
	}
	// Both are shown in one line.
	if len(s.Invocation) > maxInvocation || !printable(s.Invocation) {
		return refuse(CodeBadField, "predicate.runDetails.metadata.invocationId", "too long or not printable")
	}
	if len(s.Version) > maxVersion || !printable(s.Version) {
		return refuse(CodeBadField, "predicate.runDetails.builder.version.quorate", "too long or not printable")
	}
	if err := s.readTimes(run.Metadata); err != nil {
		return err
	}
	return s.readStatus(p, noVote)
}

func (s *Statement) readTimes(m jsonMetadata) (err error) {
	const path = "predicate.runDetails.metadata."
	if s.Started, err = readTime(m.StartedOn, path+"startedOn"); err != nil {
		return err
	}
	if s.Finished, err = readTime(m.FinishedOn, path+"finishedOn"); err != nil {
		return err
	}
	if s.Finished.Before(s.Started) {
		return refuse(CodeBadField, path+"finishedOn", "is before startedOn")
	}
	return nil
}

// readTime reads RFC 3339 without what time.Parse lets through (a comma for the
// point, an hour of one digit). The years are those that nanoseconds since 1970
// can tell, and that JSON can write in every zone: a builder must not be able to
// break whoever stores or shows its times.
func readTime(text, path string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || strings.Contains(text, ",") || text[12] == ':' {
		return t, refuse(CodeBadField, path, "not an RFC 3339 time")
	}
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2261 {
		return t, refuse(CodeBadField, path, "the year %d is not from 1970 to 2261", t.Year())
	}
	return t, nil
}

func (s *Statement) readStatus(p *jsonPredicate, noVote bool) error {
	s.Status, s.Reason = p.Status, p.Reason
	switch {
	case !noVote && (p.Status != "" || p.Reason != ""):
		return refuse(CodeBadField, "predicate.status", "does not belong in a vote")
	case noVote && !p.Status.valid():
		return refuse(CodeBadField, "predicate.status", "%q is not known", clip(string(p.Status)))
	case len(p.Reason) > MaxReason:
		return refuse(CodeBadField, "predicate.reason", "%d bytes, at most %d", len(p.Reason), MaxReason)
	}
	return nil
}

func (s *Statement) readSubjects(subjects []jsonSubject) error {
	switch {
	case !s.IsVote() && len(subjects) > 0:
		return refuse(CodeBadField, "subject", "a statement without a vote names no artifacts")
	case s.IsVote() && len(subjects) == 0:
		return refuse(CodeBadField, "subject", "is empty")
	case len(subjects) > MaxSubjects:
		return refuse(CodeTooLarge, "subject", "%d subjects, at most %d", len(subjects), MaxSubjects)
	}
	seen := make(map[string]struct{}, len(subjects))
	s.Artifacts = make([]Artifact, len(subjects))
	for i, js := range subjects {
		if err := s.Artifacts[i].read(js, "subject["+strconv.Itoa(i)+"]."); err != nil {
			return err
		}
		if _, twice := seen[js.Name]; twice {
			return refuse(CodeDuplicateSubject, "subject["+strconv.Itoa(i)+"].name", "%q is listed twice", clip(js.Name))
		}
		seen[js.Name] = struct{}{}
	}
	return nil
}

func (a *Artifact) read(js jsonSubject, path string) error {
	a.Name = js.Name
	if !ValidArtifactName(js.Name) {
		return refuse(CodeBadField, path+"name", "%q is not a plain file name of at most %d bytes", clip(js.Name), MaxName)
	}
	if err := a.SHA256.UnmarshalText([]byte(js.Digest.SHA256)); err != nil {
		return refuse(CodeBadDigest, path+"digest.sha256", "%v", err)
	}
	if err := a.SHA512.UnmarshalText([]byte(js.Digest.SHA512)); err != nil {
		return refuse(CodeBadDigest, path+"digest.sha512", "%v", err)
	}
	if js.Annotations.Size == nil {
		return refuse(CodeBadField, path+"annotations.size", "is missing")
	}
	a.Size, a.Manifest = *js.Annotations.Size, js.Annotations.Manifest
	err := a.readSignables(js.Annotations.Signables, path)
	if err != nil {
		return err
	}
	if a.State256, err = readState(hashstate.SHA256, js.Annotations.States.SHA256, a.Size, a.SHA256[:], path); err != nil {
		return err
	}
	a.State512, err = readState(hashstate.SHA512, js.Annotations.States.SHA512, a.Size, a.SHA512[:], path)
	return err
}

// readState binds the state to the digest beside it. Without that a builder
// could vote with everybody for the digest and slip in the state of another file.
func readState(alg hashstate.Algorithm, value jsontext.Value, size uint64, digest []byte, path string) (hashstate.State, error) {
	field := func(more string) string { return path + "annotations.states." + string(alg) + more }
	if len(value) == 0 {
		return hashstate.State{}, refuse(CodeBadState, field(""), "is missing")
	}
	st, err := hashstate.Decode(alg, value)
	if err != nil {
		return st, refuse(CodeBadState, field(""), "%v", err)
	}
	sum, err := st.Sum()
	if err != nil {
		return st, refuse(CodeBadState, field(""), "%v", err)
	}
	if st.Length != size {
		return st, refuse(CodeStateMismatch, field(".length"), "%d, but the size is %d", st.Length, size)
	}
	if string(sum) != string(digest) {
		return st, refuse(CodeStateMismatch, field(""), "does not finalise to the digest beside it")
	}
	return st, nil
}

// encode writes the payload of a statement.
func encode(s *Statement) ([]byte, error) {
	p := &jsonPredicate{Status: s.Status, Reason: s.Reason,
		BuildDefinition: jsonBuildDefinition{
			BuildType:    BuildType,
			External:     jsonParameters{s.Channel, s.Target, s.Stage, s.Source},
			Internal:     encodeEnvironment(s.Environment),
			Dependencies: s.Dependencies,
		},
		RunDetails: jsonRunDetails{
			Builder: jsonBuilder{ID: BuilderPrefix + s.Builder, Version: map[string]string{"quorate": s.Version}},
			Metadata: jsonMetadata{s.Invocation,
				s.Started.UTC().Format(time.RFC3339), s.Finished.UTC().Format(time.RFC3339)},
			Byproducts: s.Byproducts,
		},
	}
	js := &jsonStatement[*jsonPredicate]{TypeStatement, PredicateProvenance, make([]jsonSubject, len(s.Artifacts)), p}
	if !s.IsVote() {
		js.PredicateType = PredicateNoVote
	}
	for i := range s.Artifacts {
		var err error
		if js.Subject[i], err = encodeSubject(&s.Artifacts[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(js, json.Deterministic(true))
}

func encodeSubject(a *Artifact) (js jsonSubject, err error) {
	js = jsonSubject{Name: a.Name, Digest: jsonDigest{a.SHA256.String(), a.SHA512.String()}}
	js.Annotations.Size, js.Annotations.Manifest = &a.Size, a.Manifest
	if js.Annotations.Signables, err = a.writeSignables(); err != nil {
		return js, err
	}
	if js.Annotations.States.SHA256, err = a.State256.MarshalJSON(); err != nil {
		return js, err
	}
	js.Annotations.States.SHA512, err = a.State512.MarshalJSON()
	return js, err
}

func (c Case) check(path string) error {
	switch {
	case !ValidName(c.Channel):
		return refuse(CodeBadField, path+"channel", "%q is not a name", clip(c.Channel))
	case !ValidTarget(c.Target):
		return refuse(CodeBadField, path+"target", "%q is not a package URL, such as pkg:generic/hello@1.0", clip(c.Target))
	case c.Stage != "" && !ValidName(c.Stage):
		return refuse(CodeBadField, path+"stage", "%q is not a name", clip(c.Stage))
	}
	return nil
}

// Check reports the first part of the case that is malformed.
func (c Case) Check() error { return c.check("") }

// ValidName reports whether s can name a channel, builder, operator, group,
// stage or key: 1 to 64 of A-Z a-z 0-9 _ -, the first a letter or digit. Such a
// name is one token of a NATS subject and one part of a path.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] == '-' || s[0] == '_' {
		return false
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// ValidTarget reports whether s has the outer form of a package URL (purl spec,
// "pkg:type/name..."): printable ASCII without spaces. It is not normalised:
// two spellings are two targets.
func ValidTarget(s string) bool {
	rest, ok := strings.CutPrefix(s, "pkg:")
	typ, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || typ == "" || name == "" || len(s) > MaxTarget {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// ValidArtifactName reports whether s can name an artifact. It refuses what could
// leave a folder or a line when the name is used as one; everything else that a
// file can be called is allowed.
func ValidArtifactName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= MaxName &&
		utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
