package filehash_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"quorate/builder-agent/filehash"
	"quorate/internal/sigformat/text"
	"quorate/quorum/statement"
)

// TestText: the one pass gives the state that package text gives, wherever blocks
// are cut, and only for names that were asked for.
func TestText(t *testing.T) {
	line := strings.Repeat("x", 60) + " \t\r\n"
	for _, size := range []int{1, 63, filehash.BlockSize - 1, filehash.BlockSize, filehash.BlockSize + 1, 5*filehash.BlockSize + 7} {
		data := []byte(strings.TrimSuffix(strings.Repeat(line, size/len(line)+1)[:size], "\r"))
		path := write(t, "Release", data)
		for _, pattern := range []string{"Release", "Rel*", "Packages", ""} {
			a, err := filehash.File(t.Context(), path, nil, "other", pattern)
			if err != nil {
				t.Fatal(err)
			}
			got := a.Signable(statement.TextState)
			if asked := strings.HasPrefix(pattern, "Rel"); asked != (got != nil) {
				t.Fatalf("%q: signables %v", pattern, a.Signables)
			}
			if got == nil {
				continue
			}
			want, err := text.State(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if value, err := want.MarshalJSON(); err != nil || !bytes.Equal(value, got.Value) {
				t.Errorf("%d bytes: %s, want %s", size, got.Value, value)
			}
		}
	}
	for name, data := range map[string][]byte{"empty": nil, "binary": random(t, 3*filehash.BlockSize)} {
		path := write(t, "Release", data)
		if _, err := filehash.File(t.Context(), path, nil, "Release"); !errors.Is(err, text.ErrNotText) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if a, err := filehash.File(t.Context(), path, nil); err != nil || a.Size != uint64(len(data)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
