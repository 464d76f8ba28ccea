// Package imasig makes the values of the extended attribute security.ima that the
// Linux kernel appraises files with: struct signature_v2_hdr of
// security/integrity/integrity.h around a bare signature over the file's SHA-256.
//
// Guarantees: those of package sigformat.
//
// Not guaranteed: what package rawsig does not either. The signature covers the
// file and nothing else: neither its name nor its mode, nor the package it is from.
package imasig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"quorate/internal/sigformat"
	"quorate/internal/sigformat/rawsig"
)

// The header, of which numbers are big-endian.
const (
	typeDigsig = 0x03 // EVM_IMA_XATTR_DIGSIG
	version    = 0x02 // DIGSIG_VERSION_2
	hashSHA256 = 0x04 // HASH_ALGO_SHA256 of include/uapi/linux/hash_info.h

	headerSize = 9 // type, version, hash, key id of 4 bytes, size of 2
)

// maxSignature is an RSA signature of 8192 bits, in bytes.
const maxSignature = 1024

// KeyID is by what the kernel finds the key: the last four bytes of the subject key
// identifier. Without a certificate that has one it is [sigformat.KeyIdentifier].
func KeyID(pub crypto.PublicKey, cert *x509.Certificate) (id [4]byte, err error) {
	if cert != nil && len(cert.SubjectKeyId) >= len(id) {
		return [4]byte(cert.SubjectKeyId[len(cert.SubjectKeyId)-len(id):]), nil
	}
	sum, err := sigformat.KeyIdentifier(pub)
	if err != nil {
		return id, fmt.Errorf("ima key id: %w", err)
	}
	return [4]byte(sum[len(sum)-len(id):]), nil
}

// Sign signs the SHA-256 of a file, and verifies the value.
func Sign(k *sigformat.Key, id [4]byte, digest [32]byte) ([]byte, error) {
	value, err := Make(k, id, digest)
	if err != nil {
		return nil, err
	}
	if err := Verify(k.Public(), id, digest, value); err != nil {
		return nil, fmt.Errorf("%w: %w", sigformat.ErrSignatureCheck, err)
	}
	return value, nil
}

// Make is Sign without the check of the finished value. It is for callers who verify
// what they are about to release.
func Make(k *sigformat.Key, id [4]byte, digest [32]byte) ([]byte, error) {
	if err := check(k.Public()); err != nil {
		return nil, err
	}
	sig, err := rawsig.Sign(k, crypto.SHA256, digest[:])
	if err != nil {
		return nil, fmt.Errorf("ima: %w", err)
	}
	value := append([]byte{typeDigsig, version, hashSHA256}, id[:]...)
	return append(binary.BigEndian.AppendUint16(value, uint16(len(sig))), sig...), nil
}

// Verify checks a value over the SHA-256 of a file.
func Verify(pub crypto.PublicKey, id [4]byte, digest [32]byte, value []byte) error {
	if err := check(pub); err != nil {
		return err
	}
	have, sig, err := Parse(value)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(have[:], id[:]):
		return fmt.Errorf("ima: key id %x, want %x (hint: where the signer has an X.509 certificate for the key, it is needed here, too)", have, id)
	}
	if err := rawsig.Verify(pub, crypto.SHA256, digest[:], sig); err != nil {
		return fmt.Errorf("ima: %w", err)
	}
	return nil
}

// Parse takes a value apart.
func Parse(value []byte) (id [4]byte, sig []byte, err error) {
	if len(value) < headerSize || len(value) > headerSize+maxSignature {
		return id, nil, fmt.Errorf("ima: value of %d bytes, want %d to %d", len(value), headerSize, headerSize+maxSignature)
	}
	if value[0] != typeDigsig || value[1] != version || value[2] != hashSHA256 {
		return id, nil, fmt.Errorf("ima: type %d, version %d, hash %d; want %d, %d and %d (SHA-256)", value[0], value[1], value[2], typeDigsig, version, hashSHA256)
	}
	sig = value[headerSize:]
	if size := binary.BigEndian.Uint16(value[7:]); int(size) != len(sig) || size == 0 {
		return id, nil, fmt.Errorf("ima: size says %d bytes, there are %d", size, len(sig))
	}
	return [4]byte(value[3:7]), sig, nil
}

// check refuses keys that the kernel does not appraise with.
func check(pub crypto.PublicKey) error {
	switch pub.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return nil
	}
	return errors.New("ima: the kernel appraises with RSA and ECDSA keys only")
}
