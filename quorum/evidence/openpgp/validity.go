package openpgp

import (
	"time"

	"quorate/quorum/evidence"
)

// validity is what holds for one signing key at the time of judgement.
type validity struct {
	expires time.Time // zero: never
	problem string    // why it may not sign at all
	revoked []revocation
}

// validity evaluates the certificate for one of its keys at the given time.
func (k *Key) validity(c *component, at time.Time) validity {
	if k.bare {
		return validity{}
	}
	v := k.primaryValidity(at)
	if c == k.primary || v.problem == errNoSelfSignature.Error() {
		return v
	}
	k.evaluate(c)
	s := current(c.bindings, at)
	if s == nil {
		return validity{problem: "the subkey has no valid binding signature", revoked: v.revoked}
	}
	v.problem = s.problem
	if s.flags && !s.sign {
		v.problem = "the subkey is not for signing"
	}
	v.expires = earlier(v.expires, s.expires)
	v.revoked = append(v.revoked[:len(v.revoked):len(v.revoked)], c.revocations...)
	return v
}

// primaryValidity follows GnuPG (merge_selfsigs_main): a direct-key signature
// that states a value decides it; else, of the user ids whose newest
// certification states it, the one certified last. Revoking a user id takes back
// a name and not the key; when all are revoked, what they said of the key still
// holds. (GnuPG forgets the expiry then.)
func (k *Key) primaryValidity(at time.Time) validity {
	k.evaluate(k.primary)
	v := validity{revoked: k.primary.revocations}
	direct := current(k.primary.bindings, at)
	flags, expiry, valid := k.userStatements(at, false)
	if !valid {
		flags, expiry, valid = k.userStatements(at, true)
	}
	if direct != nil && direct.flags {
		flags = direct
	}
	if direct != nil && !direct.expires.IsZero() {
		expiry = direct
	}
	if expiry != nil {
		v.expires = expiry.expires
	}
	switch {
	case !valid && direct == nil:
		v.problem = errNoSelfSignature.Error()
	case flags != nil && !flags.sign:
		v.problem = "the primary key is not for signing"
	}
	return v
}

// userStatements returns the newest certification with key flags and the newest
// with an expiry, among user ids that are revoked or not, and whether there is
// any certification at all.
func (k *Key) userStatements(at time.Time, revoked bool) (flags, expiry *selfSig, any bool) {
	for _, u := range k.users {
		s := current(u.certs, at)
		if s == nil || revoked == (u.revoked.IsZero() || s.created.After(u.revoked)) {
			continue
		}
		any = true
		if s.flags && (flags == nil || s.created.After(flags.created)) {
			flags = s
		}
		if !s.expires.IsZero() && (expiry == nil || s.created.After(expiry.created)) {
			expiry = s
		}
	}
	return flags, expiry, any
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Expires returns when the primary key expires as of the time; zero: never.
func (k *Key) Expires(at time.Time) time.Time {
	if k.bare {
		return time.Time{}
	}
	return k.primaryValidity(at).expires
}

// status gives the verdict on a signature that verifies: made at created by a
// key with this validity, judged at the given time.
func (v validity) status(created, at time.Time) (evidence.Status, string) {
	if v.problem != "" {
		return evidence.UnusableKey, v.problem
	}
	retired := time.Time{}
	for _, r := range v.revoked {
		switch {
		case !r.soft:
			return evidence.Revoked, "the key is revoked"
		case !created.Before(r.at):
			return evidence.Revoked, "the key was retired on " + day(r.at) + ", before the signature was made"
		case !at.Before(r.at):
			retired = r.at
		}
	}
	switch {
	case !retired.IsZero():
		return evidence.RevokedSince, "the key was retired on " + day(retired) + ", after the signature was made; GnuPG says revoked"
	case !v.expires.IsZero() && created.After(v.expires): // the last second still counts, as in GnuPG
		return evidence.Expired, "the key had expired on " + day(v.expires) + ", before the signature was made"
	case !v.expires.IsZero() && at.After(v.expires):
		return evidence.ExpiredSince, "the key expired on " + day(v.expires) + ", after the signature was made; GnuPG says expired"
	}
	return evidence.Good, "good signature"
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
