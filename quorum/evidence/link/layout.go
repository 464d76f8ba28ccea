package link

import (
	"crypto/rsa"
	"encoding/hex"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/metablock"
	"quorate/quorum/evidence/internal/strict"
	"quorate/quorum/evidence/openpgp"
	"quorate/quorum/statement"
)

const (
	maxKeys  = 256
	maxSteps = 256
)

// Layout is the part of an in-toto layout that says whose links count.
type Layout struct {
	Expires  time.Time
	Keys     []*openpgp.Key
	Steps    []Step
	Verdicts []evidence.Verdict // on the layout's own signatures; none when it is unsigned
}

// Step is one step with its threshold.
type Step struct {
	Name      string
	Threshold int
	Keys      []openpgp.Fingerprint
}

type (
	jsonLayout struct {
		Type    string             `json:"_type"`
		Expires string             `json:"expires"`
		Keys    map[string]jsonKey `json:"keys"`
		Steps   []jsonStep         `json:"steps"`
	}
	jsonStep struct {
		Name      string   `json:"name"`
		Threshold int      `json:"threshold"`
		PubKeys   []string `json:"pubkeys"`
	}
	jsonKey struct {
		Type   string `json:"type"`
		KeyVal struct {
			Public struct {
				E string `json:"e"`
				N string `json:"n"`
			} `json:"public"`
		} `json:"keyval"`
		Subkeys map[string]jsonKey `json:"subkeys"`
	}
)

// ReadLayout reads a layout and refuses it when it has expired at the time. The
// owners are the keys that may sign it; without them the verdicts say no-key.
func ReadLayout(raw []byte, owners *openpgp.Ring, at time.Time) (*Layout, error) {
	if len(raw) > MaxSize {
		return nil, evidence.Refuse(kind, statement.CodeTooLarge, "layout", "%d bytes, at most %d", len(raw), MaxSize)
	}
	block, err := metablock.Parse(kind, raw)
	if err != nil {
		return nil, err
	}
	t, err := block.Type(kind)
	if err != nil {
		return nil, err
	}
	if t != "layout" {
		return nil, evidence.Refuse(kind, evidence.CodeWrongKind, "signed._type", "%q, want \"layout\"", evidence.Clip(t))
	}
	var js jsonLayout
	if err := strict.Unmarshal(kind, "signed", block.Signed, &js); err != nil {
		return nil, err
	}
	l := &Layout{}
	if l.Expires, err = time.Parse(time.RFC3339, js.Expires); err != nil {
		return nil, evidence.Refuse(kind, evidence.CodeBadField, "signed.expires", "is not an RFC 3339 time")
	}
	if !at.Before(l.Expires) {
		return nil, evidence.Refuse(kind, evidence.CodeExpired, "signed.expires", "the layout expired on %s", l.Expires.UTC().Format(time.RFC3339))
	}
	if err := l.readKeys(js.Keys); err != nil {
		return nil, err
	}
	if err := l.readSteps(js.Steps); err != nil {
		return nil, err
	}
	l.Verdicts, err = judge(block, owners, at)
	return l, err
}

func (l *Layout) readKeys(keys map[string]jsonKey) error {
	if len(keys) > maxKeys {
		return evidence.Refuse(kind, statement.CodeTooLarge, "signed.keys", "%d keys, at most %d", len(keys), maxKeys)
	}
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		bare, err := readKey(id, keys[id], "signed.keys."+evidence.Clip(id))
		if err != nil {
			return err
		}
		key, err := openpgp.NewBareKey(bare)
		if err != nil {
			return err
		}
		l.Keys = append(l.Keys, key)
	}
	return nil
}

func readKey(id string, js jsonKey, field string) (openpgp.BareKey, error) {
	fpr, err := openpgp.ParseFingerprint(id)
	if err != nil {
		return openpgp.BareKey{}, evidence.Refuse(kind, evidence.CodeBadKey, field, "the key's name: %v", err)
	}
	b := openpgp.BareKey{Fingerprint: fpr}
	if js.Type != "rsa" {
		return b, evidence.Refuse(kind, evidence.CodeBadKey, field+".type", "%q, only \"rsa\" is read", evidence.Clip(js.Type))
	}
	n, err := hex.DecodeString(js.KeyVal.Public.N)
	if err != nil || len(n) > 2048 {
		return b, evidence.Refuse(kind, evidence.CodeBadKey, field+".keyval.public.n", "is not hex")
	}
	e, err := strconv.ParseUint(strings.TrimLeft(js.KeyVal.Public.E, "0"), 16, 31)
	if err != nil {
		return b, evidence.Refuse(kind, evidence.CodeBadKey, field+".keyval.public.e", "is not hex, or too large")
	}
	b.Public = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e)}
	for _, sub := range slices.Sorted(maps.Keys(js.Subkeys)) {
		if len(js.Subkeys[sub].Subkeys) > 0 || len(js.Subkeys) > maxKeys {
			return b, evidence.Refuse(kind, evidence.CodeBadKey, field+".subkeys", "are nested, or too many")
		}
		s, err := readKey(sub, js.Subkeys[sub], field+".subkeys."+evidence.Clip(sub))
		if err != nil {
			return b, err
		}
		b.Subkeys = append(b.Subkeys, s)
	}
	return b, nil
}

func (l *Layout) readSteps(steps []jsonStep) error {
	if len(steps) > maxSteps {
		return evidence.Refuse(kind, statement.CodeTooLarge, "signed.steps", "%d steps, at most %d", len(steps), maxSteps)
	}
	known := map[openpgp.Fingerprint]bool{}
	for _, k := range l.Keys {
		known[k.Fingerprint()] = true
	}
	for i, js := range steps {
		field := "signed.steps[" + strconv.Itoa(i) + "]"
		s := Step{Name: js.Name, Threshold: js.Threshold}
		for _, id := range js.PubKeys {
			fpr, err := openpgp.ParseFingerprint(id)
			if err != nil || !known[fpr] || slices.Contains(s.Keys, fpr) {
				return evidence.Refuse(kind, evidence.CodeBadKey, field+".pubkeys", "%q is no key of the layout, or stands twice", evidence.Clip(id))
			}
			s.Keys = append(s.Keys, fpr)
		}
		if s.Threshold < 1 || s.Threshold > len(s.Keys) {
			return evidence.Refuse(kind, evidence.CodeBadField, field+".threshold", "%d of %d keys", s.Threshold, len(s.Keys))
		}
		l.Steps = append(l.Steps, s)
	}
	return nil
}

// Ring returns the keys of a step, or of the whole layout for an empty name.
func (l *Layout) Ring(step string) (*openpgp.Ring, error) {
	if step == "" {
		return openpgp.NewRing(l.Keys...)
	}
	for _, s := range l.Steps {
		if s.Name != step {
			continue
		}
		var keys []*openpgp.Key
		for _, k := range l.Keys {
			if slices.Contains(s.Keys, k.Fingerprint()) {
				keys = append(keys, k)
			}
		}
		return openpgp.NewRing(keys...)
	}
	return nil, evidence.Refuse(kind, evidence.CodeBadField, "signed.steps", "there is no step %q", evidence.Clip(step))
}
