package quorum_test

import (
	"testing"
	"time"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// noon is when the first statement of a test arrives.
var noon = corekit.Epoch

func load(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Load([]byte(text), noon)
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return p
}

// twoOfThree is channel core with the quorum of two out of berlin, osaka and
// reading, and further lines.
func twoOfThree(lines ...string) string {
	return corekit.Head + corekit.Operators("berlin", "osaka", "reading", "outsider") +
		corekit.Group("distro", "2", "berlin", "osaka", "reading") + corekit.Channel("distro", lines...)
}

// digest is a digest of which every byte is b.
func digest(b byte) (d statement.SHA256) {
	for i := range d {
		d[i] = b
	}
	return d
}

func sum512(b byte) (d statement.SHA512) {
	for i := range d {
		d[i] = b
	}
	return d
}

// file is a vote for bytes called b.
func file(name string, b byte) quorum.File {
	return quorum.File{Name: name, SHA256: digest(b), SHA512: sum512(b)}
}

// textSignable is a vote for a text called b.
func textSignable(b byte) []quorum.SignableDigest {
	return []quorum.SignableDigest{{Name: statement.TextState, SHA256: digest(0x70 + b)}}
}

// record is the statements of a case as they arrive, a minute apart.
type record []quorum.Observation

func (r *record) add(operator string, status statement.Status, files ...quorum.File) *quorum.Observation {
	n := len(*r)
	o := quorum.Observation{Operator: operator, Builder: operator, Seq: uint64(n + 1),
		Received: noon.Add(time.Duration(n) * time.Minute), Status: status, Files: files}
	o.ID[0], o.ID[1], o.ID[2] = 0xee, byte(n>>8), byte(n)
	o.Payload[0], o.Payload[1], o.Payload[2] = 0xff, byte(n>>8), byte(n)
	*r = append(*r, o)
	return &(*r)[n]
}

// judge decides on file f.
func (r record) judge(t testing.TB, p *policy.Policy, signed map[string]quorum.Signature, at time.Time) quorum.Verdict {
	t.Helper()
	verdicts := quorum.Decide(p.Channel("core"), r, signed, at)
	for _, v := range verdicts {
		if v.Artifact == "f" {
			return v
		}
	}
	t.Fatalf("no verdict on f among %d", len(verdicts))
	return quorum.Verdict{}
}

func wantState(t *testing.T, v quorum.Verdict, state quorum.State, reason quorum.Reason) {
	t.Helper()
	if v.State != state || v.Reason != reason {
		t.Errorf("%s (%s), want %s (%s)", v.State, v.Reason, state, reason)
	}
}
