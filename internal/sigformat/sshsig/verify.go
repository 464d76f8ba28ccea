package sshsig

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"quorate/internal/sigformat"
	armour "quorate/quorum/sshsig"
)

// maxSignature bounds what is read: RSA-8192 needs about 3 kB.
const maxSignature = 16 << 10

// Signature is an armoured signature taken apart. Until it was verified it is
// only what somebody sent.
type Signature struct {
	Key       ssh.PublicKey
	Namespace string
	Hash      string // "sha512" or "sha256"

	value ssh.Signature
}

// wire is the blob behind its preamble, section 2.
type wire struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  []byte
	Hash      string
	Signature []byte
}

// Parse takes an armoured signature apart. It verifies nothing.
func Parse(armored []byte) (*Signature, error) {
	if len(armored) > maxSignature {
		return nil, fmt.Errorf("ssh signature: %d bytes, at most %d", len(armored), maxSignature)
	}
	blob, err := armour.Dearmor(armored)
	if err != nil {
		return nil, err
	}
	s, err := parse(blob)
	if err != nil {
		return nil, fmt.Errorf("ssh signature: %w", err)
	}
	return s, nil
}

func parse(blob []byte) (*Signature, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(preamble))
	if !ok {
		return nil, errors.New("preamble: missing")
	}
	var w wire
	if err := ssh.Unmarshal(rest, &w); err != nil {
		return nil, err
	}
	if w.Version != version {
		return nil, fmt.Errorf("version: %d, want %d", w.Version, version)
	}
	// The specification would have readers ignore it. Nobody writes it, and
	// signedData does not cover it.
	if len(w.Reserved) > 0 {
		return nil, errors.New("reserved: not empty")
	}
	if w.Hash != nameSHA512 && w.Hash != nameSHA256 {
		return nil, fmt.Errorf("hash algorithm: %q, want sha512 or sha256", w.Hash)
	}
	if err := CheckNamespace(w.Namespace); err != nil {
		return nil, err
	}
	s := &Signature{Namespace: w.Namespace, Hash: w.Hash}
	var err error
	if s.Key, err = ssh.ParsePublicKey(w.PublicKey); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if err := ssh.Unmarshal(w.Signature, &s.value); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if len(s.value.Rest) > 0 {
		return nil, errors.New("signature: trailing bytes")
	}
	return s, nil
}

// Verify checks an armoured signature by pub over the file with that digest, in
// that namespace.
func Verify(pub crypto.PublicKey, namespace string, digest Digest, armored []byte) error {
	s, err := Parse(armored)
	if err != nil {
		return err
	}
	if err := s.verify(pub, namespace, nameSHA512, digest[:]); err != nil {
		return fmt.Errorf("ssh signature: %w", err)
	}
	return nil
}

// VerifyBlob checks a signature without armour by pub over the file with that
// SHA-256, in that namespace.
func VerifyBlob(pub crypto.PublicKey, namespace string, digest [32]byte, blob []byte) error {
	if len(blob) > maxSignature {
		return fmt.Errorf("ssh signature: %d bytes, at most %d", len(blob), maxSignature)
	}
	s, err := parse(blob)
	if err == nil {
		err = s.verify(pub, namespace, nameSHA256, digest[:])
	}
	if err != nil {
		return fmt.Errorf("ssh signature: %w", err)
	}
	return nil
}

func (s *Signature) verify(pub crypto.PublicKey, namespace, hashName string, digest []byte) error {
	want, err := NewPublicKey(pub)
	if err != nil {
		return err
	}
	if !bytes.Equal(s.Key.Marshal(), want.Marshal()) {
		return fmt.Errorf("public key: made by %s, want %s", ssh.FingerprintSHA256(s.Key), ssh.FingerprintSHA256(want))
	}
	if s.Namespace != namespace {
		return fmt.Errorf("namespace: %q, want %q", s.Namespace, namespace)
	}
	if s.Hash != hashName {
		return fmt.Errorf("hash algorithm: %q, want %q", s.Hash, hashName)
	}
	// An RSA key may sign in three ways, one of them with SHA-1.
	a, err := algorithmOf(pub)
	if err != nil {
		return err
	}
	if s.value.Format != a.signature {
		return fmt.Errorf("signature: algorithm %q, want %q", s.value.Format, a.signature)
	}
	// x/crypto accepts RSA signatures without their leading zeros: one signature
	// would have two forms.
	if k, ok := pub.(interface{ Size() int }); ok && len(s.value.Blob) != k.Size() {
		return fmt.Errorf("signature: %d bytes, want %d", len(s.value.Blob), k.Size())
	}
	data := ssh.Marshal(struct {
		Namespace string
		Reserved  string
		Hash      string
		Digest    []byte
	}{namespace, "", hashName, digest})
	return want.Verify(append([]byte(preamble), data...), &s.value)
}

// NewPublicKey returns the key as x/crypto/ssh has it.
func NewPublicKey(pub crypto.PublicKey) (ssh.PublicKey, error) {
	if err := sigformat.CheckPublic(pub); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(pub)
}

// AuthorizedKey returns the key as one line in the form of authorized_keys and of
// ssh-keygen's .pub files: "ssh-ed25519 AAAA... comment" (sshd(8)).
func AuthorizedKey(pub crypto.PublicKey, comment string) ([]byte, error) {
	k, err := NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("ssh public key: %w", err)
	}
	if strings.ContainsFunc(comment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("ssh public key: comment: contains a control character")
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(k), []byte("\n"))
	if comment != "" {
		line = append(append(line, ' '), comment...)
	}
	return append(line, '\n'), nil
}

// AllowedSigner returns the line of an allowed_signers file that lets the key sign
// in one namespace only (ssh-keygen(1), "ALLOWED SIGNERS").
func AllowedSigner(principal, namespace string, pub crypto.PublicKey) ([]byte, error) {
	if err := CheckNamespace(principal); err != nil { // the same pattern syntax
		return nil, fmt.Errorf("allowed signer: principal: %w", err)
	}
	if err := CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("allowed signer: %w", err)
	}
	key, err := AuthorizedKey(pub, "")
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s namespaces=\"%s\" %s", principal, namespace, key), nil
}
