package sigcheck_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quorate/internal/sigcheck"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// batchOf signs each content.
func batchOf(t testing.TB, f format.Name, contents ...string) (k *sigcheck.Key, set statement.DigestSet, data []byte) {
	t.Helper()
	signer, k := keys(t)
	id, err := imasig.KeyID(k.Public, k.X509)
	check(t, err)
	var list []statement.SHA256
	for _, c := range contents {
		list = append(list, statement.ID([]byte(c)))
	}
	set, err = statement.NewDigestSet(list)
	check(t, err)
	for _, d := range set.Range(0, set.Len()) {
		value, err := sshsig.SignBlob(signer, sigcheck.Namespace, d)
		if f == format.IMA {
			value, err = imasig.Sign(signer, id, d)
		}
		check(t, err)
		data = sigcheck.AppendBatchLine(data, d, value)
	}
	return k, set, data
}

func agreed(set statement.DigestSet) sigcheck.File {
	return sigcheck.File{Agreed: func(have statement.DigestSet) error {
		if !bytes.Equal(have.Signable().Value, set.Signable().Value) {
			return errors.New("not agreed")
		}
		return nil
	}}
}

func TestBatchFile(t *testing.T) {
	for _, f := range []format.Name{format.IMA, format.SSHFiles} {
		k, set, data := batchOf(t, f, "one", "two", "three")
		r, err := k.Verify(f, agreed(set), data)
		check(t, err)
		if want, _ := k.Fingerprint(f); r.Count != 3 || r.Fingerprint != want || !r.Time.IsZero() {
			t.Errorf("%s: %+v", f, r)
		}
		if _, err := k.Verify(f, sigcheck.File{}, data); !errors.Is(err, sigcheck.ErrUnchecked) {
			t.Errorf("%s without what was agreed on: %v", f, err)
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		for name, bad := range map[string][]byte{
			"a line less":         bytes.Join(lines[:2], nil),
			"values exchanged":    swapValues(lines),
			"another file's line": append(bytes.Clone(data), bytes.Replace(lines[2], lines[2][:64], bytes.Repeat([]byte("f"), 64), 1)...),
		} {
			if _, err := k.Verify(f, agreed(set), bad); err == nil {
				t.Errorf("%s: %s passes", f, name)
			}
		}
	}
}

func swapValues(lines [][]byte) []byte {
	return bytes.Join([][]byte{lines[0][:65], lines[1][65:], lines[1][:65], lines[0][65:], lines[2]}, nil)
}

func TestParseBatchRefuses(t *testing.T) {
	_, _, data := batchOf(t, format.IMA, "one", "two")
	lines := strings.SplitAfter(string(data), "\n")
	many := strings.Repeat("x", statement.MaxDigests+1)
	var tooMany []byte
	for i := range many {
		var d statement.SHA256
		d[0], d[1], d[2] = byte(i>>16), byte(i>>8), byte(i)
		tooMany = sigcheck.AppendBatchLine(tooMany, d, []byte("x"))
	}
	for text, want := range map[string]string{
		"":                                             "0 different ones, want 1 to 10000",
		lines[1] + lines[0]:                            "line 2: the digest is not greater",
		lines[0] + lines[0]:                            "line 2: the digest is not greater",
		strings.TrimSuffix(lines[0], "\n"):             "line 1 is cut off",
		strings.Replace(lines[0], " ", "", 1):          "line 1: is not a digest, a space",
		strings.Replace(lines[0], " ", "  ", 1):        "line 1: the signature is not base64",
		strings.Replace(lines[0], "\n", "\r\n", 1):     "line 1: the signature is not base64",
		strings.ToUpper(lines[0][:64]) + lines[0][64:]: "line 1: ",
		lines[0][:65] + "\n":                           "line 1: the signature is not base64",
		string(tooMany):                                "more than 10000 lines",
	} {
		if _, err := sigcheck.ParseBatch([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

// TestBatchLineForSSH makes of a line what the documentation says, for ssh-keygen.
func TestBatchLineForSSH(t *testing.T) {
	k, _, data := batchOf(t, format.SSHFiles, "one")
	dir := t.TempDir()
	pub, err := sshsig.AllowedSigner("archive", sigcheck.Namespace, k.Public)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "allowed"), pub, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "one.files"), data, 0o600))
	run := exec.Command("sh", "-c", `{ echo "-----BEGIN SSH SIGNATURE-----"
		grep "^$(printf one | sha256sum | cut -d' ' -f1) " one.files | cut -d' ' -f2 | fold -w 70
		echo "-----END SSH SIGNATURE-----"; } > one.sshsig
		printf one | ssh-keygen -Y verify -f allowed -I archive -n file -s one.sshsig`)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func FuzzParseBatch(f *testing.F) {
	_, _, data := batchOf(f, format.IMA, "one", "two")
	f.Add(data)
	f.Add([]byte(strings.Repeat("0", 64) + " " + base64.StdEncoding.EncodeToString([]byte("x")) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := sigcheck.ParseBatch(data)
		if err != nil {
			return
		}
		var again []byte
		for i, d := range b.Set.Range(0, b.Set.Len()) {
			again = sigcheck.AppendBatchLine(again, d, b.Values[i])
		}
		if !bytes.Equal(again, data) {
			t.Errorf("%q has a second form, %q", data, again)
		}
	})
}
