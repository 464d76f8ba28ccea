package statement_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quorate/quorum/internal/corekit"
	"quorate/quorum/statement"
)

// Whatever is accepted has its bytes, its id, and states that give its digests.
func FuzzParse(f *testing.F) {
	for _, key := range keys() {
		f.Add(corekit.Must(statement.Sign(sample(), key)).Raw())
	}
	f.Add(corekit.Sign(corekit.NoVote("a", statement.Failed)).Raw())
	f.Add(envelope(statement.PayloadType, "{}", "AA=="))
	for _, r := range [][2]string{{"=", "\\n="}, {"=", "\n="}, {`"keyid":"`, `"keyid":"\"`}, {`"}]}`, `="}]}`}, {`"}]}`, `"},{}]}`}} {
		f.Add(bytes.Replace(corekit.Sign(sample()).Raw(), []byte(r[0]), []byte(r[1]), 1))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := statement.Parse(raw)
		checkSpace(t, raw, s, err)
		if err != nil {
			var e *statement.Error
			if !errors.As(err, &e) || e.Code == "" || s != nil {
				t.Fatalf("refused with %T %v", err, err)
			}
			return
		}
		checkParsed(t, s, raw)
	})
}

// FuzzParsePayload looks behind the envelope's base64, where a fuzzer does not get by itself.
func FuzzParsePayload(f *testing.F) {
	f.Add(string(payloadOf(corekit.Sign(sample()))))
	text := corekit.Artifact("Release", "a\n")
	text.Signables = corekit.Text512("a")
	f.Add(string(payloadOf(corekit.Sign(corekit.Vote("a", text)))))
	text.Signables = []statement.Signable{corekit.Must(statement.NewDigestSet(manyDigests(2))).Signable()}
	f.Add(string(payloadOf(corekit.Sign(corekit.Vote("a", text)))))
	f.Add(string(payloadOf(corekit.Sign(corekit.NoVote("a", statement.Failed)))))
	f.Fuzz(func(t *testing.T, payload string) {
		raw := wrap(payload)
		s, err := statement.Parse(raw)
		checkUnknownField(t, payload, s, err)
		if err != nil {
			return
		}
		checkParsed(t, s, raw)
		if err := s.Verify(corekit.Public(corekit.Ed25519("a"))); err != nil {
			t.Fatal(err)
		}
		again, err := statement.Sign(s, corekit.Ed25519("a"))
		if err != nil {
			t.Fatalf("what was read cannot be said: %v", err)
		}
		if again.Case != s.Case || again.Builder != s.Builder || len(again.Artifacts) != len(s.Artifacts) {
			t.Fatal("said again it means something else")
		}
		for i := range s.Artifacts {
			if !reflect.DeepEqual(again.Artifacts[i], s.Artifacts[i]) {
				t.Fatalf("artifact %d means something else", i)
			}
		}
	})
}

// checkSpace reads the envelope once more behind a space. That takes another way
// through it and changes no meaning.
func checkSpace(t *testing.T, raw []byte, s *statement.Statement, err error) {
	t.Helper()
	if len(raw) >= statement.MaxEnvelope {
		return
	}
	other, errOther := statement.Parse(append([]byte(" "), raw...))
	if (err == nil) != (errOther == nil) {
		t.Fatalf("%v, behind a space %v", err, errOther)
	}
	if err == nil && (!cmp.Equal(s, other, ignoreReceived) || s.PayloadID() != other.PayloadID()) {
		t.Fatalf("behind a space it means something else:\n%s", cmp.Diff(s, other, ignoreReceived))
	}
}

// checkUnknownField reads the payload once more with a field that nobody knows.
// That takes another way through the decoder and changes no meaning.
func checkUnknownField(t *testing.T, payload string, s *statement.Statement, err error) {
	t.Helper()
	rest, isObject := strings.CutPrefix(payload, "{")
	if !isObject || strings.Contains(payload, "~") || strings.Contains(payload, `\u00`) {
		return // the field could be there already
	}
	other, errOther := statement.Parse(wrap(`{"~":0,` + rest))
	if (err == nil) != (errOther == nil) {
		t.Fatalf("%v, with an unknown field %v", err, errOther)
	}
	if err == nil && !cmp.Equal(s, other, ignoreReceived) {
		t.Fatalf("with an unknown field it means something else:\n%s", cmp.Diff(s, other, ignoreReceived))
	}
}

func checkParsed(t *testing.T, s *statement.Statement, raw []byte) {
	t.Helper()
	if s.ID() != sha256.Sum256(raw) || !bytes.Equal(s.Raw(), raw) {
		t.Fatal("the bytes or their id were not kept")
	}
	if s.Case.Check() != nil || !statement.ValidName(s.Builder) || s.IsVote() != (len(s.Artifacts) > 0) {
		t.Fatalf("accepted %+v", s)
	}
	for _, a := range s.Artifacts {
		sum256, err256 := a.State256.Sum()
		sum512, err512 := a.State512.Sum()
		if err := errors.Join(err256, err512); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sum256, a.SHA256[:]) || !bytes.Equal(sum512, a.SHA512[:]) || a.State256.Length != a.Size || a.State512.Length != a.Size {
			t.Fatalf("the states of %q are not those of its digests", a.Name)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, key := range keys() {
		f.Add(corekit.Text(key))
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := statement.ParsePublicKey(text)
		if err != nil {
			return
		}
		if k.String() != text {
			t.Fatalf("read %q, wrote %q: one key with two texts", text, k)
		}
	})
}
