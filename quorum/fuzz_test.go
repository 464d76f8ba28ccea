package quorum_test

import (
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// Whatever is read keeps its id when it is written and read again, and only what
// meets the policy is approved.
func FuzzParseRequest(f *testing.F) {
	p := load(f, twoOfThree())
	f.Add([]byte(marshalled(f)))
	batches := signs(f, ima)
	f.Add(corekit.Must(json.Marshal(request(f, batches, packages(inner(0, 2), "berlin", "osaka")...))))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ref := quorum.ParseRequest(data)
		if ref != nil {
			if r != nil || ref.Code == "" || ref.Message == "" {
				t.Fatalf("refused with %+v", ref)
			}
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, ref := quorum.ParseRequest(text)
		if ref != nil || again.ComputeID() != r.ComputeID() {
			t.Fatalf("written again: %v", ref)
		}
		if b, ref := quorum.Check(batches, r, noon); ref == nil && (!r.IsBatch() || !sameSet(b.Batch(), inner(0, 2))) {
			t.Fatalf("approved a batch of %d", b.Batch().Len())
		}
		a, ref := quorum.Check(p, r, noon)
		if (a == nil) == (ref == nil) {
			t.Fatal("neither yes nor no, or both")
		}
		if a != nil && (a.Verdict().State != quorum.Agreed || len(a.Verdict().Groups[0].Members) < 2 || r.ID != r.ComputeID()) {
			t.Fatalf("approved %+v", a.Verdict())
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(answerJSON(`,"signatures":[{"format":"openpgp","key":"core-2026","fingerprint":"ab","signature":"AAAA","signedAt":"2026-03-01T12:00:00Z"}]`)))
	f.Add([]byte(answerJSON(`,"refusal":{"code":"held","message":"no","retryable":false}`)))
	f.Add(corekit.Must(json.Marshal(partOf(257, 1, 8))))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := quorum.ParseAnswer(data)
		if err == nil && a.IsBatch() {
			// Some batch has it.
			n := (a.Part.Count-1)*quorum.PartSize + len(a.Signatures[0].Values)
			if a.Part.Index < a.Part.Count-1 {
				n = a.Part.Count * quorum.PartSize
			}
			if err := a.CheckPart(inner(0, min(n, statement.MaxDigests))); err != nil {
				t.Fatal(err)
			}
		}
		if err == nil && (a.Version != quorum.Version || (a.Refusal == nil) == (len(a.Signatures) == 0)) {
			t.Fatalf("read %+v", a)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte(`{"version":1,"policy":"","request":` + marshalled(f) + `,"answer":` + answerJSON(`,"refusal":{"code":"held","message":"no","retryable":false}`) + `}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := quorum.ParseBundle(data)
		if err == nil && (b.Request == nil || b.Answer == nil || b.Version != quorum.Version) {
			t.Fatalf("read %+v", b)
		}
	})
}
