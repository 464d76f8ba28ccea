package statement

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// envelope is a DSSE v1 envelope. Field types are lax (base64 in std or url
// form, unknown fields) only where the DSSE spec says so.
type envelope struct {
	Payload     string         `json:"payload"`
	PayloadType string         `json:"payloadType"`
	Signatures  []envSignature `json:"signatures"`
}

type envSignature struct {
	KeyID string `json:"keyid,omitzero"`
	Sig   string `json:"sig"`
}

// PAE is DSSE's pre-authentication encoding (DSSE protocol, "Signature
// definition"): what a signature covers.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(payloadType)+32)
	return append(appendPAEHead(b, payloadType, len(payload)), payload...)
}

func appendPAEHead(b []byte, payloadType string, size int) []byte {
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size), 10)
	return append(b, ' ')
}

// Sign encodes the statement, signs it with an Ed25519 or ECDSA P-256 key and
// returns it as [Parse] reads it back. The statement is checked by the same
// rules as a received one, so nothing is signed that a receiver would refuse.
func Sign(s *Statement, key crypto.Signer) (*Statement, error) {
	pub, err := NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	payload, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	pae := PAE(PayloadType, payload)
	sig, err := signPAE(pae, key, pub)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	raw, err := json.Marshal(envelope{
		Payload:     base64.StdEncoding.EncodeToString(payload),
		PayloadType: PayloadType,
		Signatures:  []envSignature{{KeyID: pub.Hint(), Sig: base64.StdEncoding.EncodeToString(sig)}},
	}, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	signed, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if err := signed.Verify(pub); err != nil {
		return nil, err
	}
	return signed, nil
}

// signPAE passes no source of randomness: Ed25519 needs none, and ECDSA then
// signs deterministically (RFC 6979), so that equal statements are equal bytes.
func signPAE(pae []byte, key crypto.Signer, pub PublicKey) ([]byte, error) {
	if pub.ed != nil {
		return key.Sign(nil, pae, crypto.Hash(0))
	}
	sum := sha256.Sum256(pae)
	return key.Sign(nil, sum[:], crypto.SHA256)
}

// openEnvelope takes the envelope apart without believing any of it. The payload is
// a part of pae.
func openEnvelope(raw []byte) (pae, payload, sig []byte, err error) {
	if len(raw) > MaxEnvelope {
		return nil, nil, nil, refuse(CodeTooLarge, "", "%d bytes, at most %d", len(raw), MaxEnvelope)
	}
	if pae, payload, sig, ok := openWritten(raw); ok {
		return pae, payload, sig, nil
	}
	var env envelope
	if err := unmarshal(raw, &env, ""); err != nil {
		return nil, nil, nil, err
	}
	if env.PayloadType != PayloadType {
		return nil, nil, nil, refuse(CodePayloadType, "payloadType", "%q, want %q", clip(env.PayloadType), PayloadType)
	}
	// One statement, one builder, one signature: a second one is either noise or
	// an attempt to be counted twice.
	if len(env.Signatures) != 1 {
		return nil, nil, nil, refuse(CodeBadEnvelope, "signatures", "%d signatures, want exactly 1", len(env.Signatures))
	}
	if pae, payload, err = decodePAE([]byte(env.Payload)); err != nil {
		return nil, nil, nil, refuse(CodeBadEnvelope, "payload", "%v", err)
	}
	if sig, err = decodeBase64(0, []byte(env.Signatures[0].Sig)); err != nil || len(sig) == 0 {
		return nil, nil, nil, refuse(CodeBadEnvelope, "signatures[0].sig", "not base64")
	}
	return pae, payload, sig, nil
}

// openWritten opens an envelope that has the form of those from [Sign] and nothing
// wrong with it; of all others it says nothing. A JSON decoder takes longer to look
// at each byte of the payload than it takes to decode them.
func openWritten(raw []byte) (pae, payload, sig []byte, ok bool) {
	rest, ok1 := bytes.CutPrefix(raw, []byte(`{"payload":"`))
	text, rest, ok2 := bytes.Cut(rest, []byte(`","payloadType":"`+PayloadType+`","signatures":[{"keyid":"`))
	keyid, rest, ok3 := bytes.Cut(rest, []byte(`","sig":"`))
	sigText, ok4 := bytes.CutSuffix(rest, []byte(`"}]}`))
	// Base64 is the same in JSON, but for line breaks, which JSON refuses and base64
	// passes over.
	if !ok1 || !ok2 || !ok3 || !ok4 || hasLineBreak(text) || hasLineBreak(sigText) {
		return nil, nil, nil, false
	}
	_, errKey := hex.AppendDecode(nil, keyid) // what a hint is made of, and the same in JSON
	pae, payload, errPayload := decodePAE(text)
	sig, errSig := decodeBase64(0, sigText)
	return pae, payload, sig, errKey == nil && errPayload == nil && errSig == nil && len(sig) > 0
}

func hasLineBreak(b []byte) bool {
	return bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0
}

// decodePAE decodes a payload behind the room that the rest of its PAE needs.
func decodePAE(text []byte) (pae, payload []byte, err error) {
	const room = 64
	b, err := decodeBase64(room, text)
	if err != nil {
		return nil, nil, err
	}
	payload = b[room:]
	head := appendPAEHead(b[:0:room], PayloadType, len(payload))
	pae = b[room-len(head):]
	copy(pae, head)
	return pae, payload, nil
}

// decodeBase64 accepts the standard and the URL-safe alphabet (DSSE protocol:
// "either standard or URL-safe encoding"). In front it leaves room for as many bytes.
func decodeBase64(room int, text []byte) ([]byte, error) {
	for _, e := range [...]*base64.Encoding{strictStd, strictURL} {
		b := make([]byte, room+e.DecodedLen(len(text)))
		if n, err := e.Decode(b[room:], text); err == nil {
			return b[:room+n], nil
		}
	}
	return nil, errors.New("not base64")
}

var strictStd, strictURL = base64.StdEncoding.Strict(), base64.URLEncoding.Strict()

// unmarshal decodes strictly where strictness decides meaning: duplicate keys,
// invalid UTF-8, names that differ from a known one in case only, and trailing
// bytes are errors. Unknown fields are passed over, as in-toto asks of every
// consumer. The path is that of the whole, for errors.
func unmarshal[T any](data []byte, into *T, path string) error {
	if unmarshalKnown(data, into) {
		return nil
	}
	*into = *new(T)
	if err := json.Unmarshal(data, into); err != nil {
		return explain(err, path)
	}
	// A reader that ignores case, as encoding/json does, must not find another
	// meaning in it. (This way of reading passes over "-" and "_" as well.)
	var folded T
	if err := json.Unmarshal(data, &folded, json.MatchCaseInsensitiveNames(true)); err != nil {
		return explain(err, path)
	}
	if !reflect.DeepEqual(*into, folded) {
		return refuse(CodeBadJSON, path, "a name differs from a known one in case only")
	}
	return nil
}

// unmarshalKnown is unmarshal for JSON in which every name is a known one, to the
// letter, as in all that [Sign] makes: then no reader finds another meaning in it.
// Where it returns false it says nothing, and into is to be thrown away.
func unmarshalKnown[T any](data []byte, into *T) bool {
	return json.Unmarshal(data, into, json.RejectUnknownMembers(true)) == nil
}

func explain(err error, path string) error {
	var sem *json.SemanticError
	if errors.As(err, &sem) {
		if sem.Err != nil {
			return refuse(CodeBadField, fieldPath(path, sem.JSONPointer), "%v", sem.Err)
		}
		return refuse(CodeBadField, fieldPath(path, sem.JSONPointer), "cannot be a JSON %v", sem.JSONKind)
	}
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		return refuse(CodeBadJSON, fieldPath(path, syn.JSONPointer), "%v at byte %d", syn.Err, syn.ByteOffset)
	}
	return refuse(CodeBadJSON, path, "%v", err)
}

// fieldPath writes a JSON pointer as the other errors write a field.
func fieldPath(path string, p jsontext.Pointer) string {
	for token := range p.Tokens() {
		switch _, err := strconv.ParseUint(token, 10, 32); {
		case err == nil:
			path += "[" + token + "]"
		case path == "":
			path = token
		default:
			path += "." + token
		}
		if len(path) > 256 {
			break
		}
	}
	return clip(path)
}

// clip keeps a hostile string from filling a log line. It leaves no half of a
// character: JSON cannot carry one, and the list that it stands in would be lost.
func clip(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Verify checks the signature with one key. A nil error means that the holder
// of the key signed exactly [Statement.Raw]'s payload.
func (s *Statement) Verify(key PublicKey) error {
	if s.pae == nil || !key.verify(s.pae, s.sig) {
		return refuse(CodeBadSignature, "signatures[0]", "does not verify with the key of builder %q", clip(s.Builder))
	}
	return nil
}
