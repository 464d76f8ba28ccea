package quorum_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// admitPolicy has one builder with a rotated key, and a channel that its
// operator is not in.
func admitPolicy(t *testing.T, dates string) *policy.Policy {
	return load(t, corekit.Head+corekit.Operators("osaka", "reading", "berlin")+dates+
		"  [[operator.builder.rotated]]\n  key = \""+corekit.Text(corekit.P256("old"))+"\"\n"+
		"  not_before = 2026-01-01T00:00:00Z\n  not_after = 2026-03-01T11:00:00Z\n"+
		corekit.Group("distro", "2", "osaka", "berlin")+corekit.Channel("distro")+
		strings.Replace(corekit.Channel("reading"), `"core"`, `"extra"`, 1))
}

func TestAdmittedStatementIsObservedWhole(t *testing.T) {
	s := corekit.Vote("berlin", corekit.Artifact("a", "x"), corekit.Artifact("b", "y"))
	signed := corekit.Sign(s)
	received := noon.Add(time.Hour)
	o, err := quorum.Admit(admitPolicy(t, ""), signed, received)
	if err != nil {
		t.Fatal(err)
	}
	if o.ID != signed.ID() || o.Payload != signed.PayloadID() || o.Operator != "berlin" || o.Builder != "berlin" || o.Seq != 0 || !o.Received.Equal(received) || !o.Revoked.IsZero() || o.Status != "" {
		t.Errorf("observed %+v", o)
	}
	if len(o.Files) != 2 || !reflect.DeepEqual(o.Files[0], quorum.File{Name: "a", SHA256: s.Artifacts[0].SHA256, SHA512: s.Artifacts[0].SHA512}) || o.Files[1].Name != "b" {
		t.Errorf("files %+v", o.Files)
	}
	o, err = quorum.Admit(admitPolicy(t, ""), corekit.Sign(corekit.NoVote("berlin", statement.Withdrawn)), received)
	if err != nil || o.Status != statement.Withdrawn || o.Reason != "said by a test" || len(o.Files) != 0 {
		t.Errorf("observed %+v, %v", o, err)
	}
}

func TestStatementsThatDoNotCountAreDenied(t *testing.T) {
	const param = "predicate.buildDefinition.externalParameters."
	const builder, finished = "predicate.runDetails.builder.id", "predicate.runDetails.metadata.finishedOn"
	cases := []struct {
		name   string
		dates  string
		change func(*statement.Statement)
		key    string // label, if not the builder's
		at     time.Duration
		code   statement.Code
		field  string
	}{
		{"a channel that is not in the policy", "", func(s *statement.Statement) { s.Channel = "testing" }, "", 0, quorum.CodeUnknownChannel, param + "channel"},
		{"the channel in another case", "", func(s *statement.Statement) { s.Channel = "Core" }, "", 0, quorum.CodeUnknownChannel, param + "channel"},
		{"a builder that is not in the policy", "", func(s *statement.Statement) { s.Builder = "nobody" }, "", 0, quorum.CodeUnknownBuilder, builder},
		{"a builder that only another channel has", "", func(s *statement.Statement) { s.Channel = "extra" }, "", 0, quorum.CodeBuilderChannel, builder},
		{"a target of another distribution", "", func(s *statement.Statement) { s.Target = "pkg:deb/debian/zlib@1" }, "", 0, quorum.CodeTargetChannel, param + "target"},
		{"signed by a stranger", "", nil, "stranger", 0, statement.CodeBadSignature, "signatures[0]"},
		{"signed by another builder of the policy", "", nil, "osaka", 0, statement.CodeBadSignature, "signatures[0]"},
		{"finished eleven minutes from now", "", nil, "", -11 * time.Minute, quorum.CodeTimeInFuture, finished},
		{"finished ten minutes from now", "", nil, "", -10 * time.Minute, "", ""},
		{"before the key began", "  not_before = 2026-03-01T12:00:01Z\n", nil, "", 0, quorum.CodeKeyNotYetValid, "signatures[0]"},
		{"when the key began", "  not_before = 2026-03-01T12:00:00Z\n", nil, "", 0, "", ""},
		{"after the key ended", "  not_after = 2026-03-01T11:59:59Z\n", nil, "", 0, quorum.CodeKeyExpired, "signatures[0]"},
		{"when the key ended", "  not_after = 2026-03-01T12:00:00Z\n", nil, "", 0, "", ""},
		{"received long after the key ended, built before", "  not_after = 2026-03-01T12:00:00Z\n", nil, "", 9000 * time.Hour, "", ""},
		{"received when the key is revoked", "  revoked = 2026-03-01T13:00:00Z\n", nil, "", time.Hour, quorum.CodeKeyRevoked, "signatures[0]"},
		{"received before the key is revoked", "  revoked = 2026-03-01T13:00:00Z\n", nil, "", time.Hour - 1, "", ""},
		{"dated back with a revoked key", "  revoked = 2026-03-01T13:00:00Z\n", func(s *statement.Statement) { s.Finished = s.Started }, "", 2 * time.Hour, quorum.CodeKeyRevoked, "signatures[0]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := corekit.Vote("berlin", corekit.Artifact("a", "x"))
			if c.change != nil {
				c.change(s)
			}
			label := "berlin"
			if c.key != "" {
				label = c.key
			}
			signed := corekit.Must(statement.Sign(s, corekit.Ed25519(label)))
			o, err := quorum.Admit(admitPolicy(t, c.dates), signed, noon.Add(c.at))
			wantDenied(t, o, err, c.code, c.field)
		})
	}
}

func wantDenied(t *testing.T, o quorum.Observation, err error, code statement.Code, field string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *statement.Error
	if !errors.As(err, &e) || e.Code != code || e.Field != field {
		t.Errorf("got %v, want %s at %s", err, code, field)
	}
	if o.Operator != "" || o.Files != nil {
		t.Error("an observation came with the denial")
	}
}

func TestRotatedKeyHasDatesOfItsOwn(t *testing.T) {
	p := admitPolicy(t, "  not_before = 2026-03-01T11:30:00Z\n")
	s := corekit.Vote("berlin", corekit.Artifact("a", "x"))
	if _, err := quorum.Admit(p, corekit.Must(statement.Sign(s, corekit.P256("old"))), noon); err == nil {
		t.Error("the old key signs what was built after its end")
	}
	s.Started, s.Finished = noon.Add(-2*time.Hour), noon.Add(-time.Hour)
	if _, err := quorum.Admit(p, corekit.Must(statement.Sign(s, corekit.P256("old"))), noon); err != nil {
		t.Error(err)
	}
	if _, err := quorum.Admit(p, corekit.Must(statement.Sign(s, corekit.Ed25519("berlin"))), noon); err == nil {
		t.Error("the new key signs what was built before its begin")
	}
}

func TestFutureRevocationTravelsWithTheObservation(t *testing.T) {
	p := admitPolicy(t, "  revoked = 2026-03-01T13:00:00Z\n")
	o, err := quorum.Admit(p, corekit.Sign(corekit.Vote("berlin", corekit.Artifact("f", "x"))), noon)
	if err != nil || !o.Revoked.Equal(noon.Add(time.Hour)) {
		t.Fatalf("revoked %s, %v", o.Revoked, err)
	}
}

// A builder without keys cannot come out of Load. If it did, it must not vote.
func TestABuilderWithoutKeysAdmitsNothing(t *testing.T) {
	p := admitPolicy(t, "")
	p.Builder("berlin").Keys = nil
	o, err := quorum.Admit(p, corekit.Sign(corekit.Vote("berlin", corekit.Artifact("f", "x"))), noon)
	wantDenied(t, o, err, statement.CodeBadSignature, "signatures[0]")
}
