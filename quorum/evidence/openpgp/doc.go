// Package openpgp judges OpenPGP signatures that others made, against keys that
// the caller pins by the fingerprint of the primary key.
//
// Cryptography and packet parsing are go-crypto's packet layer. What a
// certificate says about itself is evaluated here, because neither of
// go-crypto's key rings gives the answers that GnuPG gives and that the people
// who publish these signatures see: its first API cannot read some real
// certificates at all and refuses every signature by a key that has expired
// since; its second judges the certificate as of the signature's own date, and
// so refuses good signatures once the key file is renewed in place and the old
// self-signatures are gone.
//
// The rules, which are GnuPG's unless said otherwise:
//
//   - The newest valid self-signature decides about expiry and key flags,
//     whenever it was made; a direct-key signature goes before user ids.
//   - Expiry is measured at the time of judgement. GnuPG has one word for an
//     expired key; here a key that expired after the signature was made is
//     [evidence.ExpiredSince], and before, [evidence.Expired].
//   - A subkey lives no longer than its primary key, needs a binding signature
//     that allows signing, and must itself vouch for the primary key.
//   - A revoked key is revoked. GnuPG makes no difference by reason; here a key
//     that was retired or superseded after the signature was made is
//     [evidence.RevokedSince] (RFC 9580 section 5.2.3.31).
//   - SHA-1 is accepted in what a key says of itself, not in signatures over
//     documents, where GnuPG still takes it. RSA keys below 2047 bits, DSA, and
//     versions other than 4 are not accepted, which GnuPG would.
//   - A signature dated after the time of judgement is [evidence.Future]; GnuPG
//     accepts it.
//
// Guarantees: a verdict names a pinned key only when the signature was verified
// with that key or a subkey it vouches for. Not guaranteed: that a signature's
// creation time is true. It is what the signer wrote, so whoever has stolen an
// expired key can write an earlier one; [evidence.ExpiredSince] is for a policy
// to accept or not.
package openpgp
