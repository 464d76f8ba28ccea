package hsmsigner

import (
	"crypto/x509"
	"errors"
	"fmt"

	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// checkPolicy refuses a policy that asks keys of this signer for what they cannot
// or must not make. It is found out when the policy is loaded, not when the first
// artifact waits for its signature. Keys that this signer does not hold are
// another one's to judge.
func (s *Signer) checkPolicy(r *rules) error {
	var problems []error
	made := map[string][]asked{}
	for _, ch := range r.policy.Channels {
		for _, o := range ch.Sign {
			k, held := r.keys[o.Key]
			if !held {
				continue
			}
			if err := s.offers(k, o.Format); err != nil {
				problems = append(problems, fmt.Errorf("channel %q: cannot sign %s with key %q%s: %w", ch.Name, o.Format, o.Key, ofType(k), err))
				continue
			}
			problems = append(problems, twins(made, asked{ch.Name, o}, k)...)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: policy version %d: %w", ErrConfig, r.policy.Version, err)
	}
	return nil
}

func ofType(k Key) string {
	kind, err := format.KeyTypeOf(k.public)
	if err != nil {
		return ""
	}
	return " of type " + string(kind)
}

// offers returns nil if the signer makes that format with the key.
func (s *Signer) offers(k Key, f policy.Format) error {
	if batchFormats[f] == nil && (formats[f] == nil || checkers[f] == nil) {
		return errors.New("this signer does not make the format")
	}
	if err := canMake(k, f); err != nil {
		return err
	}
	if f == format.VSA && !statement.ValidName(s.name) {
		return fmt.Errorf("the summary names the signer, and %q is not a name", s.name)
	}
	return nil
}

// canMake returns nil if the key and its certificates are what the format needs.
func canMake(k Key, f policy.Format) error {
	kind, err := format.KeyTypeOf(k.public)
	if err != nil {
		return err
	}
	if err := format.Possible(f, kind); err != nil {
		return err
	}
	if err := k.checker().Supports(f); err != nil {
		return fmt.Errorf("%w (hint: 'certificate' and 'x509' of [[key]] name the certificates)", err)
	}
	// A certificate lets everybody read the key's signatures as OpenPGP, so the
	// key counts as one that makes those.
	if k.Certificate != nil && !format.IsOpenPGP(f) {
		if err := format.SameKey(format.OpenPGP, f); err != nil {
			return fmt.Errorf("the key has an OpenPGP certificate: %w", err)
		}
	}
	return nil
}

// asked is an output and the channel that asks for it.
type asked struct {
	channel string
	policy.Output
}

// twins finds one key under two labels, which the policy takes for two keys, that
// would make formats that must not share one.
func twins(made map[string][]asked, a asked, k Key) (problems []error) {
	spki, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return []error{err}
	}
	for _, other := range made[string(spki)] {
		if err := format.SameKey(other.Format, a.Format); err != nil && other.Key != a.Key {
			problems = append(problems, fmt.Errorf("keys %q (%s in channel %q) and %q (%s in channel %q) are one key under two labels: %w",
				other.Key, other.Format, other.channel, a.Key, a.Format, a.channel, err))
		}
	}
	made[string(spki)] = append(made[string(spki)], a)
	return problems
}
