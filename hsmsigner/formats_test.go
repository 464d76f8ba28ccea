package hsmsigner_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
	"quorate/internal/pgpsig"
	"quorate/internal/sigformat/cleartext"
	"quorate/internal/sigformat/vsa"
	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/policy"
)

// Besides the keys that are called like their type, which have an OpenPGP
// certificate, there is one of each type for CMS and one for bare files.
func cmsKey(kt token.KeyType) string  { return "cms-" + string(kt) }
func bareKey(kt token.KeyType) string { return "bare-" + string(kt) }

var moreKeys = sync.OnceValue(func() error {
	for _, kt := range keyTypes {
		for _, label := range []string{cmsKey(kt), bareKey(kt)} {
			if _, err := soft.token.CreateKey(label, kt); err != nil {
				return err
			}
			cert, err := hsmsigner.ExportPublic(context.Background(), soft.token, hsmsigner.Key{Label: label}, hsmsigner.FormX509,
				hsmsigner.Subject{CommonName: "Example " + label, NotBefore: keyTime, NotAfter: keyTime.AddDate(40, 0, 0)})
			if err != nil {
				return err
			}
			if err := os.WriteFile(x509File(label), cert, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
})

func x509File(label string) string { return filepath.Join(soft.dir, label+".pem") }

// outputsFor are all formats that keys of the type can make.
func outputsFor(kt token.KeyType) (list []policy.Output) {
	key := map[format.Name]string{format.OpenPGP: string(kt), format.Cleartext: string(kt), format.SSHSIG: string(kt), format.VSA: string(kt),
		format.CMS: cmsKey(kt), format.CMSSHA256: cmsKey(kt),
		format.CMSPlain: bareKey(kt), format.RawSHA256: bareKey(kt), format.RawSHA512: bareKey(kt)}
	for _, f := range format.All() {
		if key[f.Name] != "" && (kt != token.Ed25519 || format.Possible(f.Name, format.Ed25519) == nil) {
			list = append(list, policy.Output{Format: f.Name, Key: key[f.Name]})
		}
	}
	return list
}

// channelText is another channel for a policy.
func channelText(name string, outputs ...policy.Output) string {
	var sign []string
	for _, o := range outputs {
		sign = append(sign, fmt.Sprintf("{ format = %q, key = %q }", o.Format, o.Key))
	}
	return fmt.Sprintf("[[channel]]\nname = %q\ntargets = [\"pkg:generic/*\"]\nquorum = \"distro\"\ndissent = \"report\"\nsign = [%s]\n",
		name, strings.Join(sign, ", "))
}

// newFormatWorld is a world with every key, and a channel for each set of outputs.
func newFormatWorld(t testing.TB, channels map[string][]policy.Output) *world {
	t.Helper()
	check(t, moreKeys())
	w := newWorld(t)
	w.more = nil
	for _, kt := range keyTypes {
		for _, label := range []string{cmsKey(kt), bareKey(kt)} {
			w.more = append(w.more, must(hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: label, X509: x509File(label)}))(t))
		}
	}
	w.policy = loadPolicy(t, policyText(t, 8, func(s string) string {
		for name, outputs := range channels {
			s += channelText(name, outputs...)
		}
		return s
	}))
	w.restart()
	return w
}

// TestEveryFormatForOthers signs one file in every format with keys of every type,
// and has programs judge that are not ours.
func TestEveryFormatForOthers(t *testing.T) {
	for _, kt := range keyTypes {
		t.Run(string(kt), func(t *testing.T) {
			w := newFormatWorld(t, map[string][]policy.Output{"all": outputsFor(kt)})
			a := w.ask("all")
			a.outputs = outputsFor(kt)
			data := encode(t, a.request(t))
			reply, answer := w.signed(data)
			for i, s := range answer.Signatures {
				if s.Output != a.outputs[i] || s.Fingerprint == "" {
					t.Errorf("output %d: %+v", i, s)
				}
				newTools(t, s).judge(a.content, s)
			}
			n := w.token.signs.Load()
			again, _ := w.signed(data)
			sameBytes(t, again.Answer, reply.Answer)
			w.wantSigns(n)
		})
	}
}

// tools judges one signature with programs of others.
type tools struct {
	t    testing.TB
	dir  string
	kind crypto.PublicKey
}

func newTools(t testing.TB, s quorum.SignedOutput) tools {
	t.Helper()
	x := tools{t, t.TempDir(), must(soft.token.Key(s.Key))(t).Public}
	for form, name := range map[hsmsigner.Form]string{hsmsigner.FormPEM: "key.pem", hsmsigner.FormSSH: "key.pub"} {
		data := must(hsmsigner.ExportPublic(t.Context(), soft.token, hsmsigner.Key{Label: s.Key}, form, hsmsigner.Subject{}))(t)
		writeFile(t, filepath.Join(x.dir, name), data, 0o600)
	}
	return x
}

// judge wants the tool of the format to take the signature for the file and for
// no other.
func (x tools) judge(content []byte, s quorum.SignedOutput) {
	x.t.Helper()
	if s.Format == format.OpenPGP {
		j := newJudge(x.t, certFile(token.KeyType(s.Key)))
		j.accept(content, s.Signature)
		j.reject(content[1:], s.Signature)
		return
	}
	if s.Format == format.VSA {
		x.judgeSummary(content, s)
		return
	}
	if s.Format == format.Cleartext {
		x.judgeText(content, s)
		return
	}
	writeFile(x.t, filepath.Join(x.dir, "sig"), s.Signature, 0o600)
	for _, args := range x.verifiers(s) {
		writeFile(x.t, filepath.Join(x.dir, "file"), content, 0o600)
		if out, err := x.try(args...); err != nil {
			x.t.Errorf("%s by %s: %v: %v\n%s", s.Format, s.Key, args, err, out)
		}
		writeFile(x.t, filepath.Join(x.dir, "file"), content[1:], 0o600)
		if out, err := x.try(args...); err == nil {
			x.t.Errorf("%s by %s: %v takes another file\n%s", s.Format, s.Key, args, out)
		}
	}
}

// judgeText frames the signature as who has the text does, and wants what apt calls
// to take the message, and none of another text.
func (x tools) judgeText(content []byte, s quorum.SignedOutput) {
	x.t.Helper()
	cert := must(os.ReadFile(certFile(token.KeyType(s.Key))))(x.t)
	c := must(pgpsig.ParseCertificate(cert))(x.t)
	writeFile(x.t, filepath.Join(x.dir, "cert.pgp"), c.Bytes(), 0o600)
	msg := must(cleartext.Frame(c, content, s.Signature))(x.t)
	for _, good := range []bool{true, false} {
		if !good {
			msg = bytes.Replace(msg, content[:2], []byte("x"), 1)
		}
		writeFile(x.t, filepath.Join(x.dir, "InRelease"), msg, 0o600)
		if out, err := x.try("gpgv", "--keyring", filepath.Join(x.dir, "cert.pgp"), "InRelease"); (err == nil) != good {
			x.t.Errorf("%s by %s: %v\n%s", s.Format, s.Key, err, out)
		}
	}
	if _, err := cleartext.Frame(c, content[1:], s.Signature); err == nil {
		x.t.Errorf("%s by %s: good for another text", s.Format, s.Key)
	}
}

func (x tools) verifiers(s quorum.SignedOutput) [][]string {
	certtool := []string{"certtool", "--p7-verify", "--inder", "--infile", "sig", "--load-certificate", x509File(s.Key), "--load-data", "file"}
	openssl := []string{"openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "sig", "-CAfile", x509File(s.Key), "-content", "file", "-out", "out"}
	switch s.Format {
	case format.SSHSIG:
		pub := must(os.ReadFile(filepath.Join(x.dir, "key.pub")))(x.t)
		writeFile(x.t, filepath.Join(x.dir, "allowed"), append([]byte(`quorate namespaces="file" `), pub...), 0o600)
		return [][]string{{"sh", "-c", "ssh-keygen -Y verify -f allowed -I quorate -n file -s sig <file"}}
	case format.RawSHA256:
		return [][]string{{"openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "file"}}
	case format.RawSHA512:
		return [][]string{{"openssl", "dgst", "-sha512", "-verify", "key.pem", "-signature", "sig", "file"}}
	case format.CMSPlain: // the certificate does not go along
		return [][]string{append(openssl, "-certfile", x509File(s.Key)), certtool}
	}
	if _, ed := x.kind.(ed25519.PublicKey); ed {
		return [][]string{certtool} // openssl 3.0 asks for a digest with Ed25519, and fails
	}
	return [][]string{openssl, certtool}
}

func (x tools) try(args ...string) (string, error) {
	if _, err := exec.LookPath(args[0]); err != nil {
		x.t.Fatalf("%s is missing: run make test, which installs it", args[0])
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = x.dir
	cmd.Env = append(os.Environ(), "HOME="+x.dir, "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// anyKey verifies as sigstore and in-toto do.
type anyKey struct{ crypto.PublicKey }

func (k anyKey) Public() crypto.PublicKey { return k.PublicKey }
func (k anyKey) KeyID() (string, error)   { return "", nil }
func (k anyKey) Verify(_ context.Context, data, sig []byte) error {
	sum := sha256.Sum256(data)
	ok := false
	switch pub := k.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, sum[:], sig)
		if pub.Curve.Params().BitSize == 384 {
			h := crypto.SHA384.New()
			h.Write(data)
			ok = ecdsa.VerifyASN1(pub, h.Sum(nil), sig)
		}
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, data, sig)
	}
	if !ok {
		return fmt.Errorf("does not verify under %T", k.PublicKey)
	}
	return nil
}

func (x tools) judgeSummary(content []byte, s quorum.SignedOutput) {
	x.t.Helper()
	v := must(dsse.NewEnvelopeVerifier(anyKey{x.kind}))(x.t)
	var e dsse.Envelope
	check(x.t, json.Unmarshal(s.Signature, &e))
	if _, err := v.Verify(x.t.Context(), &e); err != nil {
		x.t.Errorf("vsa by %s: %v", s.Key, err)
	}
	payload := string(must(e.DecodeB64Payload())(x.t))
	for _, want := range []string{fmt.Sprintf("%x", sha256.Sum256(content)), "QUORATE_AGREED_2_OF_3", "urn:quorate:signer:hsm",
		"urn:quorate:policy:8", `"https://slsa.dev/verification_summary/v1"`} {
		if !strings.Contains(payload, want) {
			x.t.Errorf("no %q in %s", want, payload)
		}
	}
}

// TestSummarySaysWhy has the summary name the evidence, and leave out a SHA-512
// that nobody had to agree on.
func TestSummarySaysWhy(t *testing.T) {
	own := policy.Output{Format: format.VSA, Key: "ed25519"}
	w := newFormatWorld(t, map[string][]policy.Output{"both": {own, {Format: format.OpenPGP, Key: "ed25519"}}, "bare": {own}})
	for channel, has512 := range map[string]bool{"both": true, "bare": false} {
		a := w.ask(channel)
		a.outputs, a.voters = []policy.Output{own}, operators
		r := a.request(t)
		if len(r.Signables) > 0 {
			t.Errorf("%s: a summary needs no state", channel)
		}
		_, answer := w.signed(encode(t, r))
		s := must(vsa.Verify(must(soft.token.Key("ed25519"))(t).Public, answer.Signatures[0].Signature))(t)
		if !slices.Equal(s.Inputs, answer.Statements) || s.PolicyDigest != w.policy.Digest || s.Agreed != 3 || s.Operators != 3 ||
			s.Channel != channel || s.Target != target || s.Artifact != "hello" || !s.Time.Equal(now.Truncate(time.Second)) {
			t.Errorf("%s: %+v", channel, s)
		}
		if s.SHA512 != r.Digest.SHA512 || has512 == (s.SHA512 == [64]byte{}) {
			t.Errorf("%s: sha512 %s", channel, s.SHA512)
		}
	}
}

// TestInvariant7EveryFormat puts a token in the place of the real one that answers
// with another key's signature, and with one bit changed.
func TestInvariant7EveryFormat(t *testing.T) {
	for _, kt := range []token.KeyType{token.RSA3072, token.Ed25519} {
		w := newFormatWorld(t, map[string][]policy.Output{"all": outputsFor(kt)})
		for _, o := range outputsFor(kt) {
			w.run(string(kt)+" "+string(o.Format), func(t *testing.T) {
				a := w.ask("all")
				a.outputs, a.artifact = []policy.Output{o}, string(o.Format)
				data := encode(t, a.request(t))
				for name, spoil := range map[string]func([]byte) []byte{
					"one bit off": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
					"zeros":       func(b []byte) []byte { return make([]byte, len(b)) },
					"nothing":     func([]byte) []byte { return nil },
					"too long":    func(b []byte) []byte { return append(b, 0) },
				} {
					w.token.sign = func(ctx context.Context, label string, h crypto.Hash, digest []byte) ([]byte, error) {
						sig, err := soft.token.Sign(ctx, label, h, digest)
						return spoil(bytes.Clone(sig)), err
					}
					reply := w.refused(data, quorum.RefuseSignatureCheck)
					if len(reply.Alarms) != 1 {
						t.Errorf("%s: alarms %+v", name, reply.Alarms)
					}
				}
				w.token.sign = nil
				w.signed(data)
			})
		}
	}
}

// TestPolicyRefusedByTheSigner: what a key cannot or must not make is found out
// when the policy is loaded, and named.
func TestPolicyRefusedByTheSigner(t *testing.T) {
	w := newFormatWorld(t, nil)
	for _, c := range []struct {
		output policy.Output
		want   string
	}{
		{policy.Output{Format: format.RawSHA256, Key: bareKey(token.Ed25519)}, "not its digest"},
		{policy.Output{Format: format.RawSHA512, Key: bareKey(token.Ed25519)}, "not its digest"},
		{policy.Output{Format: format.CMSPlain, Key: bareKey(token.Ed25519)}, "not its digest"},
		{policy.Output{Format: format.CMSSHA256, Key: cmsKey(token.Ed25519)}, "RFC 8419"},
		{policy.Output{Format: format.OpenPGP, Key: cmsKey(token.P256)}, "needs the OpenPGP certificate"},
	} {
		p := loadPolicy(t, policyText(t, 9, func(s string) string { return s + channelText("odd", c.output) }))
		err := w.signer.Replace(p, w.options().Keys)
		if err == nil {
			t.Errorf("%+v was loaded", c.output)
			continue
		}
		for _, want := range []string{c.want, `channel "odd"`, string(c.output.Format), fmt.Sprintf("key %q", c.output.Key), "of type "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: no %q in %v", c.output, want, err)
			}
		}
		if w.signer.Policy().Version != 8 {
			t.Fatal("the policy that was refused is in force")
		}
		o := w.options()
		o.Policy = p
		if _, err := hsmsigner.New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("at the start: %v", err)
		}
	}
}

// TestUnsafeKeysRefusedByTheSigner: an OpenPGP certificate, or a second label,
// makes a key unsafe that the policy alone could not know of.
func TestUnsafeKeysRefusedByTheSigner(t *testing.T) {
	w := newFormatWorld(t, nil)
	load := func(outputs ...policy.Output) *policy.Policy {
		return loadPolicy(t, policyText(t, 9, func(s string) string { return s[:strings.Index(s, "[[channel]]")] + channelText("odd", outputs...) }))
	}
	for _, f := range []format.Name{format.RawSHA256, format.CMSPlain, format.CMS} {
		o := w.options()
		// A configuration that gives one key both certificates.
		k := o.Keys[slices.IndexFunc(o.Keys, func(k hsmsigner.Key) bool { return k.Label == "p256" })]
		k.X509 = must(hsmsigner.LoadKey(hsmsigner.KeyConfig{Label: "x", X509: x509Of(t, "p256")}))(t).X509
		o.Keys, o.Policy = []hsmsigner.Key{k}, load(policy.Output{Format: f, Key: "p256"})
		if _, err := hsmsigner.New(o); err == nil || !strings.Contains(err.Error(), "has an OpenPGP certificate") {
			t.Errorf("%s: %v", f, err)
		}
	}
	o := w.options()
	o.Token = &watchedToken{Token: soft.token, key: func(string) (token.Key, error) { return soft.token.Key(bareKey(token.P256)) }}
	o.Keys = []hsmsigner.Key{{Label: "a"}, {Label: "b"}}
	o.Policy = load(policy.Output{Format: format.SSHSIG, Key: "a"}, policy.Output{Format: format.RawSHA256, Key: "b"})
	if _, err := hsmsigner.New(o); err == nil || !strings.Contains(err.Error(), `keys "a" (sshsig in channel "odd") and "b" (raw-sha256 in channel "odd") are one key`) {
		t.Errorf("one key under two labels: %v", err)
	}
}

func x509Of(t testing.TB, label string) string {
	t.Helper()
	cert := must(hsmsigner.ExportPublic(t.Context(), soft.token, hsmsigner.Key{Label: label}, hsmsigner.FormX509,
		hsmsigner.Subject{CommonName: label, NotBefore: keyTime, NotAfter: keyTime.AddDate(1, 0, 0)}))(t)
	return writeFile(t, filepath.Join(t.TempDir(), label+".pem"), cert, 0o600)
}

// TestX509NotValid: a certificate that is over signs no more.
func TestX509NotValid(t *testing.T) {
	out := policy.Output{Format: format.CMS, Key: cmsKey(token.P256)}
	w := newFormatWorld(t, map[string][]policy.Output{"cms": {out}})
	a := w.ask("cms")
	a.outputs = []policy.Output{out}
	for _, at := range []time.Time{keyTime.Add(-time.Hour), keyTime.AddDate(41, 0, 0)} {
		w.now = at
		a.finished = at.Add(-time.Minute)
		reply := w.refused(encode(t, a.request(t)), quorum.RefuseKeyNotUsable)
		if reply.Refusal.Retryable != at.Before(keyTime) {
			t.Errorf("%s: %+v", at, reply.Refusal)
		}
	}
	if n := len(w.commitments()); n != 0 {
		t.Errorf("%d commitments", n)
	}
}

// TestSHA512JoinsLater signs a summary under a policy that needs no SHA-512, and
// OpenPGP under the next one: the same file, so no other digest.
func TestSHA512JoinsLater(t *testing.T) {
	own := policy.Output{Format: format.VSA, Key: "ed25519"}
	pgp := policy.Output{Format: format.OpenPGP, Key: "ed25519"}
	w := newFormatWorld(t, map[string][]policy.Output{"late": {own}})
	a := w.ask("late")
	a.outputs = []policy.Output{own}
	w.signed(encode(t, a.request(t)))
	w.policy = loadPolicy(t, policyText(t, 9, func(s string) string { return s + channelText("late", own, pgp) }))
	w.restart()
	a.policy, a.outputs = w.policy, []policy.Output{pgp}
	_, answer := w.signed(encode(t, a.request(t)))
	newTools(t, answer.Signatures[0]).judge(a.content, answer.Signatures[0])
	a.content = []byte("other\n")
	w.refused(encode(t, a.request(t)), quorum.RefuseOtherDigest)
}

func TestSelftestEveryFormat(t *testing.T) {
	outputs := slices.Concat(outputsFor(token.P256), outputsFor(token.Ed25519))
	w := newFormatWorld(t, map[string][]policy.Output{"all": outputs})
	var configs []hsmsigner.KeyConfig
	for _, kt := range []token.KeyType{token.P256, token.Ed25519} {
		configs = append(configs, hsmsigner.KeyConfig{Label: string(kt), Certificate: certFile(kt)},
			hsmsigner.KeyConfig{Label: cmsKey(kt), X509: x509File(cmsKey(kt))}, hsmsigner.KeyConfig{Label: bareKey(kt), X509: x509File(bareKey(kt))})
	}
	tested := map[policy.Output]bool{}
	for _, r := range hsmsigner.Selftest(t.Context(), soft.token, configs, w.policy) {
		if r.Err != nil || r.Fingerprint == "" {
			t.Errorf("%s %s: %v", r.Key, r.Format, r.Err)
		}
		tested[policy.Output{Format: r.Format, Key: r.Key}] = true
	}
	for _, o := range outputs {
		if !tested[o] {
			t.Errorf("%+v was not tested", o)
		}
	}
	// A key that nobody asks for is tested in a format that it can make.
	for _, r := range hsmsigner.Selftest(t.Context(), soft.token, configs[1:3], nil) {
		if r.Err != nil {
			t.Errorf("%s %s: %v", r.Key, r.Format, r.Err)
		}
	}
}
