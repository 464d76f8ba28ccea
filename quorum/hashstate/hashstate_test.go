package hashstate_test

import (
	"bytes"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/hashstate"
)

func stateOf(t interface{ Fatal(...any) }, a hashstate.Algorithm, data []byte) hashstate.State {
	h := a.New()
	h.Write(data)
	st, err := hashstate.Of(a, h)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

var algorithms = []hashstate.Algorithm{hashstate.SHA256, hashstate.SHA512}

// Whatever the split point, going on from the state gives the digest of the whole.
func TestResumedHashEqualsWholeHash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(algorithms).Draw(t, "algorithm")
		data := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data")
		at := rapid.IntRange(0, len(data)).Draw(t, "at")

		st := stateOf(t, a, data[:at])
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		back, err := hashstate.Decode(a, text)
		if err != nil {
			t.Fatal(err)
		}
		if !back.Equal(st) {
			t.Fatalf("decoded %s differs", text)
		}
		h, err := back.Resume()
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data[at:])
		want := a.New()
		want.Write(data)
		if !bytes.Equal(h.Sum(nil), want.Sum(nil)) {
			t.Fatal("resumed digest differs from the digest of the whole")
		}
	})
}

func TestSumLeavesTheStateAsItIs(t *testing.T) {
	for _, a := range algorithms {
		st := stateOf(t, a, []byte("some bytes"))
		first, err := st.Sum()
		if err != nil {
			t.Fatal(err)
		}
		h, err := st.Resume()
		if err != nil {
			t.Fatal(err)
		}
		h.Write([]byte("more"))
		second, err := st.Sum()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: finalising or resuming changed the state", a)
		}
	}
}

func TestSignstarFormRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data")
		st := stateOf(t, hashstate.SHA512, data)
		b, err := st.Signstar()
		if err != nil {
			t.Fatal(err)
		}
		back, err := hashstate.FromSignstar(b)
		if err != nil {
			t.Fatal(err)
		}
		if !back.Equal(st) {
			t.Fatal("state differs after the round trip")
		}
	})
}

// The form written out by hand from its description, so that a mistake made
// both ways is seen: 130 bytes are one full block and two bytes of tail.
func TestSignstarFormByHand(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 130)
	h := sha512.New()
	h.Write(data)
	goState, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i := 4; i < 68; i += 8 {
		want = binary.LittleEndian.AppendUint64(want, binary.BigEndian.Uint64(goState[i:]))
	}
	want = append(want, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // one full block
	want = append(want, 2, 7, 7)
	want = append(want, make([]byte, 125)...)
	got, err := stateOf(t, hashstate.SHA512, data).Signstar()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	if _, err := stateOf(t, hashstate.SHA256, data).Signstar(); err == nil {
		t.Error("a sha256 state was written in the sha512 form")
	}
}

func TestBadStatesAreRefusedByField(t *testing.T) {
	h32, h64 := strings.Repeat("ab", 32), strings.Repeat("ab", 64)
	cases := []struct {
		name, a, json, want string
	}{
		{"short h", "sha256", `{"h":"abcd","tail":"","length":0}`, "h has 2 bytes"},
		{"h of the other algorithm", "sha256", `{"h":"` + h64 + `","tail":"","length":0}`, "h has 64 bytes"},
		{"upper-case h", "sha256", `{"h":"` + strings.ToUpper(h32) + `","tail":"","length":0}`, "h is not lower-case hex"},
		{"tail too short", "sha512", `{"h":"` + h64 + `","tail":"","length":5}`, "tail has 0 bytes"},
		{"tail too long", "sha512", `{"h":"` + h64 + `","tail":"AAAA","length":2}`, "tail has 3 bytes"},
		{"tail not canonical", "sha256", `{"h":"` + h32 + `","tail":"AB==","length":1}`, "tail is not canonical"},
		{"tail with a line break", "sha256", `{"h":"` + h32 + `","tail":"AA=\n=","length":1}`, "tail is not canonical"},
		{"length missing", "sha256", `{"h":"` + h32 + `","tail":""}`, "length is missing"},
		{"length negative", "sha256", `{"h":"` + h32 + `","tail":"","length":-64}`, "length"},
		{"length too large", "sha256", `{"h":"` + h32 + `","tail":"","length":2305843009213693952}`, "beyond 2^61"},
		{"unknown field", "sha256", `{"h":"` + h32 + `","tail":"","length":0,"x":1}`, "unknown"},
		{"name in another case", "sha256", `{"H":"` + h32 + `","tail":"","length":0}`, "unknown"},
		{"h twice", "sha256", `{"h":"00","h":"` + h32 + `","tail":"","length":0}`, "duplicate"},
		{"bytes behind the object", "sha256", `{"h":"` + h32 + `","tail":"","length":0} 1`, "invalid"},
		{"not an object", "sha256", `null`, "length is missing"},
		{"length with an exponent", "sha256", `{"h":"` + h32 + `","tail":"","length":64e0}`, "length"},
		{"unknown algorithm", "md5", `{"h":"","tail":"","length":0}`, "unknown algorithm"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := hashstate.Decode(hashstate.Algorithm(c.a), []byte(c.json))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestBadSignstarStatesAreRefused(t *testing.T) {
	good, err := stateOf(t, hashstate.SHA512, []byte("abc")).Signstar()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func([]byte) []byte{
		"want 208":        func(b []byte) []byte { return b[:207] },
		"block count":     func(b []byte) []byte { b[79] = 1; return b },
		"position":        func(b []byte) []byte { b[80] = 128; return b },
		"behind its posi": func(b []byte) []byte { b[207] = 1; return b },
	}
	for want, breakIt := range cases {
		if _, err := hashstate.FromSignstar(breakIt(bytes.Clone(good))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("sha256", []byte(`{"h":"`+strings.Repeat("00", 32)+`","tail":"","length":0}`))
	f.Add("sha256", []byte(`{"h":"`+strings.Repeat("00", 32)+`","tail":"","length":064}`))
	f.Add("sha256", []byte(`{"h":"`+strings.Repeat("00", 32)+`","tail":"YQ=\n=","length":1}`))
	f.Add("sha512", []byte(`{"h":"`+strings.Repeat("aF", 64)+`","tail":"YQ==","length":1}`))
	f.Fuzz(func(t *testing.T, a string, data []byte) {
		st, err := hashstate.Decode(hashstate.Algorithm(a), data)
		// White space makes no difference in JSON, but it is not what is written here.
		spaced, errSpaced := hashstate.Decode(hashstate.Algorithm(a), append([]byte(" "), data...))
		if (err == nil) != (errSpaced == nil) || !reflect.DeepEqual(st, spaced) {
			t.Fatalf("%+v (%v), with a space %+v (%v)", st, err, spaced, errSpaced)
		}
		if err != nil {
			return
		}
		if _, err := st.Sum(); err != nil {
			t.Fatalf("accepted state does not finalise: %v", err)
		}
	})
}

func FuzzFromSignstar(f *testing.F) {
	f.Add(make([]byte, 208))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := hashstate.FromSignstar(b)
		if err != nil {
			return
		}
		back, err := st.Signstar()
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("accepted %s, wrote %s (%v)", hex.EncodeToString(b), hex.EncodeToString(back), err)
		}
	})
}
