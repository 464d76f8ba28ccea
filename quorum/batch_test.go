package quorum_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

const ima = `{ format = "ima", key = "ima" }`

// inner are the digests of n files inside of the package; another seed, other files.
func inner(seed uint32, n int) statement.DigestSet {
	list := make([]statement.SHA256, n)
	for i := range list {
		list[i] = sha256.Sum256(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, seed), uint32(i)))
	}
	return corekit.Must(statement.NewDigestSet(list))
}

// packages are votes of the builders for a package with those files in it.
func packages(set statement.DigestSet, builders ...string) (list []*statement.Statement) {
	for _, b := range builders {
		a := corekit.Artifact(corekit.File, "a package")
		if set.Len() > 0 {
			a.Signables = []statement.Signable{set.Signable()}
		}
		list = append(list, corekit.Sign(corekit.Vote(b, a)))
	}
	return list
}

// TestBatchRequest: what ten operators say of the largest batch fits into a request,
// is read back and approved, and what is approved are the digests that they gave.
func TestBatchRequest(t *testing.T) {
	names := make([]string, 10)
	for i := range names {
		names[i] = fmt.Sprintf("operator-%d", i)
	}
	text := corekit.Head + corekit.Operators(names...) + corekit.Group("all", "10", names...) + corekit.Channel("all")
	p := load(t, signing(text, ima))
	set := inner(0, statement.MaxDigests)
	stmts := packages(set, names...)
	data := corekit.Must(json.Marshal(request(t, p, stmts...)))
	if len(data) > quorum.MaxRequest {
		t.Fatalf("%d bytes", len(data))
	}
	r, ref := quorum.ParseRequest(data)
	if ref != nil {
		t.Fatal(ref)
	}
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	asked, err := r.Batch()
	if err != nil || !r.IsBatch() || !sameSet(asked, set) || !sameSet(a.Batch(), set) {
		t.Errorf("asked for %d, approved %d of %d: %v", asked.Len(), a.Batch().Len(), set.Len(), err)
	}
	if _, err := a.State().Resume(); err == nil || r.Digest.SHA512 != (statement.SHA512{}) || len(r.Signables) != 1 {
		t.Error("more is approved than was asked for")
	}
}

func sameSet(a, b statement.DigestSet) bool {
	return bytes.Equal(a.Signable().Value, b.Signable().Value)
}

// TestOnlyABatchHasDigests: whoever asks for something else gets none to sign.
func TestOnlyABatchHasDigests(t *testing.T) {
	p := signs(t, pgp+","+ima)
	stmts := packages(inner(0, 3), "osaka", "reading")
	v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
	wantState(t, v, quorum.Agreed, quorum.ReasonMet)
	sign := p.Channel("core").Sign
	r := corekit.Must(quorum.NewRequest(p, stmts[0].Case, &v, sign[:1], stmts))
	a, ref := quorum.Check(p, r, noon)
	if ref != nil {
		t.Fatal(ref)
	}
	if asked, err := r.Batch(); err != nil || r.IsBatch() || asked.Len() != 0 || a.Batch().Len() != 0 {
		t.Errorf("asked for %d, approved %d, %v", asked.Len(), a.Batch().Len(), err)
	}
	if _, err := quorum.NewRequest(p, stmts[0].Case, &v, sign, stmts); err == nil || !strings.Contains(err.Error(), "a request of its own") {
		t.Errorf("made with both: %v", err)
	}
	// And by hand.
	r.Outputs = sign
	r.Signables[statement.FileDigests] = inner(0, 3).Signable().Value
	a, ref = quorum.Check(p, withID(r), noon)
	wantRefused(t, a, ref, quorum.RefuseBadRequest, false, "outputs: a batch is asked for in a request of its own")
}

// TestInvariant1BatchNeedsItsQuorum: whatever a coordinator writes into a request, no
// digest comes out that the quorum did not give in one set.
func TestInvariant1BatchNeedsItsQuorum(t *testing.T) {
	p := load(t, signing(twoOfThree(report), ima))
	set := inner(0, 3)
	good, evil := packages(set, "osaka", "reading"), packages(inner(6, 3), "berlin")
	with := func(set statement.DigestSet) func(r *quorum.Request) {
		return func(r *quorum.Request) { r.Signables[statement.FileDigests] = set.Signable().Value }
	}
	plus := corekit.Must(statement.NewDigestSet([]statement.SHA256{set.At(0), set.At(1), set.At(2), digest(6)}))
	for _, c := range []struct {
		name   string
		stmts  []*statement.Statement
		change func(r *quorum.Request)
		code   quorum.RefusalCode
	}{
		{"the liar's digests", append(evil, good...), with(inner(6, 3)), quorum.RefuseState},
		{"one digest more", good, with(plus), quorum.RefuseState},
		{"one digest less", good, with(inner(0, 2)), quorum.RefuseState},
		{"what both sets have", append(packages(plus, "berlin"), good[0]), nil, quorum.RefuseQuorum},
		{"one vote and the liar", append(evil, good[0]), nil, quorum.RefuseQuorum},
		{"none in the votes", packages(statement.DigestSet{}, "osaka", "reading"), nil, quorum.RefuseQuorum},
		{"none", good, func(r *quorum.Request) { clear(r.Signables) }, quorum.RefuseBadRequest},
		{"a state besides", good, func(r *quorum.Request) { r.Signables[quorum.StateSHA512] = jsontext.Value("{}") }, quorum.RefuseBadRequest},
		{"an empty set", good, func(r *quorum.Request) { r.Signables[statement.FileDigests] = jsontext.Value(`{"digests":""}`) }, quorum.RefuseState},
		{"no JSON", good, func(r *quorum.Request) { r.Signables[statement.FileDigests] = jsontext.Value("{") }, quorum.RefuseState},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(p, "a package", c.stmts...)
			r.Digest.SHA512 = statement.SHA512{}
			r.Signables = map[string]jsontext.Value{statement.FileDigests: set.Signable().Value}
			if c.change != nil {
				c.change(r)
			}
			approval, ref := quorum.Check(p, withID(r), noon)
			wantRefused(t, approval, ref, c.code, false, "")
		})
	}
	r := request(t, p, append(evil, good...)...)
	a, ref := quorum.Check(p, r, noon)
	if ref != nil || !sameSet(a.Batch(), set) {
		t.Errorf("with the liar beside the quorum: %v", ref)
	}
	// What the caller does to the request afterwards changes nothing.
	with(inner(6, 3))(r)
	if !sameSet(a.Batch(), set) {
		t.Error("the approval changed with the request")
	}
}

// TestParts: they are all digests, each once, in order, whatever their number.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, statement.MaxDigests).Draw(t, "digests")
		next, count := 0, quorum.PartCount(n)
		if count > quorum.MaxParts {
			t.Fatalf("%d parts", count)
		}
		for i := range count {
			p, end := quorum.NewPart(n, i)
			if p.Index != i || p.Count != count || p.First != next || end <= next || end-next > quorum.PartSize || end-next < quorum.PartSize && i != count-1 {
				t.Fatalf("part %+v up to %d", p, end)
			}
			next = end
		}
		if next != n {
			t.Fatalf("the parts have %d of %d", next, n)
		}
		for _, bad := range []int{-1, count} {
			func() {
				defer func() {
					if recover() == nil {
						t.Fatalf("there is a part %d", bad)
					}
				}()
				quorum.NewPart(n, bad)
			}()
		}
	})
	if quorum.PartCount(0) != 0 || quorum.PartCount(statement.MaxDigests) != quorum.MaxParts {
		t.Errorf("%d and %d parts", quorum.PartCount(0), quorum.PartCount(statement.MaxDigests))
	}
}

// partOf is an answer that is a part, with values of that many bytes.
func partOf(n, index, size int) *quorum.Answer {
	p, end := quorum.NewPart(n, index)
	a := &quorum.Answer{Version: quorum.Version, ID: digest(1), Channel: "core", Target: corekit.Target, Artifact: corekit.File,
		Digest: quorum.Digests{SHA256: digest(2)}, Policy: quorum.PolicyRef{Version: 7, Digest: digest(3)}, Evidence: digest(4),
		Statements: []statement.SHA256{digest(5)}, Part: &p,
		Signatures: []quorum.SignedOutput{{Output: policy.Output{Format: "ima", Key: "ima"}, Fingerprint: strings.Repeat("f", 64), SignedAt: noon}}}
	for range end - p.First {
		a.Signatures[0].Values = append(a.Signatures[0].Values, bytes.Repeat([]byte{0xff}, size))
	}
	return a
}

// TestThePartsOfTheLargestBatch are read back, fit their limit with the largest keys
// and names, and are different messages.
func TestThePartsOfTheLargestBatch(t *testing.T) {
	const rsa8192 = 2200 // as an SSH signature, with the public key in it
	set := inner(0, statement.MaxDigests)
	seen := map[string]bool{}
	for i := range quorum.MaxParts {
		a := partOf(set.Len(), i, rsa8192)
		a.Target, a.Artifact = "pkg:a/"+strings.Repeat("b", statement.MaxTarget-6), strings.Repeat(`"`, statement.MaxName)
		a.Statements = make([]statement.SHA256, quorum.MaxEvidence)
		data := corekit.Must(json.Marshal(a, json.Deterministic(true)))
		again, err := quorum.ParseAnswer(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.CheckPart(set); err != nil || !again.IsBatch() {
			t.Error(err)
		}
		if !bytes.Equal(corekit.Must(json.Marshal(again, json.Deterministic(true))), data) {
			t.Errorf("part %d written again differs", i)
		}
		// Nats-Msg-Id is the hash of the bytes.
		if sum := statement.ID(data).String(); seen[sum] {
			t.Errorf("part %d is another one, too", i)
		} else {
			seen[sum] = true
		}
	}
}

func TestBadPartsAreRefused(t *testing.T) {
	last := quorum.MaxParts - 1
	for _, c := range []struct {
		name   string
		index  int
		change func(a *quorum.Answer)
		words  string
	}{
		{"no part", 0, func(a *quorum.Answer) { a.Part = nil; a.Signatures[0].Values = nil }, "part: is missing"},
		{"values without a part", 0, func(a *quorum.Answer) { a.Part = nil }, "signatures[0].values: only a part"},
		{"a refusal", 0, func(a *quorum.Answer) {
			a.Signatures, a.Refusal = nil, &quorum.Refusal{Code: quorum.RefuseHeld, Message: "no"}
		}, "part: a refusal"},
		{"another format", 0, func(a *quorum.Answer) { a.Signatures[0].Format = "raw-sha256" }, "of a format that is a batch"},
		{"two outputs", 0, func(a *quorum.Answer) { a.Signatures = append(a.Signatures, a.Signatures[0]) }, "want one output"},
		{"a part of nothing", 0, func(a *quorum.Answer) { a.Part.Count = 0 }, "part.count: 0"},
		{"too many parts", 0, func(a *quorum.Answer) { a.Part.Count = quorum.MaxParts + 1 }, "part.count: 41, want 1 to 40"},
		{"a part before the first", 0, func(a *quorum.Answer) { a.Part.Index = -1 }, "part.index: -1"},
		{"a part behind the last", last, func(a *quorum.Answer) { a.Part.Index++ }, "part.index: 40"},
		{"another first digest", 1, func(a *quorum.Answer) { a.Part.First++ }, "part.first: 257, want 256"},
		{"one value less", 0, func(a *quorum.Answer) { a.Signatures[0].Values = a.Signatures[0].Values[1:] }, "values: 255 in part 0"},
		{"no values", last, func(a *quorum.Answer) { a.Signatures[0].Values = nil }, "values: 0 in part 39"},
		{"more digests than there may be", last, func(a *quorum.Answer) {
			a.Signatures[0].Values = append(a.Signatures[0].Values, []byte("x"))
		}, "values: 17 in part 39"},
		{"one value more", 0, func(a *quorum.Answer) { a.Signatures[0].Values = append(a.Signatures[0].Values, []byte("x")) }, "256 elements"},
		{"an empty value", 0, func(a *quorum.Answer) { a.Signatures[0].Values[7] = nil }, "signatures[0].values[7]: is empty"},
		{"a signature besides", 0, func(a *quorum.Answer) { a.Signatures[0].Signature = []byte("x") }, "signatures[0].signature"},
		{"too large", 0, func(a *quorum.Answer) { a.Signatures[0].Values[7] = make([]byte, quorum.MaxAnswer) }, "at most 1048576"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := partOf(statement.MaxDigests, c.index, 80)
			c.change(a)
			data := corekit.Must(json.Marshal(a))
			if again, err := quorum.ParseAnswer(data); err == nil || again != nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q", err, c.words)
			}
			bundle := fmt.Sprintf(`{"version":1,"policy":"","request":%s,"answer":%s}`, marshalled(t), data)
			if _, err := quorum.ParseBundle([]byte(bundle)); err == nil && c.name != "too large" {
				t.Error("an evidence file with it is read")
			}
		})
	}
}

// TestAPartOfAnotherBatch is refused by the number of the digests.
func TestAPartOfAnotherBatch(t *testing.T) {
	set := inner(0, 600) // parts of 256, 256 and 88
	for i := range quorum.PartCount(set.Len()) {
		if err := partOf(600, i, 80).CheckPart(set); err != nil {
			t.Error(err)
		}
	}
	cut := partOf(600, 2, 80)
	cut.Signatures[0].Values = cut.Signatures[0].Values[1:]
	whole := partOf(600, 0, 80)
	whole.Part = nil
	for words, a := range map[string]*quorum.Answer{
		"part.count: 40, and 600 digests are answered in 3": partOf(statement.MaxDigests, 0, 80),
		"values: 87 in part 2 of 600 digests, want 88":      cut,
		"part: is missing": whole,
	} {
		if err := a.CheckPart(set); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

// TestAnEvidenceFileOfABatch has one of its parts.
func TestAnEvidenceFileOfABatch(t *testing.T) {
	p := signs(t, ima)
	set := inner(0, 300)
	b := quorum.Bundle{Version: 1, Policy: []byte(signing(twoOfThree(), ima)), Request: request(t, p, packages(set, "osaka", "reading")...), Answer: partOf(300, 1, 80)}
	again, err := quorum.ParseBundle(corekit.Must(json.Marshal(b)))
	if err != nil {
		t.Fatal(err)
	}
	if asked, err := again.Request.Batch(); err != nil || again.Answer.CheckPart(asked) != nil || !slices.EqualFunc(again.Answer.Signatures[0].Values, b.Answer.Signatures[0].Values, bytes.Equal) {
		t.Errorf("read %+v: %v", again.Answer.Part, err)
	}
}

// BenchmarkBatchRequest is what reading and judging a request costs by the number of
// the digests, with the evidence of three operators. The ratio of the lines is the
// result, not the times.
func BenchmarkBatchRequest(b *testing.B) {
	p := load(b, signing(twoOfThree(), ima))
	for _, n := range []int{100, 1000, statement.MaxDigests} {
		data := corekit.Must(json.Marshal(request(b, p, packages(inner(0, n), "berlin", "osaka", "reading")...)))
		var r *quorum.Request
		b.Run(fmt.Sprintf("parse/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r, _ = quorum.ParseRequest(data)
			}
		})
		b.Run(fmt.Sprintf("check/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, ref := quorum.Check(p, r, noon.Add(time.Minute)); ref != nil {
					b.Fatal(ref)
				}
			}
		})
	}
	part := corekit.Must(json.Marshal(partOf(statement.MaxDigests, 0, 9+512)))
	b.Run("parse/part", func(b *testing.B) {
		b.SetBytes(int64(len(part)))
		for b.Loop() {
			if _, err := quorum.ParseAnswer(part); err != nil {
				b.Fatal(err)
			}
		}
	})
}
