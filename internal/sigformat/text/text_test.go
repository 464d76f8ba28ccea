package text_test

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"quorate/internal/sigformat/internal/sigkit"
	"quorate/internal/sigformat/text"
)

var cases = map[string]string{
	"a\n":                               "a",
	"a":                                 "a",
	"a\r\n":                             "a",
	"a \t \r\n":                         "a",
	"a\nb\n":                            "a\r\nb",
	"a\r\nb":                            "a\r\nb",
	"a\n\n":                             "a\r\n",
	"\n":                                "",
	"\n\n":                              "\r\n",
	" \t\n\tb\n":                        "\r\n\tb",
	"a  b \n- c\n-----\n":               "a  b\r\n- c\r\n-----",
	"a\u00a0\n":                         "a\u00a0",
	"a\v\f\n":                           "a\v\f",
	"ä €\n":                             "ä €",
	"last line  ":                       "last line",
	"\ufeffbyte order mark":             "\ufeffbyte order mark",
	strings.Repeat("x", 16384):          strings.Repeat("x", 16384),
	strings.Repeat("x", 16384) + "\r\n": strings.Repeat("x", 16384),
}

func TestCanonical(t *testing.T) {
	for in, want := range cases {
		if got, err := text.Canonical([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%.40q: %.40q, %v; want %.40q", in, got, err, want)
		}
		st, err := text.State(iotest.OneByteReader(strings.NewReader(in)))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha512.Sum512([]byte(want))
		if got, err := st.Sum(); err != nil || !bytes.Equal(got, sum[:]) || st.Length != uint64(len(want)) {
			t.Errorf("%.40q: state of %d bytes is %x, %v", in, st.Length, got, err)
		}
	}
}

func TestNotText(t *testing.T) {
	long := strings.Repeat("x", text.MaxLine+1)
	for in, want := range map[string]string{
		"":                  "it has no line",
		"a\rb\n":            "line 1: CR without LF",
		"a\r":               "line 1: CR without LF",
		"a\nb\r\r\n":        "line 2: CR without LF",
		"a\r \n":            "line 1: CR without LF",
		"a\n\x00\n":         "line 2: NUL",
		"a\xff\n":           "line 1: not UTF-8",
		"\xe2\x82\n\xac":    "line 1: not UTF-8",
		"\xed\xa0\x80":      "line 1: not UTF-8",
		long:                "line 1: longer than 16384 bytes",
		"a\n" + long + "\n": "line 2: longer than 16384 bytes",
	} {
		got, err := text.Canonical([]byte(in))
		sigkit.WantError(t, err, want)
		_, stateErr := text.State(strings.NewReader(in))
		sigkit.WantError(t, stateErr, want)
		if got != nil || !errors.Is(err, text.ErrNotText) || !errors.Is(stateErr, text.ErrNotText) {
			t.Errorf("%.20q: %v, %v", in, err, stateErr)
		}
	}
}

// TestBesideOtherWork: a file that is no text does not disturb its other readers.
func TestBesideOtherWork(t *testing.T) {
	h, all := text.NewHasher(), new(bytes.Buffer)
	n, err := io.Copy(io.MultiWriter(h, all), iotest.HalfReader(strings.NewReader("a\x00b\n"+strings.Repeat("x", 1<<20))))
	if err != nil || n != int64(all.Len()) {
		t.Errorf("%d of %d, %v", n, all.Len(), err)
	}
	if _, err := h.State(); !errors.Is(err, text.ErrNotText) {
		t.Error(err)
	}
}

func TestNothingAfterTheEnd(t *testing.T) {
	h := text.NewHasher()
	io.WriteString(h, "a\n")
	if _, err := h.State(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(h, "b\n")
	_, err := h.State()
	sigkit.WantError(t, err, "after its end")
}

func TestReadError(t *testing.T) {
	away := errors.New("disk is away")
	_, err := text.State(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(away)))
	if !errors.Is(err, away) || errors.Is(err, text.ErrNotText) {
		t.Error(err)
	}
}

var trailing = regexp.MustCompile(`(?m)[ \t]+$`)

// FuzzCanonical compares with the definition written another way.
func FuzzCanonical(f *testing.F) {
	for in := range cases {
		f.Add([]byte(in), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		got, err := text.Canonical(data)
		h := text.NewHasher()
		at := min(max(cut, 0), len(data))
		h.Write(data[:at])
		h.Write(data[at:])
		st, stateErr := h.State()
		if (err == nil) != (stateErr == nil) {
			t.Fatalf("%v, %v", err, stateErr)
		}
		lf := strings.ReplaceAll(string(data), "\r\n", "\n")
		if err != nil {
			if len(data) > 0 && utf8.Valid(data) && !strings.ContainsAny(lf, "\r\x00") && len(data) <= text.MaxLine {
				t.Errorf("%q refused: %v", data, err)
			}
			return
		}
		want := strings.ReplaceAll(trailing.ReplaceAllString(strings.TrimSuffix(lf, "\n"), ""), "\n", "\r\n")
		if string(got) != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
		sum := sha512.Sum512(got)
		if digest, err := st.Sum(); err != nil || !bytes.Equal(digest, sum[:]) {
			t.Errorf("state is not that of the canonical text: %v", err)
		}
		if again, err := text.Canonical(got); err == nil && len(got) > 0 && got[len(got)-1] != '\n' && !bytes.Equal(again, got) {
			t.Errorf("%q is not a fixed point: %q", got, again)
		}
	})
}
