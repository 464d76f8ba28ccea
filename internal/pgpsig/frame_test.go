package pgpsig

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestFraming: every packet that is written reads back, alone and in a row.
func TestFraming(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{191, 192, 8383, 8384, 70000})).Draw(t, "size")
		tag := rapid.ByteRange(0, 63).Draw(t, "tag")
		body := bytes.Repeat([]byte{0xab}, size)
		data := appendPacket(appendPacket(nil, 2, []byte("x")), tag, body)
		got, err := splitPackets(data)
		if err != nil || len(got) != 2 || got[1].tag != tag || !bytes.Equal(got[1].body, body) {
			t.Fatalf("%d packets, %v", len(got), err)
		}
		sub := appendSubpacket(nil, 20, body...)
		subs, err := parseSubpackets(sub)
		if err != nil || len(subs) != 1 || !bytes.Equal(subs[0].body, body) {
			t.Fatalf("%d subpackets, %v", len(subs), err)
		}
	})
}

// TestMPIs: what is written is canonical, and nothing else is.
func TestMPIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "value")
		b := appendMPI(appendMPI(nil, value), value)
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
