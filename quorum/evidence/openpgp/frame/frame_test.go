package frame_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/evidence/openpgp/frame"
)

// TestRoundTrip: every packet that is written reads back, alone and in a row.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{191, 192, 8383, 8384, 70000})).Draw(t, "size")
		tag := rapid.ByteRange(0, 63).Draw(t, "tag")
		body := bytes.Repeat([]byte{0xab}, size)
		data := frame.Append(frame.Append(nil, 2, []byte("x")), tag, body)
		got, err := frame.Split(data, 2)
		if err != nil || len(got) != 2 || got[1].Tag != tag || !got[1].Equal(frame.Make(tag, body)) || !bytes.Equal(got[1].Whole, frame.Make(tag, body).Whole) {
			t.Fatalf("%d packets, %v", len(got), err)
		}
		if _, err := frame.Split(data, 1); err == nil {
			t.Fatal("more packets than asked for")
		}
		if _, err := frame.Split(data[:len(data)-1], 2); size > 0 && !errors.Is(err, frame.ErrTruncated) {
			t.Fatalf("cut: %v", err)
		}
		b := frame.AppendLength(nil, size)
		if n, length, err := frame.SubpacketLength(b); err != nil || n != len(b) || length != uint64(size) {
			t.Fatalf("%d in %d bytes, %v", length, n, err)
		}
	})
}

func TestLengths(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		body int // -1: refused
	}{
		"old, one octet":     {[]byte{0x88, 1, 7}, 1},
		"old, two octets":    {[]byte{0x89, 0, 1, 7}, 1},
		"old, four octets":   {[]byte{0x8a, 0, 0, 0, 1, 7}, 1},
		"old, indeterminate": {[]byte{0x8b, 7}, -1},
		"new, one octet":     {[]byte{0xc2, 1, 7}, 1},
		"new, two octets":    {append([]byte{0xc2, 192, 0}, make([]byte, 192)...), 192},
		"new, five octets":   {[]byte{0xc2, 255, 0, 0, 0, 1, 7}, 1},
		"new, partial":       {[]byte{0xc2, 224, 7}, -1},
		"no packet":          {[]byte{0x42, 1, 7}, -1},
		"header only":        {[]byte{0xc2}, -1},
		"short length":       {[]byte{0xc2, 255, 0, 0}, -1},
		"longer than int32":  {[]byte{0xc2, 255, 0xff, 0xff, 0xff, 0xff, 7}, -1},
		"nothing":            {nil, -1},
	} {
		p, err := frame.Next(c.data)
		if (err == nil) != (c.body >= 0) || err == nil && (len(p.Body) != c.body || p.Tag != 2) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// FuzzSplit: packets are the data, no byte more or less, and mean the same when they
// are written again.
func FuzzSplit(f *testing.F) {
	f.Add(frame.Append(frame.Append(nil, 6, make([]byte, 200)), 13, []byte("a <a@example.org>")))
	f.Add([]byte{0x88, 1, 7})
	f.Add([]byte{0xc2, 255, 0, 0, 0, 1, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		packets, err := frame.Split(data, 100)
		if err != nil {
			return
		}
		var whole, again []byte
		for _, p := range packets {
			whole, again = append(whole, p.Whole...), frame.Append(again, p.Tag, p.Body)
			p.SignatureType()
			_, _ = p.Parse()
		}
		if !bytes.Equal(whole, data) {
			t.Error("bytes were lost")
		}
		back, err := frame.Split(again, 100)
		if err != nil || len(back) != len(packets) {
			t.Fatalf("%d packets became %d: %v", len(packets), len(back), err)
		}
		for i := range back {
			if !back[i].Equal(packets[i]) {
				t.Errorf("packet %d changed", i)
			}
		}
	})
}
