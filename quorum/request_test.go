package quorum_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum"
	"quorate/quorum/internal/corekit"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// marshalled is a good request in JSON.
func marshalled(t testing.TB) string {
	t.Helper()
	r := request(t, load(t, twoOfThree()), builds("x", "berlin", "osaka")...)
	return string(corekit.Must(json.Marshal(r)))
}

func TestRequestIsReadBackAndPasses(t *testing.T) {
	p := load(t, twoOfThree())
	var indented bytes.Buffer
	text := []byte(marshalled(t))
	v := jsontext.Value(bytes.Clone(text))
	if err := v.Indent(); err != nil {
		t.Fatal(err)
	}
	indented.Write(v)
	for _, data := range [][]byte{text, indented.Bytes()} {
		r, ref := quorum.ParseRequest(data)
		if ref != nil {
			t.Fatal(ref)
		}
		if _, ref := quorum.Check(p, r, noon); ref != nil {
			t.Error(ref)
		}
		if again := corekit.Must(json.Marshal(r)); !bytes.Equal(again, text) {
			t.Error("written again it differs")
		}
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	good := marshalled(t)
	cases := []struct {
		name, old, with string
		code            quorum.RefusalCode
		words           string
	}{
		{"a field that a later version may mean something by", `"version":1,`, `"version":1,"urgent":true,`, quorum.RefuseBadRequest, "unknown"},
		{"an unknown field in an output", `"format":"openpgp",`, `"format":"openpgp","hash":"sha1",`, quorum.RefuseBadRequest, "unknown"},
		{"a field in another case", `"channel":"core"`, `"Channel":"core"`, quorum.RefuseBadRequest, "unknown"},
		{"a field twice", `"channel":"core"`, `"channel":"x","channel":"core"`, quorum.RefuseBadRequest, "duplicate"},
		{"a field of a state twice", `"length":1`, `"length":2,"length":1`, quorum.RefuseBadRequest, "duplicate"},
		{"the version as text", `"version":1,`, `"version":"1",`, quorum.RefuseBadRequest, "version"},
		{"a digest in upper case", `"sha256":"2d`, `"sha256":"2D`, quorum.RefuseBadRequest, "lower-case"},
		{"bytes behind it", `"evidence":[`, `"evidence":[]}{"evidence":[`, quorum.RefuseBadRequest, "request:"},
		{"cut off", `"evidence":[`, `"evidence":[[`, quorum.RefuseBadRequest, "request:"},
		{"nine megabytes", `"version":1,`, `"version":1,` + strings.Repeat(" ", 9<<20), quorum.RefuseTooLarge, "at most"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			i := strings.Index(good, c.old)
			if i < 0 {
				t.Fatalf("%q is not in the request", c.old)
			}
			r, ref := quorum.ParseRequest([]byte(good[:i] + c.with + good[i+len(c.old):]))
			if r != nil || ref == nil || ref.Code != c.code || !strings.Contains(ref.Message, c.words) {
				t.Errorf("got %v, want %s with %q", ref, c.code, c.words)
			}
		})
	}
	if _, ref := quorum.ParseRequest([]byte(good[:len(good)-1])); ref == nil {
		t.Error("a request without its last byte is read")
	}
}

// Everything that is signed changes the id; what only shows why does not.
func TestIDCoversWhatIsSignedAndNothingElse(t *testing.T) {
	p := load(t, twoOfThree())
	base := request(t, p, builds("x", "berlin", "osaka")...)
	changes := map[string]func(*quorum.Request){
		"version":     func(r *quorum.Request) { r.Version++ },
		"channel":     func(r *quorum.Request) { r.Channel = "x" },
		"target":      func(r *quorum.Request) { r.Target += "x" },
		"stage":       func(r *quorum.Request) { r.Stage = "x" },
		"artifact":    func(r *quorum.Request) { r.Artifact += "x" },
		"from one to": func(r *quorum.Request) { r.Stage, r.Artifact = r.Artifact, r.Stage },
		"SHA-256":     func(r *quorum.Request) { r.Digest.SHA256[31] ^= 1 },
		"SHA-512":     func(r *quorum.Request) { r.Digest.SHA512[63] ^= 1 },
		"state": func(r *quorum.Request) {
			r.Signables = map[string]jsontext.Value{quorum.StateSHA512: jsontext.Value(`{}`)}
		},
		"state's name": func(r *quorum.Request) { r.Signables = map[string]jsontext.Value{"x": r.Signables[quorum.StateSHA512]} },
		"format":       func(r *quorum.Request) { r.Outputs = []policy.Output{{Format: "x", Key: r.Outputs[0].Key}} },
		"key":          func(r *quorum.Request) { r.Outputs = []policy.Output{{Format: r.Outputs[0].Format, Key: "x"}} },
		"more outputs": func(r *quorum.Request) {
			r.Outputs = append(slices.Clone(r.Outputs), policy.Output{Format: "x", Key: "y"})
		},
	}
	seen := map[statement.SHA256]string{base.ID: "the request itself"}
	for name, change := range changes {
		r := *base
		change(&r)
		if other, twice := seen[r.ComputeID()]; twice {
			t.Errorf("%s: the same id as %s", name, other)
		}
		seen[r.ComputeID()] = name
	}
	more := request(t, load(t, strings.Replace(twoOfThree(), "version = 7", "version = 8", 1)), builds("x", "berlin", "osaka", "reading")...)
	if more.ID != base.ID {
		t.Error("another policy and one more vote give another id")
	}
}

// The id as the protocol's text has it, so that a mistake made both ways is seen.
func TestIDByHand(t *testing.T) {
	r := request(t, load(t, twoOfThree()), builds("x", "berlin", "osaka")...)
	var b []byte
	for _, part := range []string{"quorate-request-v1", "core", corekit.Target, "", corekit.File,
		string(r.Digest.SHA256[:]), string(r.Digest.SHA512[:]),
		"file:sha512-state", string(r.Signables["file:sha512-state"]), "openpgp", "core-2026"} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
	}
	if r.ID != sha256.Sum256(b) {
		t.Error("the id is not the hash that the protocol describes")
	}
}

func TestARequestNeedsTheAgreedState(t *testing.T) {
	p := load(t, twoOfThree())
	stmts := builds("x", "berlin", "osaka")
	v := quorum.Decide(p.Channel("core"), observe(t, p, stmts), nil, noon)[0]
	if _, err := quorum.NewRequest(p, stmts[0].Case, &v, p.Channel("core").Sign, builds("y", "berlin")); err == nil {
		t.Error("made without a statement that carries the state")
	}
	// Dissent goes along as evidence, its state does not.
	all := append(slices.Clone(stmts), builds("y", "reading")...)
	r, err := quorum.NewRequest(p, stmts[0].Case, &v, p.Channel("core").Sign, all)
	if err != nil || len(r.Evidence) != 3 || !strings.Contains(string(r.Signables[quorum.StateSHA512]), `"tail":"eA=="`) {
		t.Errorf("%v, signables %s", err, r.Signables)
	}
}

func TestEvidenceDigestIsThatOfASet(t *testing.T) {
	a, b := quorum.Evidence{Kind: quorum.KindDSSE, Raw: []byte("a")}, quorum.Evidence{Kind: quorum.KindDSSE, Raw: []byte("b")}
	want := quorum.EvidenceDigest([]quorum.Evidence{a, b})
	if quorum.EvidenceDigest([]quorum.Evidence{b, a, b}) != want || quorum.EvidenceDigest([]quorum.Evidence{a}) == want {
		t.Error("order or repetition matters, or the content does not")
	}
	x, y := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	if bytes.Compare(x[:], y[:]) > 0 {
		x, y = y, x
	}
	if want != sha256.Sum256(append(x[:], y[:]...)) {
		t.Error("not the hash that the protocol describes")
	}
}

const someSum = "00000000000000000000000000000000000000000000000000000000000000aa"

// answerJSON is an answer with further members.
func answerJSON(more string) string {
	return `{"version":1,"id":"` + someSum + `","channel":"core","target":"t","stage":"","artifact":"a","digest":{"sha256":"` +
		someSum + `","sha512":"` + someSum + someSum + `"},"policy":{"version":7,"digest":"` + someSum + `"}` + more + `}`
}

func TestAnswers(t *testing.T) {
	signature := `,"signatures":[{"format":"openpgp","key":"core-2026","fingerprint":"ab","signature":"AAAA","signedAt":"2026-03-01T12:00:00Z"}]`
	refusal := `,"refusal":{"code":"held","message":"no","retryable":false}`
	cases := []struct {
		name, text string
		ok         bool
	}{
		{"signatures", answerJSON(signature), true},
		{"a refusal", answerJSON(refusal), true},
		{"both", answerJSON(signature + refusal), false},
		{"neither", answerJSON(""), false},
		{"an empty list of signatures", answerJSON(`,"signatures":[]`), false},
		{"an unknown field", answerJSON(signature + `,"x":1`), false},
		{"a field twice", answerJSON(signature + `,"channel":"other"`), false},
		{"another version", strings.Replace(answerJSON(signature), `"version":1`, `"version":2`, 1), false},
		{"bytes behind it", answerJSON(signature) + "{}", false},
		{"two megabytes", answerJSON(signature) + strings.Repeat(" ", 2<<20), false},
		{"nothing", "", false},
	}
	for _, c := range cases {
		a, err := quorum.ParseAnswer([]byte(c.text))
		if (err == nil) != c.ok || (a != nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	a := corekit.Must(quorum.ParseAnswer([]byte(answerJSON(signature))))
	if s := a.Signatures[0]; s.Key != "core-2026" || s.Format != policy.OpenPGP || len(s.Signature) != 3 || !s.SignedAt.Equal(noon) {
		t.Errorf("read %+v", s)
	}
}

func TestEvidenceFiles(t *testing.T) {
	whole := quorum.Bundle{Version: 1, Policy: []byte(twoOfThree())}
	req, _ := quorum.ParseRequest([]byte(marshalled(t)))
	whole.Request = req
	whole.Answer = corekit.Must(quorum.ParseAnswer([]byte(answerJSON(`,"refusal":{"code":"held","message":"no","retryable":false}`))))
	good := string(corekit.Must(json.Marshal(whole)))
	b, err := quorum.ParseBundle([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, string(b.Policy))
	if _, ref := quorum.Check(p, b.Request, noon); ref != nil {
		t.Errorf("what was kept does not pass: %v", ref)
	}
	for name, text := range map[string]string{
		"another version":  strings.Replace(good, `{"version":1`, `{"version":2`, 1),
		"an unknown field": strings.Replace(good, `{"version":1`, `{"x":0,"version":1`, 1),
		"no request":       `{"version":1,"policy":"","request":null,"answer":{}}`,
		"no answer":        `{"version":1,"policy":"","request":{}}`,
		"bytes behind it":  good + "x",
		"cut off":          good[:len(good)-1],
		"many acts":        strings.Replace(good, `{"version":1`, `{"version":1,"acts":[`+strings.Repeat(`"",`, quorum.MaxActs)+`""]`, 1),
		"of many bytes":    good + strings.Repeat(" ", quorum.MaxBundle),
	} {
		if b, err := quorum.ParseBundle([]byte(text)); err == nil || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARefusalIsAnError(t *testing.T) {
	var err error = &quorum.Refusal{Code: quorum.RefuseHeld, Message: "why"}
	if err.Error() != "held: why" {
		t.Error(err)
	}
}

// TestMillionsOfNothingAreNotDecoded: each empty statement takes three bytes of a
// file and many times that once it is decoded.
func TestMillionsOfNothingAreNotDecoded(t *testing.T) {
	list := func(element string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	request := func(member, value string) string { return `{"version":1,"` + member + `":` + value + `}` }
	full := (quorum.MaxRequest - 500) / 3
	for name, text := range map[string]string{
		"statements":             request("evidence", list("{}", full)),
		"one statement too many": request("evidence", list("{}", quorum.MaxEvidence+1)),
		"outputs":                request("outputs", list("{}", full)),
		"one output too many":    request("outputs", list(`{"format":"openpgp","key":"k"}`, quorum.MaxOutputs+1)),
		"members":                request("signables", `{"`+strings.Join(numbers(full/10), `":0,"`)+`":0}`),
	} {
		var refused *quorum.Refusal
		if spent := allocated(func() { _, refused = quorum.ParseRequest([]byte(text)) }); refused == nil || refused.Code != quorum.RefuseTooLarge {
			t.Errorf("%s: %v", name, refused)
		} else if spent > 2*quorum.MaxRequest {
			t.Errorf("%s: %d bytes allocated", name, spent)
		}
		var err error
		bundle := `{"version":1,"policy":"","request":` + text + `,"answer":{"version":1}}`
		if spent := allocated(func() { _, err = quorum.ParseBundle([]byte(bundle)) }); err == nil || spent > 2*quorum.MaxRequest {
			t.Errorf("%s in an evidence file: %v, %d bytes allocated", name, err, spent)
		}
	}
	bundle := `{"version":1,"policy":"","request":{"version":1},"answer":{"version":1,"statements":` + list(`"`+someSum+`"`, quorum.MaxEvidence+1) + `}}`
	if _, err := quorum.ParseBundle([]byte(bundle)); err == nil || !strings.Contains(err.Error(), "/answer/statements") {
		t.Errorf("statements of an answer: %v", err)
	}
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return list
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
