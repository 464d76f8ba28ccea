package pgpsig

import (
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/evidence/openpgp/frame"
)

// TestMPIs: what is written is canonical, and nothing else is.
func TestMPIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "value")
		b := frame.AppendMPI(frame.AppendMPI(nil, value), value)
		if err := checkMPIs(b, 2); err != nil {
			t.Fatal(err)
		}
		if checkMPIs(b, 1) == nil || checkMPIs(b, 3) == nil || checkMPIs(append(b, 0), 2) == nil {
			t.Fatal("wrong count accepted")
		}
		b[1] ^= 1 << rapid.IntRange(0, 2).Draw(t, "bit")
		if checkMPIs(b, 2) == nil {
			t.Fatal("wrong bit count accepted")
		}
	})
}
