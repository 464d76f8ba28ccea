package hsmsigner_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"quorate/hsmsigner"
	"quorate/internal/pgpsig"
	"quorate/quorum"
	"quorate/quorum/hashstate"
	"quorate/quorum/policy"
)

// TestSignaturesForOthers has the programs that users run judge what the signer
// made of a file it never saw.
func TestSignaturesForOthers(t *testing.T) {
	for _, kt := range keyTypes {
		t.Run(string(kt), func(t *testing.T) {
			w := newWorld(t)
			a := w.ask(string(kt))
			_, answer := w.signed(encode(t, a.request(t)))
			sig := answer.Signatures[0]
			if sig.Fingerprint != certificate(t, string(kt)).Fingerprint() || !sig.SignedAt.Equal(now.Truncate(1e9)) {
				t.Errorf("answer names key %s and time %s", sig.Fingerprint, sig.SignedAt)
			}
			j := newJudge(t, certFile(kt))
			j.accept(a.content, sig.Signature)
			j.accept(a.content, pgpsig.Armor(sig.Signature))
			j.reject([]byte("hello, world!\n"), sig.Signature)
		})
	}
}

func TestNotations(t *testing.T) {
	w := newWorld(t)
	a := w.ask("ed25519")
	a.target = "pkg:generic/" + strings.Repeat("long", 100)
	r := a.request(t)
	_, answer := w.signed(encode(t, r))
	st := must(hashstate.Decode(hashstate.SHA512, r.Signables[quorum.StateSHA512]))(t)
	h := must(st.Resume())(t)
	sig := must(pgpsig.VerifyDetached(certificate(t, "ed25519"), h, answer.Signatures[0].Signature))(t)
	want := []pgpsig.Notation{
		{Name: hsmsigner.NotationChannel, Value: "ed25519"},
		{Name: hsmsigner.NotationTarget, Value: a.target[:253] + "..."},
		{Name: hsmsigner.NotationPolicy, Value: fmt.Sprintf("7 sha256:%s", w.policy.Digest)},
		{Name: hsmsigner.NotationEvidence, Value: quorum.EvidenceDigest(r.Evidence).String()},
		{Name: hsmsigner.NotationQuorum, Value: "distro 2 of 3"},
	}
	if !slices.Equal(sig.Notations, want) {
		t.Errorf("got %v\nwant %v", sig.Notations, want)
	}
	if n := len(answer.Signatures[0].Signature); n > 1500 {
		t.Errorf("the packet has %d bytes", n)
	}
}

func TestAnswerSaysWhy(t *testing.T) {
	w := newWorld(t)
	r := w.ask("ed25519").request(t)
	_, a := w.signed(encode(t, r))
	if a.ID != r.ID || a.Channel != r.Channel || a.Target != r.Target || a.Artifact != r.Artifact || a.Digest != r.Digest {
		t.Errorf("answer is about something else: %+v", a)
	}
	if a.Policy != r.Policy || a.Evidence != quorum.EvidenceDigest(r.Evidence) || len(a.Statements) != 2 {
		t.Errorf("answer says another reason: %+v", a)
	}
	recs := w.records()
	if len(recs) != 1 || recs[0].Request != r.ID || recs[0].PolicyVersion != 7 || len(recs[0].Statements) != 2 ||
		len(recs[0].Signatures) != 1 || !bytes.Equal(recs[0].Signatures[0].Bytes, a.Signatures[0].Signature) {
		t.Errorf("ledger has %+v", recs)
	}
}

// TestSeveralOutputs signs one request with two keys, all or nothing.
func TestSeveralOutputs(t *testing.T) {
	w := newWorld(t)
	w.policy = loadPolicy(t, policyText(t, 8, func(s string) string {
		return strings.Replace(s, `sign = [{ format = "openpgp", key = "ed25519" }]`,
			`sign = [{ format = "openpgp", key = "ed25519" }, { format = "openpgp", key = "p256" }]`, 1)
	}))
	w.restart()
	a := w.ask("ed25519")
	a.outputs = append(a.outputs, policy.Output{Format: policy.OpenPGP, Key: "p256"})
	_, answer := w.signed(encode(t, a.request(t)))
	if len(answer.Signatures) != 2 || answer.Signatures[0].Key != "ed25519" || answer.Signatures[1].Key != "p256" {
		t.Fatalf("got %+v", answer.Signatures)
	}
	for _, sig := range answer.Signatures {
		newJudge(t, filepath.Join(soft.dir, sig.Key+".asc")).accept(a.content, sig.Signature)
	}
}

// TestCopiesAtOnce sends one request many times at the same time.
func TestCopiesAtOnce(t *testing.T) {
	w := newWorld(t)
	data := encode(t, w.ask("p256").request(t))
	answers := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			if reply, err := w.signer.Answer(t.Context(), data); err == nil {
				answers[i] = reply.Answer
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		sameBytes(t, a, answers[0])
	}
	w.wantSigns(1)
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"short", 5, "short"}, {"longer", 5, "lo..."}, {"ääää", 6, "ä..."}, {"ä€", 4, "..."}, {"aäää", 6, "aä..."},
	} {
		if got := hsmsigner.Clip(c.in, c.n); got != c.want {
			t.Errorf("clip %q to %d: got %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

// judge holds a certificate and asks gpg and sq about signatures.
type judge struct {
	t    testing.TB
	home string
	cert string
}

func newJudge(t testing.TB, cert string) judge {
	t.Helper()
	for _, tool := range []string{"gpg", "gpgconf", "sq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run make test, which installs it", tool)
		}
	}
	// Not t.TempDir: its path may be too long for gpg-agent's socket.
	j := judge{t, must(os.MkdirTemp("", "pgp"))(t), cert}
	t.Cleanup(func() {
		j.try("gpgconf", "--kill", "all")
		os.RemoveAll(j.home)
	})
	if out, err := j.try("gpg", "--batch", "--import", cert); err != nil {
		t.Fatalf("gpg import: %v\n%s", err, out)
	}
	return j
}

func (j judge) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+j.home, "HOME="+j.home, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (j judge) verdicts(content, sig []byte) map[string]error {
	file := writeFile(j.t, filepath.Join(j.home, "file"), content, 0o600)
	sigFile := writeFile(j.t, filepath.Join(j.home, "file.sig"), sig, 0o600)
	verdicts := map[string]error{}
	for tool, args := range map[string][]string{
		"gpg": {"--batch", "--trust-model", "always", "--verify", sigFile, file},
		"sq":  {"verify", "--signer-cert", j.cert, "--detached", sigFile, file},
	} {
		out, err := j.try(tool, args...)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		verdicts[tool] = err
	}
	return verdicts
}

func (j judge) accept(content, sig []byte) {
	j.t.Helper()
	for tool, err := range j.verdicts(content, sig) {
		if err != nil {
			j.t.Errorf("%s refuses a signature of ours: %v", tool, err)
		}
	}
}

func (j judge) reject(content, sig []byte) {
	j.t.Helper()
	for tool, err := range j.verdicts(content, sig) {
		if err == nil {
			j.t.Errorf("%s accepts the signature for another file", tool)
		}
	}
}
