package signstar_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"quorate/internal/signstar"
	"quorate/quorum/hashstate"
)

// requestFor is a request as Signstar's client writes it, grease included.
func requestFor(t testing.TB, content string) string {
	t.Helper()
	h := sha512.New()
	h.Write([]byte(content))
	st, err := hashstate.Of(hashstate.SHA512, h)
	if err != nil {
		t.Fatal(err)
	}
	state, err := st.Signstar()
	if err != nil {
		t.Fatal(err)
	}
	numbers := strings.Trim(strings.ReplaceAll(fmt.Sprint(state), " ", ","), "[]")
	return `{"version":"1.0.0","required":{"input":{"type":"sha2-0.11-SHA512-state","content":[` + numbers +
		`]},"output":{"type":"OpenPGPv4"}},"optional":{"request-time":1728913277,"file-name":"x.pkg.tar.zst","aB3xQ9z":"https://example.org/"}}`
}

func TestParseRequest(t *testing.T) {
	for _, content := range []string{"", "abc", strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("long ", 1000)} {
		r, err := signstar.ParseRequest([]byte(requestFor(t, content)))
		if err != nil {
			t.Fatal(err)
		}
		if r.SHA512 != sha512.Sum512([]byte(content)) {
			t.Errorf("%d bytes: digest %s", len(content), r.SHA512)
		}
	}
	// A later minor version may say more in "optional" only.
	good := requestFor(t, "abc")
	for _, text := range []string{strings.Replace(good, "1.0.0", "1.7.2", 1), strings.Replace(good, "1.0.0", "1.0.0-rc.1+b", 1), good[:strings.Index(good, `,"optional"`)] + "}"} {
		if _, err := signstar.ParseRequest([]byte(text)); err != nil {
			t.Error(err)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	good := requestFor(t, "abc")
	state := good[strings.Index(good, "[") : strings.Index(good, "]")+1]
	edit := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":              {"", "EOF"},
		"not JSON":             {"hello", "invalid"},
		"not an object":        {"[]", "array"},
		"truncated":            {good[:len(good)-1], "EOF"},
		"trailing bytes":       {good + "{}", "after top-level value"},
		"duplicate":            {edit(`"version"`, `"version":"1.0.0","version"`), "duplicate"},
		"UTF-8":                {edit("x.pkg", "\xff.pkg"), "UTF-8"},
		"oversize":             {edit("x.pkg", strings.Repeat("x", signstar.MaxRequest)), "more than 65536 bytes"},
		"no version":           {edit(`"version":"1.0.0",`, ""), "version: missing"},
		"version 2":            {edit("1.0.0", "2.0.0"), `"2.0.0" is not supported`},
		"version 10":           {edit("1.0.0", "10.0.0"), "not supported"},
		"no semver":            {edit("1.0.0", "1"), "semver"},
		"version is a number":  {edit(`"1.0.0"`, "1"), "version"},
		"no required":          {`{"version":"1.0.0"}`, "required: missing"},
		"no input":             {`{"version":"1.0.0","required":{"output":{"type":"OpenPGPv4"}}}`, "required.input: missing"},
		"no output":            {edit(`,"output":{"type":"OpenPGPv4"}`, ""), "required.output: missing"},
		"more is required":     {edit(`"output":`, `"expiry":1,"output":`), "expiry"},
		"more in input":        {edit(`"content":`, `"salt":1,"content":`), "salt"},
		"more beside":          {edit(`"optional":`, `"must":1,"optional":`), "must"},
		"unknown state":        {edit("sha2-0.11-SHA512-state", "sha2-0.12-SHA512-state"), `required.input.type: "sha2-0.12-SHA512-state"`},
		"unknown output":       {edit("OpenPGPv4", "OpenPGPv6"), `required.output.type: "OpenPGPv6"`},
		"state of no bytes":    {edit(state, "[]"), "0 bytes, want 208"},
		"one byte short":       {edit(state, "["+state[strings.Index(state, ",")+1:]), "207 bytes"},
		"one byte more":        {edit(state, "[0,"+state[1:]), "209 bytes"},
		"more than a byte":     {edit(state, "[256"+state[strings.Index(state, ","):]), "number 0 is 256"},
		"negative":             {edit(state, "[-1"+state[strings.Index(state, ","):]), "content"},
		"fraction":             {edit(state, "[1.5"+state[strings.Index(state, ","):]), "content"},
		"state is a string":    {edit(state, `"AAAA"`), "content"},
		"bytes behind its end": {edit(state, state[:len(state)-2]+"1]"), "behind its position"},
		"optional is a list":   {edit(good[strings.Index(good, `{"request-time"`):len(good)-1], "[]"), "optional: not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := signstar.ParseRequest([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestResponseIsArmoured(t *testing.T) {
	if _, err := signstar.Response([]byte("no signature")); err == nil {
		t.Error("made a response of something else")
	}
	data, err := signstar.Response([]byte{0xc2, 1, 4})
	if err != nil {
		t.Fatal(err)
	}
	var r map[string]string
	if err := json.Unmarshal(data, &r); err != nil || len(r) != 2 || r["version"] != "1.0.0" ||
		!strings.HasPrefix(r["signature"], "-----BEGIN PGP SIGNATURE-----\n") {
		t.Errorf("%s, %v", data, err)
	}
}

// FuzzParseRequest: what is accepted has one state, whose digest it is.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(requestFor(f, "abc")))
	f.Add([]byte(requestFor(f, strings.Repeat("x", 1000))))
	f.Add([]byte(`{"version":"2.0.0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := signstar.ParseRequest(data)
		if err != nil {
			return
		}
		sum, err := r.State.Sum()
		if err != nil || !bytes.Equal(sum, r.SHA512[:]) {
			t.Errorf("%s is not the digest of the state: %v", r.SHA512, err)
		}
		if _, err := r.State.Signstar(); err != nil {
			t.Error(err)
		}
	})
}
