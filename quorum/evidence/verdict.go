package evidence

import "time"

// Status is the verdict on one signature.
type Status string

// The verdicts. Only [Good] counts by itself; see [Accept] for the two that a
// policy may allow.
const (
	Good         Status = "good"
	ExpiredSince Status = "expired-since" // good, and the key expired after the signature was made
	RevokedSince Status = "revoked-since" // good, and the key was retired after the signature was made

	Expired     Status = "expired"           // the key had expired when the signature was made
	SigExpired  Status = "signature-expired" // the signature limits its own life
	Revoked     Status = "revoked"           // the key is revoked
	Future      Status = "future"            // made later than the time of judgement
	UnusableKey Status = "unusable-key"      // the key may not sign, or does not vouch for itself
	NoKey       Status = "no-key"            // by none of the pinned keys
	Bad         Status = "bad"               // does not verify
	Unsupported Status = "unsupported"       // an algorithm or form that is not accepted
)

// MaxSkew is how far a signature's own time may be ahead of the time of
// judgement before it is [Future].
const MaxSkew = 10 * time.Minute

// Verdict is the judgement on one signature.
type Verdict struct {
	Status Status
	Key    string // the pinned key that made it, in text form; empty without one

	Primary   string // OpenPGP: fingerprint of the primary key, upper-case hex
	Signing   string // OpenPGP: fingerprint of the key or subkey that signed
	PublicKey uint8  // OpenPGP: public-key algorithm id; 0 in other formats
	Hash      uint8  // OpenPGP: hash algorithm id; 0 in other formats

	Created time.Time // claimed by the signer; zero when the format has none
	Hint    string    // what the signature says of its key (key id, name); not believed
	Reason  string    // for people
}

// Counts reports whether the signature stands for the holder of [Verdict.Key].
func (v Verdict) Counts(a Accept) bool {
	switch v.Status {
	case Good:
		return true
	case ExpiredSince:
		return a.ExpiredSince
	case RevokedSince:
		return a.RevokedSince
	}
	return false
}
