//go:build linux

package tokenproc_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"testing"

	"quorate/hsmsigner/tokenproc"
)

// FuzzFrame: what can be read is what would be written, and bodies that are not
// messages are refused without harm.
func FuzzFrame(f *testing.F) {
	for k := range byte(14) {
		f.Add(tokenproc.Frame{Kind: k, ID: uint64(k), Body: []byte("{}")}.Append(nil))
	}
	state := tokenproc.FakeState("key", make(ed25519.PublicKey, ed25519.PublicKeySize))
	f.Add(tokenproc.Frame{Kind: tokenproc.KindState, Body: state}.Append(nil))
	f.Add(tokenproc.Frame{Kind: 2, ID: 9, Body: tokenproc.AppendSign(nil, 5, "key", digest(1))}.Append(nil))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := tokenproc.ReadFrame(bytes.NewReader(data))
		if err != nil {
			if errors.Is(err, io.EOF) && len(data) > 13 {
				t.Error("a torn frame is taken for the end")
			}
			return
		}
		if again := got.Append(nil); !bytes.Equal(again, data[:len(again)]) {
			t.Errorf("read %x, written %x", data, again)
		}
		tokenproc.ParseAll(got.Body)
		hash, label, digest, err := tokenproc.ParseSign(got.Body)
		if err == nil && !bytes.Equal(tokenproc.AppendSign(nil, hash, label, digest), got.Body) {
			t.Errorf("sign request %x is ambiguous", got.Body)
		}
	})
}

// FuzzChildSays: whatever a child says, every request of the parent comes to an
// end.
func FuzzChildSays(f *testing.F) {
	var all []byte
	for id := range uint64(5) {
		all = tokenproc.Frame{Kind: tokenproc.KindSignature, ID: id + 1, Body: digest(1)}.Append(all)
		f.Add(bytes.Clone(all))
	}
	f.Add(tokenproc.Frame{Kind: tokenproc.KindAskPIN, ID: 1}.Append(nil))
	state := tokenproc.FakeState("key", make(ed25519.PublicKey, ed25519.PublicKeySize))
	f.Add(tokenproc.Frame{Kind: tokenproc.KindState, ID: 1, Body: state}.Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, w, err := os.Pipe()
		check(t, err)
		defer r.Close()
		go func() {
			defer w.Close()
			_, _ = w.Write(data) // fails when the reader has heard enough
		}()
		if n := tokenproc.HearChild(r); n != 3 {
			t.Errorf("%d of 3 requests came to an end", n)
		}
	})
}

// FuzzParentSays: a child takes no more than there is, and ends.
func FuzzParentSays(f *testing.F) {
	sign := tokenproc.Frame{Kind: 2, ID: 9, Body: tokenproc.AppendSign(nil, 5, "key", digest(1))}.Append(nil)
	f.Add(append(sign, tokenproc.Frame{Kind: 4, ID: 1, Body: []byte("pin")}.Append(nil)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := tokenproc.HearParent(bytes.NewReader(data)); n > len(data)/13 {
			t.Errorf("%d requests in %d bytes", n, len(data))
		}
	})
}
