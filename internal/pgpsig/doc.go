// Package pgpsig makes and checks OpenPGP version 4 detached signatures from
// a resumable hash state, so that the signer never needs the file.
//
// An OpenPGP v4 signature covers hash(file ‖ hashed fields ‖ trailer)
// (RFC 9580 section 5.2.4). Whoever holds the state of that hash after the last
// byte of the file can therefore sign, and check, without the file.
//
// What the package guarantees:
//
//   - Nothing unverified leaves: [SignDetached], [SignText] and [MakeCertificate]
//     return bytes only after a second implementation (ProtonMail/go-crypto) has
//     parsed them and verified them under the certificate. [MakeDetached] and
//     [MakeText] leave that to their caller.
//   - A hash state given to the package is cloned, never consumed.
//   - What is written is small and fixed: version 4, document type 0x00, no
//     randomness. The same inputs give the same bytes, unless the SignFunc
//     itself is randomised (ECDSA usually is).
//   - Reading is strict: definite lengths, no trailing bytes, canonical
//     integers, no critical subpacket whose meaning is not enforced here. What
//     others may have written into the unhashed area is never believed.
//
// What it does not:
//
//   - It does not decide whether the state is the state of the right file. The
//     caller must first finalise a clone of it and compare with the digest that
//     was voted on.
//   - It knows no web of trust, no designated revokers, no subkeys: the primary
//     key of the given certificate signs, or nobody does.
//   - It does not make signatures unique: ECDSA gives many signatures for one
//     document, and from each of them anybody can derive a second valid one.
//   - It has no clock. Key expiry and revocation are judged at the time the
//     signature claims for itself.
//
// The packet writer is our own because go-crypto loses errors of an external
// RSA or EdDSA signer and panics on unknown signer types; as the reader and
// verifier it stays independent of what the writer believes.
package pgpsig
