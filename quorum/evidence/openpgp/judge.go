package openpgp

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/openpgp/frame"
	"quorate/quorum/statement"
)

// Limits on one signature file.
const (
	MaxSignatureFile = evidence.MaxSignature
	maxSignatures    = 16
)

// Ring is a set of pinned keys. It is immutable and safe for concurrent use; a
// nil Ring has no keys.
type Ring struct {
	keys []*Key
	byID map[uint64][]candidate
}

// candidate is a key that may have made a signature.
type candidate struct {
	key       *Key
	component *component
}

// NewRing puts keys together. A fingerprint that stands twice is refused: give
// [ParseKey] all copies of one certificate instead.
func NewRing(keys ...*Key) (*Ring, error) {
	r := &Ring{keys: keys, byID: map[uint64][]candidate{}}
	seen := map[Fingerprint]bool{}
	for _, k := range keys {
		if seen[k.fingerprint] {
			return nil, evidence.Refuse("", evidence.CodeDuplicate, "key", "%s is given twice", k.fingerprint)
		}
		seen[k.fingerprint] = true
		r.index(k, k.primary)
		for _, c := range k.subkeys {
			r.index(k, c)
		}
	}
	return r, nil
}

func (r *Ring) index(k *Key, c *component) {
	r.byID[c.key.KeyId] = append(r.byID[c.key.KeyId], candidate{k, c})
}

// Keys returns the pinned keys.
func (r *Ring) Keys() []*Key {
	if r == nil {
		return nil
	}
	return append([]*Key(nil), r.keys...)
}

// JudgeDetached judges every signature of a detached signature file, armoured or
// binary, over exactly the bytes of the message. The error is for a file that
// holds no signatures, or something else.
func (r *Ring) JudgeDetached(message, file []byte, at time.Time) ([]evidence.Verdict, error) {
	packets, err := openSignatureFile(file)
	if err != nil {
		return nil, err
	}
	verdicts := make([]evidence.Verdict, len(packets))
	for i, p := range packets {
		verdicts[i] = r.judge(p, packet.SigTypeBinary, message, at)
	}
	return verdicts, nil
}

// JudgeClearSigned judges every signature of a clear-signed text and returns the
// text that they cover, with "\n" for the line ends.
func (r *Ring) JudgeClearSigned(data []byte, at time.Time) (text []byte, verdicts []evidence.Verdict, err error) {
	text, file, err := splitClearSigned(data)
	if err != nil {
		return nil, nil, err
	}
	packets, err := openSignatureFile(file)
	if err != nil {
		return nil, nil, err
	}
	message := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	for _, p := range packets {
		verdicts = append(verdicts, r.judge(p, packet.SigTypeText, message, at))
	}
	return text, verdicts, nil
}

// JudgeParts judges a signature that comes in parts, as in-toto writes it: the
// hashed fields of a version 4 signature from the version to the end of the
// hashed subpackets, and the value: an RSA signature, or R and S of EdDSA.
func (r *Ring) JudgeParts(message, hashed, value []byte, at time.Time) evidence.Verdict {
	if len(hashed) < 6 || len(hashed) > 1<<16 || int(binary.BigEndian.Uint16(hashed[4:]))+6 != len(hashed) {
		return evidence.Verdict{Status: evidence.Bad, Reason: "the hashed fields are not those of a version 4 signature"}
	}
	body := append(bytes.Clone(hashed), 0, 0, 0, 0) // no unhashed subpackets, no hash tag
	if packet.PublicKeyAlgorithm(hashed[2]) == packet.PubKeyAlgoEdDSA && len(value) == 64 {
		body = frame.AppendMPI(frame.AppendMPI(body, value[:32]), value[32:])
	} else {
		body = frame.AppendMPI(body, value)
	}
	return r.judge(frame.Make(frame.Signature, body), packet.SigTypeBinary, message, at)
}

func openSignatureFile(file []byte) ([]frame.Packet, error) {
	const field = "signature"
	if len(file) == 0 {
		return nil, evidence.Refuse("", evidence.CodeMissing, field, "is empty")
	}
	if len(file) > MaxSignatureFile {
		return nil, evidence.Refuse("", statement.CodeTooLarge, field, "%d bytes, at most %d", len(file), MaxSignatureFile)
	}
	raw, err := dearmor(field, armorSignature, file)
	if err != nil {
		return nil, err
	}
	packets, err := frame.Split(raw, maxPackets)
	if err != nil {
		return nil, refuse("", field, "%v", err)
	}
	if len(packets) > maxSignatures {
		return nil, evidence.Refuse("", statement.CodeTooLarge, field, "%d packets, at most %d", len(packets), maxSignatures)
	}
	for i, p := range packets {
		if p.Tag != frame.Signature {
			return nil, evidence.Refuse("", evidence.CodeWrongKind, field, "packet %d is of type %d and not a signature", i+1, p.Tag)
		}
	}
	return packets, nil
}

// judge gives the verdict on one signature packet.
func (r *Ring) judge(p frame.Packet, want packet.SignatureType, message []byte, at time.Time) evidence.Verdict {
	sig, err := readSignature(p)
	if err != nil {
		return evidence.Verdict{Status: evidence.Unsupported, Reason: "signature packet: " + err.Error()}
	}
	v := evidence.Verdict{PublicKey: uint8(sig.PubKeyAlgo), Hash: p.Body[3], Created: sig.CreationTime.UTC(), Hint: issuer(sig)}
	if sig.SigType != want {
		v.Status, v.Reason = evidence.Unsupported, fmt.Sprintf("signature type 0x%02x, want 0x%02x", uint8(sig.SigType), uint8(want))
		return v
	}
	candidates := r.find(sig)
	if len(candidates) == 0 {
		v.Status, v.Reason = evidence.NoKey, "by none of the pinned keys"
		return v
	}
	for _, c := range candidates {
		if c.key.judge(&v, c.component, sig, message, at); v.Status != evidence.Bad {
			return v
		}
	}
	if sig.IssuerKeyId == nil && v.Key == "" {
		v.Status, v.Reason = evidence.NoKey, "names no key, and is by none of the pinned keys"
	}
	return v
}

// find returns the keys that the signature names as its issuer, and all keys
// when it names none. The name only selects; what counts is that the key then
// verifies the signature.
func (r *Ring) find(sig *packet.Signature) (found []candidate) {
	if r == nil {
		return nil
	}
	if sig.IssuerKeyId == nil {
		for _, k := range r.keys {
			found = append(found, candidate{k, k.primary})
			for _, c := range k.subkeys {
				found = append(found, candidate{k, c})
			}
		}
		return found
	}
	for _, c := range r.byID[*sig.IssuerKeyId] {
		if c.key.bare || sig.CheckKeyIdOrFingerprint(c.component.key) {
			found = append(found, c)
		}
	}
	return found
}

func issuer(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return ""
}

// judge fills in the verdict on a signature that names component c.
func (k *Key) judge(v *evidence.Verdict, c *component, sig *packet.Signature, message []byte, at time.Time) {
	signing := Fingerprint(c.key.Fingerprint)
	if v.Status, v.Reason = weakness(c.key, sig); v.Status != "" {
		return
	}
	h := sig.Hash.New()
	h.Write(message)
	if err := c.key.VerifySignature(h, sig); err != nil {
		v.Status, v.Reason = evidence.Bad, "does not verify with "+signing.String()
		return
	}
	v.Key, v.Primary, v.Signing = k.fingerprint.URI(), k.fingerprint.String(), signing.String()
	ends := after(sig.CreationTime, sig.SigLifetimeSecs)
	v.Status, v.Reason = k.validity(c, at).status(sig.CreationTime, at)
	switch {
	case !k.bare && sig.CreationTime.Before(c.key.CreationTime):
		v.Status, v.Reason = evidence.Bad, "is dated "+day(sig.CreationTime)+", before the key was created"
	case v.Status == evidence.Revoked || v.Status == evidence.UnusableKey:
	case sig.CreationTime.After(at.Add(evidence.MaxSkew)):
		v.Status, v.Reason = evidence.Future, "is dated "+sig.CreationTime.UTC().Format(time.RFC3339)+", after the time of judgement"
	case !ends.IsZero() && !at.Before(ends):
		v.Status, v.Reason = evidence.SigExpired, "the signature ended on "+day(ends)
	}
}

// minRSABits is GnuPG's and go-crypto's idea of 2048: some keys lack a bit.
const minRSABits = 2047

// weakness refuses what must not carry a vote even when it verifies.
func weakness(key *packet.PublicKey, sig *packet.Signature) (evidence.Status, string) {
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA224, crypto.SHA3_256, crypto.SHA3_512:
	default:
		// Whoever makes the document could have made two with one digest.
		return evidence.Unsupported, "hash " + sig.Hash.String() + " is not accepted for documents"
	}
	if !sig.Hash.Available() {
		return evidence.Unsupported, "hash " + sig.Hash.String() + " is not available"
	}
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if n, err := key.BitLength(); err != nil || n < minRSABits {
			return evidence.Unsupported, fmt.Sprintf("RSA key of %d bits, at least 2048", n)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
	default:
		return evidence.Unsupported, fmt.Sprintf("public-key algorithm %d is not accepted", key.PubKeyAlgo)
	}
	return "", ""
}

// GnuPG returns the word that GnuPG prints for the verdict, as in the status
// lines that "gpg --verify --status-fd" writes (doc/DETAILS).
func GnuPG(v evidence.Verdict) string {
	switch v.Status {
	case evidence.Good, evidence.Future:
		return "GOODSIG"
	case evidence.ExpiredSince, evidence.Expired:
		return "EXPKEYSIG"
	case evidence.Revoked, evidence.RevokedSince:
		return "REVKEYSIG"
	case evidence.SigExpired:
		return "EXPSIG"
	case evidence.NoKey:
		return "NO_PUBKEY"
	case evidence.Bad:
		return "BADSIG"
	}
	return "ERRSIG"
}
