package kinds_test

import (
	"testing"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/kinds"
)

func TestRead(t *testing.T) {
	for _, k := range evidence.Kinds {
		if _, err := kinds.Read(evidence.Bundle{Kind: k}, kinds.Keys{}, time.Time{}); err == nil {
			t.Errorf("%s: nothing is read as something", k)
		}
	}
	if _, err := kinds.Read(evidence.Bundle{Kind: "other", Body: []byte("x")}, kinds.Keys{}, time.Time{}); err == nil {
		t.Error("an unknown kind is read")
	}
}

func FuzzDetect(f *testing.F) {
	f.Add("a.buildinfo", []byte("Format: 1.0\n"))
	f.Add("a", []byte(`{"signed":{"products":{}},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		k, ok := kinds.Detect(name, body)
		if !ok {
			return
		}
		b := evidence.Bundle{Kind: k, Body: body}
		if k == evidence.GuixSigs {
			b.Path, b.Signature = "r/n/s.SHA256SUMS", []byte("x")
		}
		s, err := kinds.Read(b, kinds.Keys{}, time.Time{})
		if err == nil && len(s.Accepted(evidence.Accept{ExpiredSince: true, RevokedSince: true})) > 0 {
			t.Errorf("accepted without a key: %+v", s)
		}
	})
}
