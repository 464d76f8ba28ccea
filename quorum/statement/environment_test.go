package statement_test

import (
	"maps"
	"strings"
	"testing"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// What is inside the file and what the build ran on come back as they were said.
func TestInformationRoundTrip(t *testing.T) {
	s := sample()
	s.Artifacts[0].Manifest = []byte(`{"version":1,"members":0}`)
	s.Environment = map[string]string{"kernel": "Linux 6.12.5", "tz": "UTC"}
	got, err := statement.Sign(s, corekit.Ed25519("a"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Artifacts[0].Manifest) != `{"version":1,"members":0}` || !maps.Equal(got.Environment, s.Environment) {
		t.Errorf("manifest %s, environment %v", got.Artifacts[0].Manifest, got.Environment)
	}
}

// Information that makes no sense is passed over: a reader of an older version
// does not look at it, and must not come to another verdict.
func TestBadInformationRefusesNoVote(t *testing.T) {
	for _, manifest := range []string{`7`, `null`, `"x"`, `{"version":99}`, `[[[[]]]]`, `{"list":"` + strings.Repeat("x", 300_000) + `"}`} {
		s := sample()
		s.Artifacts[0].Manifest = []byte(manifest)
		got, err := statement.Sign(s, corekit.Ed25519("a"))
		if err != nil || !got.IsVote() || got.Artifacts[0].SHA256 != s.Artifacts[0].SHA256 {
			t.Errorf("manifest %.20s: %v", manifest, err)
		}
	}
	for internal, facts := range map[string]int{
		`7`: 0, `null`: 0, `{"environment":7}`: 0, `{"environment":{"a":1,"b":"x"}}`: 1,
		`{"environment":{"a":"line\nbreak"}}`: 0, `{"environment":{"a":"` + strings.Repeat("x", 2000) + `"}}`: 0,
	} {
		s := sample()
		s.Environment = map[string]string{"mark": "mark"}
		signed, err := statement.Sign(s, corekit.Ed25519("a"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := statement.Parse(wrap(replace(t, string(payloadOf(signed)), `{"environment":{"mark":"mark"}}`, internal)))
		if err != nil || len(got.Environment) != facts {
			t.Errorf("internalParameters %.40s: %v, %v", internal, got, err)
		}
	}
}
