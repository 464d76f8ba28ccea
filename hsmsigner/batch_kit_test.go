package hsmsigner_test

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/sigcheck"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// batchOutput is what the channel of that name signs: values of security.ima with a
// key for bare files, SSH signatures with one that may also make CMS.
func batchOutput(channel string) policy.Output {
	if strings.HasPrefix(channel, bareKey("")) {
		return policy.Output{Format: format.IMA, Key: channel}
	}
	return policy.Output{Format: format.SSHFiles, Key: channel}
}

// batchChannels has one for each format of batches and key type that can make it. It
// is called like the key.
func batchChannels() map[string][]policy.Output {
	channels := map[string][]policy.Output{}
	for _, kt := range keyTypes {
		for _, key := range []string{bareKey(kt), cmsKey(kt)} {
			if o := batchOutput(key); format.Possible(o.Format, kindOf(kt)) == nil {
				channels[key] = []policy.Output{o}
			}
		}
	}
	return channels
}

func kindOf(kt token.KeyType) format.KeyType {
	if kt == token.RSA3072 || kt == token.RSA4096 {
		return format.RSA
	}
	return format.KeyType(kt)
}

// inside are the contents of n files inside of a package.
func inside(n int) (files [][]byte) {
	for i := range n {
		files = append(files, fmt.Appendf(nil, "file %d\n", i))
	}
	return files
}

func digestsOf(t testing.TB, files [][]byte) statement.DigestSet {
	t.Helper()
	var list []statement.SHA256
	for _, f := range files {
		list = append(list, sha256.Sum256(f))
	}
	return must(statement.NewDigestSet(list))(t)
}

// batch is a good request for values of n files in a package of the channel.
func (w *world) batch(channel string, n int) ask {
	a := w.ask(channel)
	a.artifact, a.content = "hello.rpm", []byte("a package\n")
	a.outputs = []policy.Output{batchOutput(channel)}
	a.inner = digestsOf(w.t, inside(n))
	return a
}

// shelf is where parts are released to.
type shelf struct {
	mu    sync.Mutex
	parts [][]byte
	err   error // of the next release
}

func (s *shelf) put(_ context.Context, _ string, part []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, part)
	return s.err
}

// answerParts asks for a batch.
func (w *world) answerParts(data []byte) (hsmsigner.Reply, [][]byte) {
	w.t.Helper()
	s := new(shelf)
	reply := must(w.signer.AnswerParts(w.t.Context(), data, s.put))(w.t)
	return reply, s.parts
}

// signedBatch asks, wants all parts of the batch, and verifies each value.
func (w *world) signedBatch(a ask) (parts map[int][]byte, values map[statement.SHA256][]byte) {
	w.t.Helper()
	reply, list := w.answerParts(encode(w.t, a.request(w.t)))
	if reply.Refusal != nil || reply.Answer != nil {
		w.t.Fatalf("got %+v", reply)
	}
	return w.wholeBatch(a, list)
}

// wholeBatch wants the parts to be those of the batch, each any number of times, but
// always the same.
func (w *world) wholeBatch(a ask, list [][]byte) (parts map[int][]byte, values map[statement.SHA256][]byte) {
	w.t.Helper()
	parts, values = map[int][]byte{}, map[statement.SHA256][]byte{}
	label := a.outputs[0].Key
	key := must(soft.token.Key(label))(w.t)
	loaded := must(hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: label, X509: x509File(label)}))(w.t)
	checker, id := &sigcheck.Key{Public: key.Public, X509: loaded.X509}, a.request(w.t).ID
	for _, data := range list {
		answer := must(quorum.ParseAnswer(data))(w.t)
		if answer.Part == nil {
			w.t.Fatalf("no part: %.300s", data)
		}
		if old, again := parts[answer.Part.Index]; again {
			sameBytes(w.t, data, old)
			continue
		}
		parts[answer.Part.Index] = data
		check(w.t, answer.CheckPart(a.inner))
		o := answer.Signatures[0]
		if o.Output != a.outputs[0] || answer.Artifact != a.artifact || answer.ID != id {
			w.t.Errorf("part %+v of %s", answer.Part, answer.Artifact)
		}
		for i, value := range o.Values {
			digest := a.inner.At(answer.Part.First + i)
			check(w.t, checker.VerifyValue(o.Format, digest, value))
			values[digest] = value
		}
	}
	if len(parts) != quorum.PartCount(a.inner.Len()) || len(values) != a.inner.Len() {
		w.t.Fatalf("%d parts with %d values for %d digests", len(parts), len(values), a.inner.Len())
	}
	return parts, values
}

// judgeValue has a program of others judge one signature of a batch.
func judgeValue(t *testing.T, o policy.Output, file, value []byte) {
	t.Helper()
	dir := t.TempDir()
	block, _ := pem.Decode(must(os.ReadFile(x509File(o.Key)))(t))
	writeFile(t, filepath.Join(dir, "cert.der"), block.Bytes, 0o600)
	pub := must(hsmsigner.ExportPublic(t.Context(), soft.token, hsmsigner.Key{Label: o.Key}, hsmsigner.FormSSH, hsmsigner.Subject{}))(t)
	writeFile(t, filepath.Join(dir, "allowed"), append([]byte(`quorate namespaces="file" `), pub...), 0o600)
	command, good := "evmctl ima_verify --sigfile --key cert.der file", "verification is OK"
	if o.Format == format.SSHFiles {
		command, good = "ssh-keygen -Y verify -f allowed -I quorate -n file -s file.sig <file", `Good "file" signature`
		value = pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: value})
	}
	writeFile(t, filepath.Join(dir, "file.sig"), value, 0o600)
	verify := func(content []byte) (string, error) {
		writeFile(t, filepath.Join(dir, "file"), content, 0o600)
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := verify(file); err != nil || !strings.Contains(out, good) {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	if out, err := verify(append(file, 'x')); err == nil {
		t.Errorf("%s takes it for another file:\n%s", command, out)
	}
}
