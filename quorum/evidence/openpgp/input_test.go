package openpgp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"sync"
	"testing"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp"
)

func TestFingerprint(t *testing.T) {
	const whole = "9EDAFF80E080659604F4A76B2EBB056FD847F8A7"
	for _, text := range []string{whole, strings.ToLower(whole), "0x" + whole, "openpgp4fpr:" + whole,
		"9EDA FF80 E080 6596 04F4  A76B 2EBB 056F D847 F8A7"} {
		if f, err := openpgp.ParseFingerprint(text); err != nil || f.String() != whole {
			t.Errorf("%q: %v %v", text, f, err)
		}
	}
	for _, text := range []string{"", "2EBB056FD847F8A7", "0xD847F8A7", whole[1:], whole + "00", "x" + whole[1:]} {
		_, err := openpgp.ParseFingerprint(text)
		wantError(t, err, "bad-key", "fingerprint")
	}
	if _, err := openpgp.ParseFingerprint("0x2EBB056FD847F8A7"); !strings.Contains(err.Error(), "is a key id") {
		t.Errorf("a key id is refused with %v", err)
	}
}

func TestKeyFileRefused(t *testing.T) {
	a, b := newEntity(t, config(born)), newEntity(t, config(born))
	fileA, fileB := publicKey(t, a), publicKey(t, b)
	fpr := openpgp.Fingerprint(a.PrimaryKey.Fingerprint)
	var secret bytes.Buffer
	must(t, a.SerializePrivate(&secret, config(born)))
	block := armored(t, "PGP PUBLIC KEY BLOCK", fileA)
	for name, tt := range map[string]struct {
		file []byte
		code string
	}{
		"two keys":              {slices.Concat(fileA, fileB), "bad-key"},
		"one key twice":         {slices.Concat(fileA, fileA), "bad-key"},
		"another key":           {fileB, "bad-key"},
		"secret key":            {secret.Bytes(), "bad-key"},
		"signature":             {signWith(t, a, 0, config(signed)), "bad-key"},
		"truncated":             {fileA[:len(fileA)-1], "bad-key"},
		"empty":                 {nil, "bad-armor"},
		"too large":             {bytes.Repeat([]byte{0x80}, openpgp.MaxKeyFile+1), "too-large"},
		"two blocks":            {slices.Concat(block, block), "bad-armor"},
		"no end":                {block[:bytes.Index(block, []byte("-----END"))], "bad-armor"},
		"text before the block": {slices.Concat([]byte("my key:\n"), block), "bad-armor"},
		"damaged":               {bytes.Replace(block, block[200:203], []byte("AAA"), 1), "bad-armor"},
		"signature block":       {armored(t, "PGP SIGNATURE", fileA), "bad-armor"},
		"text":                  {[]byte("hello\n"), "bad-armor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openpgp.ParseKey(fpr, tt.file)
			wantError(t, err, tt.code, "key file")
		})
	}
	if _, err := openpgp.ParseKey(fpr, slices.Concat(block, block)); !strings.Contains(err.Error(), "holds more than one PGP PUBLIC KEY BLOCK") {
		t.Errorf("two blocks in one file are refused with %v", err)
	}
	if _, err := openpgp.ParseKey(fpr, secret.Bytes()); !strings.Contains(err.Error(), "secret key") {
		t.Errorf("a secret key is refused with %v", err)
	}
	if _, err := openpgp.ParseKey(fpr); err == nil {
		t.Error("no file at all is accepted")
	}
	key, err := openpgp.ParseKey(fpr, fileA)
	must(t, err)
	_, err = openpgp.NewRing(key, key)
	wantError(t, err, "duplicate", "key")
}

// TestCopiesOfOneKey: an old and a renewed copy are taken together.
func TestCopiesOfOneKey(t *testing.T) {
	e := newEntity(t, until(born, later))
	sig, old := rawSign(t, e.PrivateKey, signed, nil), publicKey(t, e)
	renew(t, e, later, now.AddDate(1, 0, 0))
	for _, files := range [][][]byte{{old, publicKey(t, e)}, {publicKey(t, e), old}, {publicKey(t, e), publicKey(t, e)}} {
		verdicts, err := pinned(t, files...).JudgeDetached(message, sig, now)
		must(t, err)
		if verdicts[0].Status != evidence.Good {
			t.Errorf("got %+v", verdicts[0])
		}
	}
	verdicts, err := pinned(t, old).JudgeDetached(message, sig, now)
	must(t, err)
	if verdicts[0].Status != evidence.ExpiredSince {
		t.Errorf("the old copy alone: %+v", verdicts[0])
	}
}

// TestRevocationThatCannotBeRead: it may be a true one.
func TestRevocationThatCannotBeRead(t *testing.T) {
	e := newEntity(t, config(born))
	must(t, e.RevokeKey(packet.KeyCompromised, "", config(later)))
	file := publicKey(t, e)
	at := bytes.Index(file, []byte{4, 0x20, byte(packet.PubKeyAlgoEdDSA)})
	if at < 0 {
		t.Fatal("no revocation in the file")
	}
	file[at+3] = 99 // a hash that nobody knows
	_, err := openpgp.ParseKey(openpgp.Fingerprint(e.PrimaryKey.Fingerprint), file)
	wantError(t, err, "bad-key", "key file")
}

func TestSignatureFileRefused(t *testing.T) {
	e := newEntity(t, config(born))
	sig := signWith(t, e, 0, config(signed))
	block := armored(t, "PGP SIGNATURE", sig)
	ring := pinned(t, publicKey(t, e))
	for name, tt := range map[string]struct {
		file []byte
		code string
	}{
		"empty":           {nil, "missing-part"},
		"key":             {publicKey(t, e), "wrong-kind"},
		"truncated":       {sig[:len(sig)-1], "bad-armor"},
		"bytes behind":    {append(bytes.Clone(sig), 0), "bad-armor"},
		"two blocks":      {slices.Concat(block, block), "bad-armor"},
		"text behind":     {slices.Concat(block, []byte("and more\n")), "bad-armor"},
		"too large":       {bytes.Repeat([]byte{0x80}, openpgp.MaxSignatureFile+1), "too-large"},
		"partial lengths": {append([]byte{0xc2, 0xe1}, sig...), "bad-armor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ring.JudgeDetached(message, tt.file, now)
			wantError(t, err, tt.code, "signature")
		})
	}
}

// clearSigned writes a clear-signed text with go-crypto.
func clearSigned(t testing.TB, e *pgp.Entity, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, e.PrivateKey, config(signed))
	must(t, err)
	_, err = w.Write([]byte(text))
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

func TestClearSigned(t *testing.T) {
	e := newEntity(t, config(born))
	ring := pinned(t, publicKey(t, e))
	for name, text := range map[string]string{
		"plain": "Format: 1.0\nSource: a\n", "dashes": "- a\n-----BEGIN PGP SIGNATURE-----\n-\n", "spaces": "a  \t\nb \n", "empty lines": "\n\na\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			data := clearSigned(t, e, text)
			for _, form := range [][]byte{data, bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))} {
				got, verdicts, err := ring.JudgeClearSigned(form, now)
				must(t, err)
				if len(verdicts) != 1 || verdicts[0].Status != evidence.Good {
					t.Fatalf("%+v", verdicts)
				}
				block, _ := clearsign.Decode(form)
				if want := bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
					t.Errorf("text %q, go-crypto covers %q", got, want)
				}
			}
			changed := bytes.Replace(data, []byte("a"), []byte("b"), 1)
			if _, verdicts, err := ring.JudgeClearSigned(changed, now); err == nil && verdicts[0].Status == evidence.Good {
				t.Error("a changed text is accepted")
			}
		})
	}
}

func TestClearSignedRefused(t *testing.T) {
	e := newEntity(t, config(born))
	ring, data := pinned(t, publicKey(t, e)), string(clearSigned(t, e, "Format: 1.0\n"))
	for name, form := range map[string]string{
		"text before":     "Source: b\n" + data,
		"text behind":     data + "\nSource: b\n",
		"another header":  strings.Replace(data, "Hash:", "Comment: x\nHash:", 1),
		"unescaped dash":  strings.Replace(data, "Format", "-Format", 1),
		"no signature":    data[:strings.Index(data, "-----BEGIN PGP SIGNATURE")],
		"header only":     "-----BEGIN PGP SIGNED MESSAGE-----",
		"header, no text": "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n",
		"empty":           "",
	} {
		t.Run(name, func(t *testing.T) {
			if _, verdicts, err := ring.JudgeClearSigned([]byte(form), now); err == nil {
				t.Errorf("accepted: %+v", verdicts)
			}
		})
	}
}

func TestBareKey(t *testing.T) {
	fpr, err := openpgp.ParseFingerprint("5863835e5ec8e640fa24410f069edc1d59b58507")
	must(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this Go makes no small RSA keys")
	}
	for _, pub := range []*rsa.PublicKey{nil, {}, &small.PublicKey} {
		_, err := openpgp.NewBareKey(openpgp.BareKey{Fingerprint: fpr, Public: pub})
		wantError(t, err, "bad-key", "key")
	}
}

func TestJudgePartsRefused(t *testing.T) {
	var none *openpgp.Ring
	for _, hashed := range []string{"", "\x04\x00\x01\x08\x00", "\x04\x00\x01\x08\x00\x05abc", strings.Repeat("\x04", 1<<17)} {
		if v := none.JudgeParts(message, []byte(hashed), []byte{1}, now); v.Status != evidence.Bad {
			t.Errorf("%.10q: %+v", hashed, v)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	e := withSubkey(f, newEntity(f, config(born)), until(born, later))
	f.Add(publicKey(f, e))
	f.Add(armored(f, "PGP PUBLIC KEY BLOCK", publicKey(f, e)))
	sig := signWith(f, e, 0, config(signed))
	f.Fuzz(func(t *testing.T, file []byte) {
		fpr, err := openpgp.Identify(file)
		if err != nil {
			return
		}
		key, err := openpgp.ParseKey(fpr, file)
		if err != nil {
			return
		}
		ring, err := openpgp.NewRing(key)
		must(t, err)
		_, err = ring.JudgeDetached(message, sig, now)
		must(t, err)
	})
}

func FuzzDetached(f *testing.F) {
	e := newEntity(f, config(born))
	ring, sig := pinned(f, publicKey(f, e)), signWith(f, e, 0, config(signed))
	f.Add(message, sig)
	f.Add(message, armored(f, "PGP SIGNATURE", sig))
	f.Fuzz(func(t *testing.T, msg, file []byte) {
		verdicts, err := ring.JudgeDetached(msg, file, now)
		for _, v := range verdicts {
			if err == nil && v.Counts(evidence.Accept{ExpiredSince: true, RevokedSince: true}) && !bytes.Equal(msg, message) {
				t.Errorf("accepted over %q: %+v", msg, v)
			}
		}
	})
}

// FuzzClearSigned also holds the text against what go-crypto reads.
func FuzzClearSigned(f *testing.F) {
	e := newEntity(f, config(born))
	ring := pinned(f, publicKey(f, e))
	f.Add(clearSigned(f, e, "a\n- b \n-----\n"))
	f.Add(clearSigned(f, e, "\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, verdicts, err := ring.JudgeClearSigned(data, now)
		if err != nil || verdicts[0].Status != evidence.Good {
			return
		}
		block, _ := clearsign.Decode(data)
		if block == nil {
			return // go-crypto is stricter here; the signature still holds
		}
		if want := bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n")); !bytes.Equal(text, want) {
			t.Errorf("text %q, go-crypto covers %q", text, want)
		}
	})
}

// TestConcurrentUse: the verdicts of one ring may be asked for in parallel.
func TestConcurrentUse(t *testing.T) {
	e := withSubkey(t, newEntity(t, config(born)), config(born))
	sigs := [][]byte{rawSign(t, e.PrivateKey, signed, nil), rawSign(t, e.Subkeys[1].PrivateKey, signed, nil)}
	ring := pinned(t, publicKey(t, e))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			verdicts, err := ring.JudgeDetached(message, sigs[i%2], now)
			if err != nil || verdicts[0].Status != evidence.Good {
				t.Errorf("%+v %v", verdicts, err)
			}
		})
	}
	wg.Wait()
}

// TestManyClaims: work is bounded whoever wrote the file.
func TestManyClaims(t *testing.T) {
	e := newEntity(t, config(born))
	for _, id := range e.Identities {
		id.Signatures = slices.Repeat(id.Signatures, 2049)
	}
	_, err := openpgp.ParseKey(openpgp.Fingerprint(e.PrimaryKey.Fingerprint), publicKey(t, e))
	wantError(t, err, "bad-key", "key file")
}
