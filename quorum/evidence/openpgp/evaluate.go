package openpgp

import (
	"errors"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// evaluate verifies what the primary key says about one of its keys.
func (k *Key) evaluate(c *component) {
	c.once.Do(func() {
		if c == k.primary {
			k.evaluatePrimary()
			return
		}
		// The hash is the same for bindings and revocations of a subkey, and this
		// call checks nothing else.
		genuine := func(sig *packet.Signature) bool {
			return k.primary.key.VerifySubkeyRevocationSignature(sig, c.key) == nil
		}
		c.revocations = revocations(c.taken, genuine)
		c.bindings = newestFirst(c.statements, genuine, func(sig *packet.Signature) selfSig { return k.newBinding(sig, c.key) })
	})
}

func (k *Key) evaluatePrimary() {
	key := k.primary.key
	about := func(sig *packet.Signature) selfSig { return newSelfSig(sig, key) }
	k.primary.revocations = revocations(k.primary.taken, func(sig *packet.Signature) bool { return key.VerifyRevocationSignature(sig) == nil })
	k.primary.bindings = newestFirst(k.primary.statements, func(sig *packet.Signature) bool { return key.VerifyDirectKeySignature(sig) == nil }, about)
	for _, u := range k.users {
		genuine := func(sig *packet.Signature) bool { return key.VerifyUserIdSignature(u.id, key, sig) == nil }
		u.certs = newestFirst(u.statements, genuine, about)
		for _, sig := range u.taken {
			if sig.CreationTime.After(u.revoked) && genuine(sig) {
				u.revoked = sig.CreationTime
			}
		}
	}
}

// newestFirst returns the genuine signatures, newest first, down to the first
// that never ends: older ones cannot decide anything any more.
func newestFirst(claimed []*packet.Signature, genuine func(*packet.Signature) bool, read func(*packet.Signature) selfSig) (out []selfSig) {
	claimed = slices.Clone(claimed)
	slices.SortStableFunc(claimed, func(a, b *packet.Signature) int { return b.CreationTime.Compare(a.CreationTime) })
	for _, sig := range claimed {
		if !genuine(sig) {
			continue
		}
		if out = append(out, read(sig)); out[len(out)-1].ends.IsZero() {
			break
		}
	}
	return out
}

func revocations(claimed []*packet.Signature, genuine func(*packet.Signature) bool) (out []revocation) {
	for _, sig := range claimed {
		if genuine(sig) {
			out = append(out, newRevocation(sig))
		}
	}
	return out
}

// newBinding also checks that the subkey vouches for the primary key. Without
// that, anybody could bind another's signing key to their own certificate and
// pass for the author of its signatures (RFC 9580 section 10.1.5).
func (k *Key) newBinding(sig *packet.Signature, key *packet.PublicKey) selfSig {
	s := newSelfSig(sig, key)
	if sig.FlagsValid && !sig.FlagSign {
		return s
	}
	vouching := *sig
	vouching.FlagSign = true // GnuPG: without flags a key may do what its algorithm can
	if err := k.primary.key.VerifyKeySignature(key, &vouching); err != nil {
		s.problem = "the subkey does not vouch for the primary key"
	}
	return s
}

func newSelfSig(sig *packet.Signature, key *packet.PublicKey) selfSig {
	s := selfSig{created: sig.CreationTime, flags: sig.FlagsValid, sign: sig.FlagSign}
	s.ends = after(sig.CreationTime, sig.SigLifetimeSecs)
	s.expires = after(key.CreationTime, sig.KeyLifetimeSecs)
	return s
}

func newRevocation(sig *packet.Signature) revocation {
	r := sig.RevocationReason
	return revocation{sig.CreationTime, r != nil && (*r == packet.KeySuperseded || *r == packet.KeyRetired)}
}

func after(t time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return t.Add(time.Duration(*seconds) * time.Second)
}

var errNoSelfSignature = errors.New("the key has no valid self-signature")

// current returns the newest self-signature that has not ended.
func current(sigs []selfSig, at time.Time) *selfSig {
	for i := range sigs {
		if s := &sigs[i]; s.ends.IsZero() || at.Before(s.ends) {
			return s
		}
	}
	return nil
}
