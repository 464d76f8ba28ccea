// Package sigformat is what the signature formats beyond detached OpenPGP have
// in common: a key whose private half is elsewhere, and the check of what it
// answers. Its sub-packages write one format each; the table of them is
// quorum/format.
//
// All of them sign from votes. What reaches the private key is never the file,
// but a digest of it or a small structure around one, and Ed25519, which signs
// messages and not digests (RFC 8032 section 5.1.6), gets that structure itself.
//
// Guarantees, here and in every sub-package:
//
//   - Nothing unverified leaves. Each answer of the private key is verified by
//     the standard library, and each finished signature is read back and verified
//     by code that shares nothing with its writer but the constants. What fails
//     is [ErrSignatureCheck], and no bytes are returned. Who asks for the first of
//     the two to be left out ([Key.Unverified]) verifies what was made: a bare
//     signature (package rawsig) has no second one.
//   - Only RSA of 2048 to 8192 bits with PKCS#1 v1.5, ECDSA on P-256 and P-384,
//     and Ed25519; only SHA-256, SHA-384 and SHA-512.
//   - Writing adds no randomness and reads no clock: the same inputs give the same
//     bytes, unless the private key itself is randomised (ECDSA usually is).
//
// Not guaranteed: that a digest is that of the right file, or that a key may be
// used for a format. The first is decided by the votes, the second by
// format.Possible and format.SameKey when the policy is read. Nor that a signature
// is the only one: from an ECDSA signature anybody can derive a second valid one.
package sigformat
