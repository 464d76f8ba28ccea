package statement_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"quorate/quorum/hashstate"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

const (
	pathParameters = "predicate.buildDefinition.externalParameters."
	pathMetadata   = "predicate.runDetails.metadata."
)

func TestWhatIsNoStatementIsRefused(t *testing.T) {
	good := string(corekit.Must(statement.Sign(sample(), corekit.Ed25519("a"))).Raw())
	sig := base64.StdEncoding.EncodeToString(make([]byte, 64))
	cases := []struct {
		name, raw string
		code      statement.Code
		field     string
	}{
		{"an empty message", "", statement.CodeBadJSON, ""},
		{"the message was cut off", good[:len(good)-1], statement.CodeBadJSON, ""},
		{"an HTML error page", "<html>502</html>", statement.CodeBadJSON, ""},
		{"null", "null", statement.CodePayloadType, "payloadType"},
		{"a list of statements", "[" + good + "]", statement.CodeBadField, ""},
		{"two statements glued together", good + good, statement.CodeBadJSON, ""},
		{"bytes behind the envelope", good + "x", statement.CodeBadJSON, ""},
		{"two megabytes", `{"x":"` + strings.Repeat("a", 2<<20) + `"}`, statement.CodeTooLarge, ""},
		{"text that is not UTF-8", replace(t, good, `{"payload":`, "{\"x\":\"\xff\",\"payload\":"), statement.CodeBadJSON, "x"},
		{"payload twice", replace(t, good, `{"payload":`, `{"payload":"","payload":`), statement.CodeBadJSON, "payload"},
		{"payload twice, once in another case", replace(t, good, `{"payload":`, `{"Payload":"","payload":`), statement.CodeBadJSON, "payload"},
		{"payload is a number", `{"payload":1}`, statement.CodeBadField, "payload"},
		{"a payload of another kind", replace(t, good, statement.PayloadType, "text/plain"), statement.CodePayloadType, "payloadType"},
		{"no signature at all", string(envelope(statement.PayloadType, "{}")), statement.CodeBadEnvelope, "signatures"},
		{"two signatures", string(envelope(statement.PayloadType, "{}", sig, sig)), statement.CodeBadEnvelope, "signatures"},
		{"an empty signature", string(envelope(statement.PayloadType, "{}", "")), statement.CodeBadEnvelope, "signatures[0].sig"},
		{"a signature that is not base64", string(envelope(statement.PayloadType, "{}", "%%")), statement.CodeBadEnvelope, "signatures[0].sig"},
		{"sig is a number", `{"payloadType":"x","signatures":[{"sig":1}]}`, statement.CodeBadField, "signatures[0].sig"},
		{"a payload that is not base64", `{"payload":"!","payloadType":"` + statement.PayloadType + `","signatures":[{"sig":"AA=="}]}`, statement.CodeBadEnvelope, "payload"},
		{"a payload that is not JSON", string(wrap("not json")), statement.CodeBadJSON, ""},
		{"an empty payload", string(wrap("")), statement.CodeBadJSON, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := statement.Parse([]byte(c.raw))
			wantRefusal(t, err, c.code, c.field)
			if s != nil {
				t.Error("a statement came with the refusal")
			}
		})
	}
}

// edits are changes of a good payload, each of which makes it bad.
func edits(t *testing.T) []struct {
	name, old, with string
	code            statement.Code
	field           string
} {
	one := corekit.Artifact("zlib-debug.pkg.tar.zst", "")
	subject1 := `{"name":"zlib-debug.pkg.tar.zst",`
	sum256, sum512 := one.SHA256.String(), one.SHA512.String()
	state := func(alg hashstate.Algorithm, content string) string {
		return string(corekit.Must(corekit.State(alg, content).MarshalJSON()))
	}
	empty256, empty512 := `"sha256":`+state("sha256", ""), `"sha512":`+state("sha512", "")
	long := strings.Repeat("n", statement.MaxName+1)
	return []struct {
		name, old, with string
		code            statement.Code
		field           string
	}{
		{"a statement of another version", statement.TypeStatement, "https://in-toto.io/Statement/v0.1", statement.CodeStatementType, "_type"},
		{"an unknown predicate", statement.PredicateProvenance, "https://slsa.dev/verification_summary/v1", statement.CodePredicateType, "predicateType"},
		{"another build type", statement.BuildType, "https://example.org/build", statement.CodeBadField, "predicate.buildDefinition.buildType"},
		{"the builder is a URL", statement.BuilderPrefix, "https://", statement.CodeBadField, "predicate.runDetails.builder.id"},
		{"the builder's name is a wildcard", statement.BuilderPrefix + "arch-berlin-1", statement.BuilderPrefix + "*", statement.CodeBadField, "predicate.runDetails.builder.id"},

		{"a file listed twice", one.Name, corekit.File, statement.CodeDuplicateSubject, "subject[1].name"},
		{"a file without a name", one.Name, "", statement.CodeBadField, "subject[1].name"},
		{"a file in a folder", one.Name, "a/b", statement.CodeBadField, "subject[1].name"},
		{"a file called ..", one.Name, "..", statement.CodeBadField, "subject[1].name"},
		{"a file called .", one.Name, ".", statement.CodeBadField, "subject[1].name"},
		{"a file name with NUL", one.Name, `a\u0000`, statement.CodeBadField, "subject[1].name"},
		{"a file name with a line break", one.Name, `a\nb`, statement.CodeBadField, "subject[1].name"},
		{"a file name with an escape sequence", one.Name, `\u001b[2J`, statement.CodeBadField, "subject[1].name"},
		{"a file name with a C1 control", one.Name, `a\u0085b`, statement.CodeBadField, "subject[1].name"},
		{"a file name of 256 bytes", one.Name, long, statement.CodeBadField, "subject[1].name"},
		{"a subject that is a string", subject1, `"x",` + subject1, statement.CodeBadField, "subject[1]"},
		{"the same key twice in a subject", subject1, subject1 + `"name":"other",`, statement.CodeBadJSON, "subject[1].name"},
		{"the same key twice, once in another case", subject1, subject1 + `"Name":"other",`, statement.CodeBadJSON, "subject[1].Name"},

		{"a digest that is too short", sum256, sum256[:62], statement.CodeBadDigest, "subject[1].digest.sha256"},
		{"a digest in upper case", sum256, strings.ToUpper(sum256), statement.CodeBadDigest, "subject[1].digest.sha256"},
		{"a digest that is not hex", sum256, strings.Repeat("x", 64), statement.CodeBadDigest, "subject[1].digest.sha256"},
		{"a SHA-512 digest that is too long", sum512, sum512 + "00", statement.CodeBadDigest, "subject[1].digest.sha512"},
		{"no SHA-512 digest", `,"sha512":"` + sum512 + `"`, "", statement.CodeBadDigest, "subject[1].digest.sha512"},
		{"the digest of another file", sum256, strings.Repeat("0", 64), statement.CodeStateMismatch, "subject[1].annotations.states.sha256"},

		{"the state of another file", empty512, `"sha512":` + state("sha512", "")[:6] + strings.Repeat("0", 128) + state("sha512", "")[134:], statement.CodeStateMismatch, "subject[1].annotations.states.sha512"},
		{"the state of a longer file", empty256, `"sha256":` + state("sha256", "x"), statement.CodeStateMismatch, "subject[1].annotations.states.sha256.length"},
		{"a state that is null", empty256, `"sha256":null`, statement.CodeBadState, "subject[1].annotations.states.sha256"},
		{"no SHA-512 state", "," + empty512, "", statement.CodeBadState, "subject[1].annotations.states.sha512"},
		{"a state with a key in another case", empty512, strings.Replace(empty512, `"h"`, `"H"`, 1), statement.CodeBadState, "subject[1].annotations.states.sha512"},
		{"the same key twice in a state", empty512, strings.Replace(empty512, `{"h"`, `{"h":"","h"`, 1), statement.CodeBadJSON, "subject[1].annotations.states.sha512.h"},
		{"a size that is not the state's", `"size":0`, `"size":1`, statement.CodeStateMismatch, "subject[1].annotations.states.sha256.length"},
		{"a negative size", `"size":0`, `"size":-1`, statement.CodeBadField, "subject[1].annotations.size"},
		{"no size", `"size":0,`, "", statement.CodeBadField, "subject[1].annotations.size"},
		{"a signable that nobody knows", `"size":0,`, `"size":0,"x":1,`, "", ""}, // unknown fields are passed over

		{"a channel that is a wildcard", `"channel":"core"`, `"channel":">"`, statement.CodeBadField, pathParameters + "channel"},
		{"a channel with a dot", `"channel":"core"`, `"channel":"core.x"`, statement.CodeBadField, pathParameters + "channel"},
		{"no channel", `"channel":"core",`, ``, statement.CodeBadField, pathParameters + "channel"},
		{"a target that is no package URL", corekit.Target, "zlib", statement.CodeBadField, pathParameters + "target"},
		{"a target with a space", corekit.Target, "pkg:alpm/a b", statement.CodeBadField, pathParameters + "target"},
		{"a target of 513 bytes", corekit.Target, "pkg:a/" + strings.Repeat("b", statement.MaxTarget-5), statement.CodeBadField, pathParameters + "target"},
		{"a stage with a slash", `"noncodesigned"`, `"a/b"`, statement.CodeBadField, pathParameters + "stage"},
		{"the stage written Stage", `"stage"`, `"Stage"`, statement.CodeBadJSON, "predicate"},
		{"a source with a line break", "git+https://example.org/zlib", `a\nb`, statement.CodeBadField, pathParameters + "source.uri"},
		{"a source of many bytes", "git+https://example.org/zlib", strings.Repeat("a", 2049), statement.CodeBadField, pathParameters + "source.uri"},
		{"the channel is a number", `"channel":"core"`, `"channel":1`, statement.CodeBadField, pathParameters + "channel"},
		{"the same key twice, deep inside", `"channel":"core"`, `"channel":"extra","channel":"core"`, statement.CodeBadJSON, "predicate.buildDefinition.externalParameters.channel"},

		{"a start without a time zone", `"startedOn":"2026-03-01T11:59:00Z"`, `"startedOn":"2026-03-01T11:59:00"`, statement.CodeBadField, pathMetadata + "startedOn"},
		{"no end", `,"finishedOn":"2026-03-01T12:00:00Z"`, ``, statement.CodeBadField, pathMetadata + "finishedOn"},
		{"an end in another notation", "2026-03-01T12:00:00Z", "1.3.2026 12:00", statement.CodeBadField, pathMetadata + "finishedOn"},
		{"an end with a comma", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00,5Z", statement.CodeBadField, pathMetadata + "finishedOn"},
		{"an hour of one digit", "2026-03-01T12:00:00Z", "2026-03-01T9:00:00Z", statement.CodeBadField, pathMetadata + "finishedOn"},
		{"finished before started", "2026-03-01T12:00:00Z", "2026-03-01T11:58:59Z", statement.CodeBadField, pathMetadata + "finishedOn"},
		{"started in the year 0", "2026-03-01T11:59:00Z", "0000-01-01T00:00:00+23:00", statement.CodeBadField, pathMetadata + "startedOn"},
		{"finished when nanoseconds run out", "2026-03-01T12:00:00Z", "2262-01-01T00:00:00Z", statement.CodeBadField, pathMetadata + "finishedOn"},
		{"an invocation with an escape sequence", "build-arch-berlin-1", `\u001b[2J`, statement.CodeBadField, pathMetadata + "invocationId"},
		{"a version of many bytes", "0.1.0", strings.Repeat("1", 300), statement.CodeBadField, "predicate.runDetails.builder.version.quorate"},

		{"a vote with a status", `"predicate":{`, `"predicate":{"status":"failed",`, statement.CodeBadField, "predicate.status"},
		{"a vote with a reason", `"predicate":{`, `"predicate":{"reason":"x",`, statement.CodeBadField, "predicate.status"},
		{"a failed build that lists files", statement.PredicateProvenance + `"`, statement.PredicateNoVote + `"`, statement.CodeBadField, "predicate.status"},
	}
}

func TestStatementsWithABadFieldAreRefused(t *testing.T) {
	good := string(payloadOf(corekit.Must(statement.Sign(sample(), corekit.Ed25519("a")))))
	for _, c := range edits(t) {
		t.Run(c.name, func(t *testing.T) {
			_, err := statement.Parse(wrap(replace(t, good, c.old, c.with)))
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantRefusal(t, err, c.code, c.field)
		})
	}
}

func TestSignablesAreRefusedUntilAVersionKnowsThem(t *testing.T) {
	good := string(payloadOf(corekit.Sign(corekit.Vote("a", corekit.Artifact("f", "x")))))
	for _, with := range []string{`{"rpm:header":{}}`, `{"text:sha512-state":` + textState("x") + `,"rpm:header":{}}`, `{"":0}`, `{"TEXT:sha512-state":{}}`} {
		_, err := statement.Parse(wrap(replace(t, good, `"signables":{}`, `"signables":`+with)))
		wantRefusal(t, err, statement.CodeBadField, "subject[0].annotations.signables")
	}
}

func textState(text string) string {
	return string(corekit.Must(corekit.State(hashstate.SHA512, text).MarshalJSON()))
}

// TestTextState: what is kept is the one form of the value, whatever white space the
// builder put around it.
func TestTextState(t *testing.T) {
	a := corekit.Artifact("Release", "a\nb\n")
	a.Signables = corekit.Text512("a\r\nb")
	s := corekit.Sign(corekit.Vote("a", a))
	if got := s.Artifacts[0].Signable(statement.TextState); got == nil || string(got.Value) != textState("a\r\nb") || got.Digest() != statement.ID(got.Value) {
		t.Errorf("signables %v", s.Artifacts[0].Signables)
	}
	if s.Artifacts[0].Signable("x") != nil {
		t.Error("a signable that nobody gave")
	}
	good, value := string(payloadOf(s)), textState("a\r\nb")
	spaced, err := statement.Parse(wrap(replace(t, good, value, strings.ReplaceAll(value, ",", ",\n\t"))))
	if err != nil || string(spaced.Artifacts[0].Signables[0].Value) != value {
		t.Errorf("%v", err)
	}
	for name, bad := range map[string]string{
		"null":          `null`,
		"no object":     `"x"`,
		"of SHA-256":    string(corekit.Must(corekit.State(hashstate.SHA256, "x").MarshalJSON())),
		"another order": `{"length":0,"tail":"","h":"` + strings.Repeat("00", 64) + `"}`,
		"another name":  replace(t, value, `"tail"`, `"Tail"`),
		"one more":      replace(t, value, `{`, `{"x":1,`),
		"too long":      textState("a\r\nb\r\nccc"),
		"length as 4.0": replace(t, value, `"length":4`, `"length":4.0`),
		"escaped":       replace(t, value, `"tail"`, `"t\u0061il"`),
	} {
		_, err := statement.Parse(wrap(replace(t, good, value, bad)))
		var e *statement.Error
		if !errors.As(err, &e) || e.Code != statement.CodeBadSignable && e.Code != statement.CodeBadJSON {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.Signables = append(a.Signables, a.Signables[0])
	if _, err := statement.Sign(corekit.Vote("a", a), corekit.Ed25519("a")); err == nil {
		t.Error("a signable that stands twice is signed")
	}
}

func TestNoVotesWithABadFieldAreRefused(t *testing.T) {
	good := string(payloadOf(corekit.Sign(corekit.NoVote("a", statement.Failed))))
	vote := string(payloadOf(corekit.Sign(corekit.Vote("a", corekit.Artifact("f", "x")))))
	subject := vote[strings.Index(vote, `"subject":`):strings.Index(vote, `,"predicate":`)]
	cases := []struct{ name, old, with, field string }{
		{"an unknown status", `"status":"failed"`, `"status":"exploded"`, "predicate.status"},
		{"a status in upper case", `"status":"failed"`, `"status":"FAILED"`, "predicate.status"},
		{"no status", `"status":"failed",`, ``, "predicate.status"},
		{"a whole log as the reason", "said by a test", strings.Repeat("x", statement.MaxReason+1), "predicate.reason"},
		{"files in a failed build", `"subject":[]`, subject, "subject"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := statement.Parse(wrap(replace(t, good, c.old, c.with)))
			wantRefusal(t, err, statement.CodeBadField, c.field)
		})
	}
	t.Run("a build that says nothing of files", func(t *testing.T) {
		_, err := statement.Parse(wrap(replace(t, vote, subject, `"subject":[]`)))
		wantRefusal(t, err, statement.CodeBadField, "subject")
	})
	t.Run("no predicate", func(t *testing.T) {
		_, err := statement.Parse(wrap(vote[:strings.Index(vote, `,"predicate":`)] + "}"))
		wantRefusal(t, err, statement.CodeBadField, "predicate")
	})
}

func TestTooManyFilesAreRefused(t *testing.T) {
	vote := string(payloadOf(corekit.Sign(corekit.Vote("a", corekit.Artifact("f", "x")))))
	subject := vote[strings.Index(vote, `"subject":`):strings.Index(vote, `,"predicate":`)]
	for n, code := range map[int]statement.Code{statement.MaxSubjects: statement.CodeBadField, statement.MaxSubjects + 1: statement.CodeTooLarge} {
		list := "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]"
		_, err := statement.Parse(wrap(replace(t, vote, subject, `"subject":`+list)))
		field := "subject"
		if n == statement.MaxSubjects {
			field = "subject[0].name" // the count is allowed, so the first one is looked at
		}
		wantRefusal(t, err, code, field)
	}
}

// A payload that is signed in an envelope of just the limit, and one byte more.
func TestTheSizeLimitIsExact(t *testing.T) {
	raw := string(corekit.Sign(corekit.Vote("a", corekit.Artifact("f", "x"))).Raw())
	pad := func(n int) []byte { return []byte(raw + strings.Repeat(" ", n-len(raw))) }
	if _, err := statement.Parse(pad(statement.MaxEnvelope)); err != nil {
		t.Error(err)
	}
	_, err := statement.Parse(pad(statement.MaxEnvelope + 1))
	wantRefusal(t, err, statement.CodeTooLarge, "")
}

func TestAHostileFieldDoesNotFillALogLine(t *testing.T) {
	long := strings.Repeat("y", 100000)
	for _, payload := range []string{`{"_type":"` + long + `"}`, `{"` + long + `":{"x":1,"x":1}}`} {
		_, err := statement.Parse(wrap(payload))
		if err == nil || len(err.Error()) > 500 {
			t.Errorf("the error has %d bytes", len(fmt.Sprint(err)))
		}
	}
}

func TestLettersOfAllScriptsAreFileNames(t *testing.T) {
	for _, name := range []string{"ζλιβ 1.0 (final).zip", "-rf", "a\\b", "...", strings.Repeat("n", statement.MaxName)} {
		if _, err := statement.Sign(corekit.Vote("a", corekit.Artifact(name, "x")), corekit.Ed25519("a")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
