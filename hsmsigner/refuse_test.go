package hsmsigner_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// badRequest is one that gets a refusal before the token is asked.
type badRequest struct {
	name string
	code quorum.RefusalCode
	mute bool      // too malformed to be answered
	at   time.Time // of the request; zero: as usual
	data []byte
}

// badRequests are all of them, each for a good reason of its own.
func badRequests(w *world) []badRequest {
	t := w.t
	good := w.ask("ed25519")
	raw := func(r *quorum.Request) []byte { r.ID = r.ComputeID(); return encode(t, r) }
	edit := func(f func(*quorum.Request)) []byte {
		r := good.request(t)
		f(r)
		return raw(r)
	}
	with := func(f func(*ask)) []byte {
		a := good
		f(&a)
		return encode(t, a.request(t))
	}
	return []badRequest{
		{name: "stale policy version", code: quorum.RefusePolicyMismatch, data: edit(func(r *quorum.Request) { r.Policy.Version-- })},
		{name: "policy of other bytes", code: quorum.RefusePolicyMismatch, data: edit(func(r *quorum.Request) { r.Policy.Digest[0] ^= 1 })},
		{name: "expired policy", code: quorum.RefusePolicyExpired, at: w.policy.Expires, data: encode(t, good.request(t))},
		{name: "one statement too few", code: quorum.RefuseQuorum, data: with(func(a *ask) { a.voters = operators[:1] })},
		{name: "no statement", code: quorum.RefuseQuorum, data: edit(func(r *quorum.Request) { r.Evidence = nil })},
		{name: "one operator twice", code: quorum.RefuseEvidence, data: with(func(a *ask) { a.voters = []string{"berlin", "berlin"} })},
		{name: "statements for another target", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Target = "pkg:generic/other@1" })},
		{name: "statements for another stage", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Stage = "final" })},
		{name: "statements for another artifact", code: quorum.RefuseQuorum, data: edit(func(r *quorum.Request) { r.Artifact = "other" })},
		{name: "a digest nobody voted for", code: quorum.RefuseQuorum, data: edit(func(r *quorum.Request) { r.Digest.SHA256[0] ^= 1 })},
		{name: "a SHA-512 nobody voted for", code: quorum.RefuseQuorum, data: edit(func(r *quorum.Request) { r.Digest.SHA512[0] ^= 1 })},
		{name: "operators that differ", code: quorum.RefuseQuorum, data: edit(func(r *quorum.Request) {
			other := good
			other.content = []byte("other")
			r.Evidence[1].Raw = other.statement(t, operators[1]).Raw()
		})},
		{name: "forged statement signature", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Evidence[0].Raw = forge(t, r.Evidence[0].Raw) })},
		{name: "unknown builder", code: quorum.RefuseEvidence, data: with(func(a *ask) { a.voters = []string{"berlin", "mallory"} })},
		{name: "evidence of unknown kind", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Evidence[0].Kind = "hearsay" })},
		{name: "evidence that is not JSON", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Evidence[0].Raw = []byte("yes!") })},
		{name: "a statement of two megabytes", code: quorum.RefuseEvidence, data: edit(func(r *quorum.Request) { r.Evidence[0].Raw = bytes.Repeat([]byte(" "), 2<<20) })},
		{name: "too many statements", code: quorum.RefuseTooLarge, data: edit(func(r *quorum.Request) {
			for range quorum.MaxEvidence {
				r.Evidence = append(r.Evidence, quorum.Evidence{Kind: quorum.KindDSSE})
			}
		})},
		{name: "oversized", code: quorum.RefuseTooLarge, mute: true, data: make([]byte, quorum.MaxRequest+1)},
		{name: "format not allowed", code: quorum.RefuseFormat, data: edit(func(r *quorum.Request) { r.Outputs[0].Format = "sshsig" })},
		{name: "key of another channel", code: quorum.RefuseFormat, data: edit(func(r *quorum.Request) { r.Outputs[0].Key = "p256" })},
		{name: "key that nobody knows", code: quorum.RefuseFormat, data: edit(func(r *quorum.Request) { r.Outputs[0].Key = "secret" })},
		{name: "no outputs", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { r.Outputs = nil })},
		{name: "one output twice", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { r.Outputs = append(r.Outputs, r.Outputs[0]) })},
		{name: "unknown channel", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { r.Channel = "extra" })},
		{name: "no state", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { clear(r.Signables) })},
		{name: "a state too many", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { r.Signables["file:sha1-state"] = []byte("{}") })},
		{name: "a state that is none", code: quorum.RefuseState, data: edit(func(r *quorum.Request) { r.Signables[quorum.StateSHA512] = []byte(`{"h":"00"}`) })},
		{name: "id of another request", code: quorum.RefuseBadRequest, data: func() []byte {
			r := good.request(t)
			r.Artifact = "other"
			return encode(t, r)
		}()},
		{name: "version of the future", code: quorum.RefuseBadRequest, data: edit(func(r *quorum.Request) { r.Version = 2 })},
		{name: "unknown field", code: quorum.RefuseBadRequest, data: bytes.Replace(encode(t, good.request(t)), []byte(`{`), []byte(`{"haste":true,`), 1)},
		{name: "artifact with an endless name", code: quorum.RefuseQuorum, mute: true, data: edit(func(r *quorum.Request) { r.Artifact = strings.Repeat("x", 1<<20) })},
		{name: "truncated", code: quorum.RefuseBadRequest, mute: true, data: encode(t, good.request(t))[:1000]},
		{name: "trailing bytes", code: quorum.RefuseBadRequest, mute: true, data: append(encode(t, good.request(t)), '}')},
		{name: "duplicate key", code: quorum.RefuseBadRequest, mute: true, data: bytes.Replace(encode(t, good.request(t)), []byte(`{`), []byte(`{"version":1,`), 1)},
		{name: "garbage bytes", code: quorum.RefuseBadRequest, mute: true, data: []byte("\x00\xffgarbage")},
		{name: "empty", code: quorum.RefuseBadRequest, mute: true, data: nil},
		{name: "a channel that is no name", code: quorum.RefuseBadRequest, mute: true, data: edit(func(r *quorum.Request) { r.Channel = "a.>" })},
	}
}

// forge changes the payload and keeps the signature.
func forge(t testing.TB, raw []byte) []byte {
	t.Helper()
	s := must(statement.Parse(raw))(t)
	other := must(statement.Sign(s, builderKey("mallory")))(t)
	return other.Raw()
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	for _, bad := range badRequests(w) {
		w.run(bad.name, func(t *testing.T) {
			w.now = now
			if !bad.at.IsZero() {
				w.now = bad.at
			}
			reply := w.refused(bad.data, bad.code)
			if bad.mute != (reply.Channel == "") {
				t.Errorf("channel of the answer: %q", reply.Channel)
			}
			if len(reply.Refusal.Message) > 1024 || len(reply.Answer) > 4096 {
				t.Errorf("the refusal has %d bytes, the answer %d", len(reply.Refusal.Message), len(reply.Answer))
			}
		})
	}
}

// TestSecondDigest is in TestInvariant2OneDigestForEver; here it is the other
// hash that differs, which only a broken SHA-256 could bring about.
func TestSecondDigestInSHA512Only(t *testing.T) {
	w := newWorld(t)
	r := w.ask("ed25519").request(t)
	check(t, w.ledger.Commit(t.Context(), ledger.Commitment{Channel: r.Channel, Target: r.Target, Artifact: r.Artifact,
		SHA256: r.Digest.SHA256, SHA512: statement.SHA512{1}, At: now}))
	w.refused(encode(t, r), quorum.RefuseOtherDigest)
	w.wantSigns(0)
}

// TestKeyRefusals are about keys: unknown ones, and those that may not sign now.
func TestKeyRefusals(t *testing.T) {
	t.Run("unknown key", func(t *testing.T) {
		w := newWorld(t)
		w.policy = loadPolicy(t, policyText(t, 8, func(s string) string {
			return strings.ReplaceAll(s, `key = "ed25519" }`, `key = "core-2099" }`)
		}))
		w.restart()
		a := w.ask("ed25519")
		a.outputs[0].Key = "core-2099"
		w.refused(encode(t, a.request(t)), quorum.RefuseUnknownKey)
		w.wantSigns(0)
	})
	t.Run("key gone from the token", func(t *testing.T) {
		w := newWorld(t)
		data := encode(t, w.ask("ed25519").request(t))
		w.token.key = func(label string) (token.Key, error) {
			return token.Key{}, &token.Error{Op: "look up key", Class: token.Permanent, Err: token.ErrKeyNotFound}
		}
		w.refused(data, quorum.RefuseUnknownKey)
	})
	t.Run("key replaced in the token", func(t *testing.T) {
		w := newWorld(t)
		data := encode(t, w.ask("ed25519").request(t))
		w.token.key = func(string) (token.Key, error) { return soft.token.Key("p256") }
		w.refused(data, quorum.RefuseSignatureCheck)
		w.wantSigns(0)
	})
	for name, c := range map[string]struct {
		created  time.Time
		lifetime time.Duration
		again    bool
		want     string
	}{
		"clock behind the key": {now.Add(time.Hour), 0, true, "hint: set the signer's clock"},
		"expired key":          {keyTime, 24 * time.Hour, false, "key expired at 2024-01-03"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options()
			o.Keys = []hsmsigner.Key{{Label: "ed25519", Certificate: must(hsmsigner.CreateKey(t.Context(), soft.token, hsmsigner.NewKey{
				Label: "ed25519", UserID: archive, Created: c.created, Lifetime: c.lifetime, Existing: true}))(t)}}
			w.signer = must(hsmsigner.New(o))(t)
			reply := w.refused(encode(t, w.ask("ed25519").request(t)), quorum.RefuseKeyNotUsable)
			if reply.Refusal.Retryable != c.again || !strings.Contains(reply.Refusal.Message, c.want) {
				t.Errorf("got %+v", reply.Refusal)
			}
			w.wantSigns(0)
			if n := len(w.commitments()); n != 0 {
				t.Errorf("%d commitments", n)
			}
		})
	}
}

// TestTokenErrors sorts what a token can say. Its own words stay in the log.
func TestTokenErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		code  quorum.RefusalCode
		again bool
	}{
		{"away", unavailable(), quorum.RefuseToken, true},
		{"pin locked", &token.Error{Op: "sign", Class: token.Permanent, Err: token.ErrPINLocked}, quorum.RefuseToken, false},
		{"key gone", &token.Error{Op: "sign", Class: token.Permanent, Err: token.ErrKeyNotFound}, quorum.RefuseUnknownKey, false},
		{"unheard of", errors.New("boom " + userPIN), quorum.RefuseToken, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.log = slog.New(slog.NewTextHandler(&log, nil))
			w.restart()
			w.token.sign = func(context.Context, string, crypto.Hash, []byte) ([]byte, error) { return nil, c.err }
			reply := w.refused(encode(t, w.ask("ed25519").request(t)), c.code)
			if reply.Refusal.Retryable != c.again {
				t.Errorf("retryable: %v", reply.Refusal.Retryable)
			}
			if strings.Contains(string(reply.Answer), c.err.Error()) || bytes.Contains(reply.Answer, []byte(userPIN)) {
				t.Errorf("the answer shows the token's own words: %s", reply.Answer)
			}
			if !strings.Contains(log.String(), "code="+string(c.code)) || !strings.Contains(log.String(), "artifact=hello") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// TestLedgerLost closes the ledger under the signer: no signature without it.
func TestLedgerLost(t *testing.T) {
	w := newWorld(t)
	data := encode(t, w.ask("ed25519").request(t))
	check(t, w.ledger.Close())
	reply := w.answer(data)
	if reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseLedger || !reply.Refusal.Retryable {
		t.Errorf("got %v", reply.Refusal)
	}
	w.wantSigns(0)
}

// TestLedgerLostBehindTheToken loses it when the signature is already made.
func TestLedgerLostBehindTheToken(t *testing.T) {
	w := newWorld(t)
	data := encode(t, w.ask("ed25519").request(t))
	hsmsigner.SetStage(w.signer, func(stage string) {
		if stage == "signed" {
			check(t, w.ledger.Close())
		}
	})
	reply := w.answer(data)
	if reply.Refusal == nil || reply.Refusal.Code != quorum.RefuseLedger || bytes.Contains(reply.Answer, []byte(`"signatures"`)) {
		t.Errorf("got %s", reply.Answer)
	}
	w.wantSigns(1)
}

// TestCancelled gives no answer at all: the request will be delivered again.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.token.sign = func(ctx context.Context, _ string, _ crypto.Hash, _ []byte) ([]byte, error) {
		cancel()
		return nil, fmt.Errorf("sign: %w", ctx.Err())
	}
	data := encode(t, w.ask("ed25519").request(t))
	if reply, err := w.signer.Answer(ctx, data); !errors.Is(err, context.Canceled) || reply.Answer != nil {
		t.Fatalf("got %+v, %v", reply, err)
	}
	if r := w.refusals(); len(r) != 0 {
		t.Errorf("recorded: %v", r)
	}
	w.token.sign = nil
	w.signed(data)
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	mixed := certificate(t, "p256")
	for name, change := range map[string]func(*hsmsigner.Options){
		"nothing is signed without a record": func(o *hsmsigner.Options) { o.Ledger = nil },
		"no token or no policy":              func(o *hsmsigner.Options) { o.Policy = nil },
		"no keys":                            func(o *hsmsigner.Options) { o.Keys = nil },
		"configured twice":                   func(o *hsmsigner.Options) { o.Keys = append(o.Keys, o.Keys[0]) },
		"certificate belongs to another key": func(o *hsmsigner.Options) { o.Keys = []hsmsigner.Key{{Label: "ed25519", Certificate: mixed}} },
		"no private key with this label":     func(o *hsmsigner.Options) { o.Keys = []hsmsigner.Key{{Label: "nowhere", Certificate: mixed}} },
	} {
		o := w.options()
		change(&o)
		if _, err := hsmsigner.New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want one that says %q", err, name)
		}
	}
}
