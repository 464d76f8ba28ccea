package statement_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// manyDigests are those of n different files.
func manyDigests(n int) []statement.SHA256 {
	list := make([]statement.SHA256, n)
	for i := range list {
		list[i] = sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	return list
}

func digestsValue(list ...statement.SHA256) string {
	var b []byte
	for _, d := range list {
		b = append(b, d[:]...)
	}
	return `{"digests":"` + base64.StdEncoding.EncodeToString(b) + `"}`
}

func sortedDigests(n int) []statement.SHA256 {
	list := manyDigests(n)
	slices.SortFunc(list, func(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) })
	return list
}

// TestDigestSet: whatever the order and however often, the set is the sorted list,
// and its value is read back as the same.
func TestDigestSet(t *testing.T) {
	digest := rapid.Custom(func(t *rapid.T) (d statement.SHA256) {
		d[0], d[31] = rapid.Byte().Draw(t, "first"), rapid.ByteMax(1).Draw(t, "last")
		return d
	})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(digest, 1, 50).Draw(t, "digests")
		before := slices.Clone(list)
		set, err := statement.NewDigestSet(list)
		if err != nil || !slices.Equal(list, before) {
			t.Fatalf("%v, the list became %v", err, list)
		}
		slices.SortFunc(before, func(a, b statement.SHA256) int { return bytes.Compare(a[:], b[:]) })
		want := slices.Compact(before)
		signable := set.Signable()
		if signable.Name != "files:sha256" || string(signable.Value) != digestsValue(want...) {
			t.Fatalf("%s %s", signable.Name, signable.Value)
		}
		again, err := statement.ParseDigestSet(signable.Value)
		if err != nil || again.Len() != len(want) {
			t.Fatalf("%d digests, %v", again.Len(), err)
		}
		var seen []statement.SHA256
		for i, d := range again.Range(0, again.Len()) {
			if j, found := again.Find(d); i != len(seen) || again.At(i) != d || j != i || !found {
				t.Fatalf("number %d is %s, found %t at %d", i, d, found, j)
			}
			seen = append(seen, d)
		}
		if !slices.Equal(seen, want) {
			t.Fatalf("%v, want %v", seen, want)
		}
		other := digest.Draw(t, "other")
		if _, found := set.Find(other); found != slices.Contains(want, other) {
			t.Fatalf("%s found: %t", other, found)
		}
		first := rapid.IntRange(0, len(want)).Draw(t, "from")
		end := rapid.IntRange(first, len(want)).Draw(t, "end")
		for i, d := range set.Range(first, end) {
			if i != first || d != want[i] {
				t.Fatalf("number %d is %s, want %d", i, d, first)
			}
			first++
		}
		if first != end {
			t.Fatalf("the range ended at %d of %d", first, end)
		}
	})
}

func TestTheLimitOfDigestsIsExact(t *testing.T) {
	list := sortedDigests(statement.MaxDigests + 1)
	full := corekit.Must(statement.NewDigestSet(list[1:]))
	if again, err := statement.ParseDigestSet(full.Signable().Value); err != nil || again.Len() != statement.MaxDigests {
		t.Errorf("%d digests: %v", again.Len(), err)
	}
	// Files of one content are one digest.
	if set, err := statement.NewDigestSet(append(slices.Clone(list[1:]), list[1:]...)); err != nil || set.Len() != statement.MaxDigests {
		t.Errorf("twice %d digests: %v", set.Len(), err)
	}
	const words = "digests: 10001 different ones, want 1 to 10000"
	if _, err := statement.NewDigestSet(list); err == nil || err.Error() != words {
		t.Error(err)
	}
	if _, err := statement.NewDigestSet(nil); err == nil {
		t.Error("an empty set")
	}
	if _, err := statement.ParseDigestSet([]byte(digestsValue(list...))); err == nil || err.Error() != words {
		t.Error(err)
	}
	a := corekit.Artifact("p.pkg", "x")
	a.Signables = []statement.Signable{{Name: statement.FileDigests, Value: []byte(digestsValue(list...))}}
	_, err := statement.Sign(corekit.Vote("a", a), corekit.Ed25519("a"))
	wantRefusal(t, err, statement.CodeBadSignable, "subject[0].annotations.signables.files:sha256")
	if !strings.Contains(err.Error(), words) {
		t.Error(err)
	}
}

func TestBadDigestSetsAreRefused(t *testing.T) {
	list := sortedDigests(3)
	good := digestsValue(list...)
	inside := good[len(`{"digests":"`) : len(good)-len(`"}`)]
	a := corekit.Artifact("p.pkg", "x")
	a.Signables = []statement.Signable{corekit.Must(statement.NewDigestSet(list)).Signable()}
	payload := string(payloadOf(corekit.Sign(corekit.Vote("a", a))))
	spaced, err := statement.Parse(wrap(replace(t, payload, good, "{ \"digests\" :\n\""+inside+"\" }")))
	if err != nil || string(spaced.Artifacts[0].Signable(statement.FileDigests).Value) != good {
		t.Errorf("with white space: %v", err)
	}
	for name, c := range map[string]struct{ value, words string }{
		"null":                {`null`, "digests: is missing"},
		"an empty object":     {`{}`, "digests: is missing"},
		"a null of digests":   {`{"digests":null}`, "digests: is missing"},
		"no object":           {`"x"`, "JSON string"},
		"a list":              {`{"digests":["x"]}`, "digests"},
		"no digest":           {digestsValue(), "digests: 0 different ones"},
		"half a digest":       {`{"digests":"` + base64.StdEncoding.EncodeToString(list[0][:16]) + `"}`, "digests: 16 bytes"},
		"not base64":          {`{"digests":"` + strings.Repeat("!", 44) + `"}`, "digests: not base64"},
		"base64 for the web":  {`{"digests":"` + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)) + `"}`, "digests: not base64"},
		"without padding":     {strings.Replace(digestsValue(list[0]), "=", "", 1), "digests: not base64"},
		"bits behind the end": {`{"digests":"` + strings.Repeat("A", 42) + `B="}`, "digests: not base64"},
		"line breaks":         {`{"digests":"` + inside[:64] + `\n` + inside[64:] + `"}`, "digests: not in its one form"},
		"escaped":             {strings.Replace(good, "digests", `d\u0069gests`, 1), "digests: not in its one form"},
		"one twice":           {digestsValue(list[0], list[1], list[1]), "digests: number 2 is not greater"},
		"another order":       {digestsValue(list[1], list[0], list[2]), "digests: number 1 is not greater"},
		"another name":        {strings.Replace(good, "digests", "Digests", 1), "Digests"},
		"one more member":     {strings.Replace(good, "{", `{"x":1,`, 1), "x"},
		"a member twice":      {strings.Replace(good, "{", `{"digests":"",`, 1), "digests"},
	} {
		if set, err := statement.ParseDigestSet([]byte(c.value)); err == nil || set.Len() != 0 || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
		_, err := statement.Parse(wrap(replace(t, payload, good, c.value)))
		var e *statement.Error
		if !errors.As(err, &e) || e.Code != statement.CodeBadSignable && e.Code != statement.CodeBadJSON || !strings.Contains(e.Field, "files:sha256") {
			t.Errorf("%s in a statement: %v", name, err)
		}
	}
}

func FuzzParseDigestSet(f *testing.F) {
	f.Add([]byte(digestsValue(sortedDigests(2)...)))
	f.Add([]byte(`{"digests":""}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		set, err := statement.ParseDigestSet(value)
		if err != nil {
			return
		}
		if n := set.Len(); n < 1 || n > statement.MaxDigests || !bytes.Equal(set.Signable().Value, value) {
			t.Fatalf("%d digests, written again %s", n, set.Signable().Value)
		}
		list := make([]statement.SHA256, 0, set.Len())
		for _, d := range set.Range(0, set.Len()) {
			list = append(list, d)
		}
		if again, err := statement.NewDigestSet(list); err != nil || !bytes.Equal(again.Signable().Value, value) {
			t.Fatalf("of its digests another set is made: %v", err)
		}
	})
}

// BenchmarkParseDigests is what a statement costs by the number of digests in it:
// parsing, and the digest of its signable as votes carry it.
func BenchmarkParseDigests(b *testing.B) {
	for _, n := range []int{100, 1000, statement.MaxDigests} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			a := corekit.Artifact("p.pkg", "x")
			a.Signables = []statement.Signable{corekit.Must(statement.NewDigestSet(manyDigests(n))).Signable()}
			raw := corekit.Sign(corekit.Vote("a", a)).Raw()
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				s, err := statement.Parse(raw)
				if err != nil {
					b.Fatal(err)
				}
				s.Artifacts[0].Signables[0].Digest()
			}
			b.ReportMetric(float64(len(raw)), "envelope-bytes")
		})
	}
}
