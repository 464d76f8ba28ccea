package openpgp_test

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
)

// scene is a key file and a signature, judged now.
type scene struct {
	name string
	make func(t *testing.T) (key, sig []byte)
	want evidence.Status
	gpg  string // when it is not [openpgp.GnuPG]'s word: a difference, and its reason
}

func revokedFor(reason packet.ReasonForRevocation, at time.Time) func(t *testing.T) (key, sig []byte) {
	return func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, config(born))
		sig = signWith(t, e, 0, config(signed))
		must(t, e.RevokeKey(reason, "", config(at)))
		return publicKey(t, e), sig
	}
}

func subkeyScene(change func(*testing.T, *pgp.Entity), sc, kc *packet.Config) func(t *testing.T) (key, sig []byte) {
	return func(t *testing.T) (key, sig []byte) {
		e := withSubkey(t, newEntity(t, kc), sc)
		sig = rawSign(t, e.Subkeys[1].PrivateKey, signed, nil)
		if change != nil {
			change(t, e)
		}
		return publicKey(t, e), sig
	}
}

func primaryScene(kc *packet.Config, made time.Time, change func(*packet.Signature)) func(t *testing.T) (key, sig []byte) {
	return func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, kc)
		return publicKey(t, e), rawSign(t, e.PrivateKey, made, change)
	}
}

var scenes = []scene{
	{"good", primaryScene(config(born), signed, nil), evidence.Good, ""},
	{"good, secp256k1", primaryScene(&packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveSecP256k1,
		Time: func() time.Time { return born }}, signed, nil), evidence.Good, ""},
	{"good, P-521", primaryScene(&packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP521,
		Time: func() time.Time { return born }}, signed, func(s *packet.Signature) { s.Hash = crypto.SHA512 }), evidence.Good, ""},
	{"good, RSA", primaryScene(&packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048,
		Time: func() time.Time { return born }}, signed, nil), evidence.Good, ""},
	{"good, at the time of judgement", primaryScene(config(born), now, nil), evidence.Good, ""},
	{"expired since", primaryScene(until(born, later), signed, nil), evidence.ExpiredSince, ""},
	{"expired before", primaryScene(until(born, signed.Add(-time.Second)), signed, nil), evidence.Expired, ""},
	{"expired a second after", primaryScene(until(born, signed), signed, nil), evidence.ExpiredSince, ""},
	{"lives until now", primaryScene(until(born, now), signed, nil), evidence.Good, ""},
	{"lived until a second ago", primaryScene(until(born, now.Add(-time.Second)), signed, nil), evidence.ExpiredSince, ""},
	{"renewed in place", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, until(born, later))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		renew(t, e, later.AddDate(0, 6, 0), now.AddDate(1, 0, 0))
		return publicKey(t, e), sig
	}, evidence.Good, ""},
	{"renewed, and expired again", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, until(born, later))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		renew(t, e, later, later.AddDate(1, 0, 0))
		return publicKey(t, e), sig
	}, evidence.ExpiredSince, ""},
	{"revoked, compromised", revokedFor(packet.KeyCompromised, later), evidence.Revoked, ""},
	{"revoked, no reason", revokedFor(packet.NoReason, later), evidence.Revoked, ""},
	{"retired after", revokedFor(packet.KeyRetired, later), evidence.RevokedSince, ""},
	{"superseded before", revokedFor(packet.KeySuperseded, born.AddDate(0, 1, 0)), evidence.Revoked, ""},
	{"retired in the future", revokedFor(packet.KeyRetired, now.AddDate(1, 0, 0)), evidence.Good, "REVKEYSIG"},
	{"subkey", subkeyScene(nil, config(born), config(born)), evidence.Good, ""},
	{"subkey expired since", subkeyScene(nil, until(born, later), config(born)), evidence.ExpiredSince, ""},
	{"subkey expired before", subkeyScene(nil, until(born, signed.Add(-time.Second)), config(born)), evidence.Expired, ""},
	{"primary key of the subkey expired", subkeyScene(nil, config(born), until(born, later)), evidence.ExpiredSince, ""},
	{"subkey revoked", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		must(t, e.RevokeSubkey(&e.Subkeys[1], packet.KeyCompromised, "", config(later)))
	}, config(born), config(born)), evidence.Revoked, ""},
	{"primary key of the subkey revoked", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		must(t, e.RevokeKey(packet.KeyCompromised, "", config(later)))
	}, config(born), config(born)), evidence.Revoked, ""},
	{"subkey that does not vouch back", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		bind(t, e, func(s *packet.Signature) { s.EmbeddedSignature = nil })
	}, config(born), config(born)), evidence.UnusableKey, ""},
	{"subkey for encryption", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		bind(t, e, func(s *packet.Signature) {
			s.EmbeddedSignature, s.FlagSign, s.FlagEncryptStorage = nil, false, true
		})
	}, config(born), config(born)), evidence.UnusableKey, ""},
	{"subkey without a binding", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		e.Subkeys[1].Sig.CreationTime = later // the signature over it breaks
		bind(t, e, func(s *packet.Signature) { s.SigType = packet.SigTypeGenericCert })
	}, config(born), config(born)), evidence.UnusableKey, "NO_PUBKEY"},
	{"signature that ended", primaryScene(config(born), signed, func(s *packet.Signature) {
		secs := uint32(3600)
		s.SigLifetimeSecs = &secs
	}), evidence.SigExpired, ""},
	{"signature from the future", primaryScene(config(born), now.AddDate(0, 0, 1), nil), evidence.Future, ""},
	{"older than its key", primaryScene(config(later), signed, nil), evidence.Bad, "ERRSIG"},
	{"key from the future", primaryScene(config(now.AddDate(0, 0, 1)), now.AddDate(0, 0, 2), nil), evidence.Future, "NO_PUBKEY"},
	{"SHA-1", primaryScene(config(born), signed, func(s *packet.Signature) { s.Hash = crypto.SHA1 }), evidence.Unsupported, "GOODSIG"},
	{"text signature", primaryScene(config(born), signed, func(s *packet.Signature) { s.SigType = packet.SigTypeText }), evidence.Unsupported, "BADSIG"},
	{"by another", func(t *testing.T) (key, sig []byte) {
		return publicKey(t, newEntity(t, config(born))), signWith(t, newEntity(t, config(born)), 0, config(signed))
	}, evidence.NoKey, ""},
	{"by another who names this key", func(t *testing.T) (key, sig []byte) {
		e, other := newEntity(t, config(born)), newEntity(t, config(born))
		sig = rawSign(t, &packet.PrivateKey{PublicKey: *e.PrimaryKey, PrivateKey: other.PrivateKey.PrivateKey}, signed, nil)
		return publicKey(t, e), sig
	}, evidence.Bad, ""},
	{"key that only certifies", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, config(born))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		for _, id := range e.Identities {
			id.SelfSignature.FlagSign = false
			must(t, id.SelfSignature.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config(born)))
		}
		return publicKey(t, e), sig
	}, evidence.UnusableKey, ""},
	{"subkey bound by another", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		s := e.Subkeys[1].Sig
		must(t, s.SignKey(e.Subkeys[1].PublicKey, forger(t, e), config(s.CreationTime)))
	}, config(born), config(born)), evidence.UnusableKey, "NO_PUBKEY"},
	{"renewed by another", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, until(born, later))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		own := *e
		own.PrivateKey = forger(t, e)
		old := selfSignatures(e)
		renew(t, &own, later.AddDate(0, -1, 0), now.AddDate(1, 0, 0))
		for _, id := range e.Identities {
			id.Signatures = append(id.Signatures, old...)
		}
		return publicKey(t, e), sig
	}, evidence.ExpiredSince, ""},
	{"revoked by another", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, config(born))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		must(t, e.RevokeKey(packet.KeyCompromised, "", config(later)))
		must(t, e.Revocations[0].RevokeKey(e.PrimaryKey, forger(t, e), config(later)))
		return publicKey(t, e), sig
	}, evidence.Good, ""},
	{"subkey revoked by another", subkeyScene(func(t *testing.T, e *pgp.Entity) {
		sub := &e.Subkeys[1]
		must(t, e.RevokeSubkey(sub, packet.KeyCompromised, "", config(later)))
		must(t, sub.Revocations[0].RevokeSubkey(sub.PublicKey, forger(t, e), config(later)))
	}, config(born), config(born)), evidence.Good, ""},
	{"user id revoked by another", func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, until(born, later)) // its user id states the expiry; the next does not
		old := selfSignatures(e)[0]
		must(t, e.AddUserId("B Builder", "", "b@example.org", config(born)))
		sig = rawSign(t, e.PrivateKey, signed, nil)
		for _, id := range e.Identities {
			if slices.Contains(id.Signatures, old) {
				s := &packet.Signature{Version: 4, SigType: packet.SigTypeCertificationRevocation, PubKeyAlgo: e.PrivateKey.PubKeyAlgo,
					Hash: crypto.SHA256, CreationTime: later, IssuerKeyId: &e.PrimaryKey.KeyId}
				must(t, s.SignUserId(id.Name, e.PrimaryKey, forger(t, e), config(later)))
				id.Signatures = append(id.Signatures, s)
			}
		}
		return publicKey(t, e), sig
	}, evidence.ExpiredSince, ""},
	{"RSA of 1024 bits", primaryScene(&packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, MinRSABits: 1024,
		Time: func() time.Time { return born }}, signed, nil), evidence.Unsupported, "GOODSIG"},
	{"critical notation", primaryScene(config(born), signed, func(s *packet.Signature) {
		s.Notations = []*packet.Notation{{Name: "only@example.org", Value: []byte("x"), IsCritical: true, IsHumanReadable: true}}
	}), evidence.Unsupported, "BADSIG"},
	{"user id revoked", revokedUserID(config(born)), evidence.Good, ""},
	{"user id revoked and key expired", revokedUserID(until(born, later)), evidence.ExpiredSince, "GOODSIG"},
}

func revokedUserID(c *packet.Config) func(t *testing.T) (key, sig []byte) {
	return func(t *testing.T) (key, sig []byte) {
		e := newEntity(t, c)
		sig = rawSign(t, e.PrivateKey, signed, nil)
		for _, id := range e.Identities {
			s := &packet.Signature{Version: 4, SigType: packet.SigTypeCertificationRevocation, PubKeyAlgo: e.PrivateKey.PubKeyAlgo,
				Hash: crypto.SHA256, CreationTime: later, IssuerKeyId: &e.PrimaryKey.KeyId}
			must(t, s.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config(later)))
			id.Signatures = append(id.Signatures, s)
		}
		return publicKey(t, e), sig
	}
}

// forger names the entity's primary key and holds another's secret.
func forger(t *testing.T, e *pgp.Entity) *packet.PrivateKey {
	t.Helper()
	return &packet.PrivateKey{PublicKey: *e.PrimaryKey, PrivateKey: newEntity(t, config(born)).PrivateKey.PrivateKey}
}

func selfSignatures(e *pgp.Entity) (out []*packet.Signature) {
	for _, id := range e.Identities {
		out = append(out, id.Signatures...)
	}
	return out
}

// bind signs the binding of the entity's second subkey again.
func bind(t *testing.T, e *pgp.Entity, change func(*packet.Signature)) {
	t.Helper()
	s := e.Subkeys[1].Sig
	change(s)
	must(t, s.SignKey(e.Subkeys[1].PublicKey, e.PrivateKey, config(s.CreationTime)))
}

func TestJudge(t *testing.T) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			key, sig := sc.make(t)
			for _, file := range [][]byte{sig, armored(t, "PGP SIGNATURE", sig)} {
				verdicts, err := pinned(t, key).JudgeDetached(message, file, now)
				must(t, err)
				if len(verdicts) != 1 || verdicts[0].Status != sc.want {
					t.Fatalf("got %+v, want %s", verdicts, sc.want)
				}
			}
			verdicts, err := pinned(t, armored(t, "PGP PUBLIC KEY BLOCK", key)).JudgeDetached(append(message, 'x'), sig, now)
			must(t, err)
			if verdicts[0].Counts(evidence.Accept{ExpiredSince: true, RevokedSince: true}) {
				t.Errorf("over another message: %+v", verdicts[0])
			}
		})
	}
}

// TestAgainstGnuPG asks the installed GnuPG about the same keys and signatures.
func TestAgainstGnuPG(t *testing.T) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Skip("needs gpg, which is not installed")
	}
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			key, sig := sc.make(t)
			verdicts, err := pinned(t, key).JudgeDetached(message, sig, now)
			must(t, err)
			want := openpgp.GnuPG(verdicts[0])
			if sc.gpg != "" {
				want = sc.gpg
			}
			if got, out := gnupg(t, gpg, key, sig); got != want {
				t.Errorf("GnuPG says %s, want %s; here it is %+v\n%s", got, want, verdicts[0], out)
			}
		})
	}
}

// gnupg returns the first word about the signature among GnuPG's status lines.
func gnupg(t *testing.T, gpg string, key, sig []byte) (word, out string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"key": key, "sig": sig, "msg": message} {
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	run := func(args ...string) string {
		cmd := exec.Command(gpg, append([]string{"--homedir", dir, "--no-autostart", "--batch", "--no-auto-check-trustdb",
			"--faked-system-time", now.Format("20060102T150405") + "!", "--status-fd", "1"}, args...)...)
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		_ = cmd.Run() // the status lines say how it went
		return b.String()
	}
	out = run("--import", filepath.Join(dir, "key")) + run("--verify", filepath.Join(dir, "sig"), filepath.Join(dir, "msg"))
	words := []string{"GOODSIG", "EXPKEYSIG", "REVKEYSIG", "EXPSIG", "BADSIG", "NO_PUBKEY", "ERRSIG"}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "[GNUPG:]" && slices.Contains(words, f[1]) {
			if f[1] == "ERRSIG" && strings.Contains(out, "NO_PUBKEY") {
				return "NO_PUBKEY", out
			}
			return f[1], out
		}
	}
	return "nothing", out
}

func TestSubkeyIsNamed(t *testing.T) {
	e := withSubkey(t, newEntity(t, config(born)), config(born))
	verdicts, err := pinned(t, publicKey(t, e)).JudgeDetached(message, rawSign(t, e.Subkeys[1].PrivateKey, signed, nil), now)
	must(t, err)
	v := verdicts[0]
	primary, sub := openpgp.Fingerprint(e.PrimaryKey.Fingerprint), openpgp.Fingerprint(e.Subkeys[1].PublicKey.Fingerprint)
	if v.Key != primary.URI() || v.Primary != primary.String() || v.Signing != sub.String() || !v.Created.Equal(signed) {
		t.Errorf("got %+v, want primary %s by %s", v, primary, sub)
	}
}

// TestSeveralSignatures: each has its verdict, and one key counts once.
func TestSeveralSignatures(t *testing.T) {
	a, b := newEntity(t, config(born)), newEntity(t, config(born))
	file := slices.Concat(signWith(t, a, 0, config(signed)), signWith(t, b, 0, config(signed)), signWith(t, a, 0, config(later)))
	verdicts, err := pinned(t, publicKey(t, a)).JudgeDetached(message, file, now)
	must(t, err)
	s := evidence.Statement{Verdicts: verdicts}
	if got := s.Accepted(evidence.Accept{}); len(verdicts) != 3 || len(got) != 1 {
		t.Errorf("accepted %v of %+v", got, verdicts)
	}
	many := bytes.Repeat(signWith(t, a, 0, config(signed)), 17)
	_, err = pinned(t, publicKey(t, a)).JudgeDetached(message, many, now)
	wantError(t, err, "too-large", "signature")
}

func wantError(t *testing.T, err error, code, field string) {
	t.Helper()
	var e *evidence.Error
	if !errors.As(err, &e) || string(e.Code) != code || e.Field != field {
		t.Errorf("error %v, want code %s in field %q", err, code, field)
	}
}
