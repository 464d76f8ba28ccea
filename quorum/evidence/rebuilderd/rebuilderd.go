// Package rebuilderd reads the attestations of rebuilderd: in-toto links in the
// older file form, signed with Ed25519 over OLPC canonical JSON.
//
// Guarantees: a signature is accepted only when it verifies with a pinned key;
// the key id beside it is never asked. Not guaranteed, because the format does
// not say it: which distribution, architecture, builder or time a link is for.
// A link carries the signature of the worker and, since it was first fetched,
// that of the instance: both are one rebuild and one vote.
package rebuilderd

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"quorate/quorum/evidence"
	"quorate/quorum/evidence/internal/metablock"
)

// MaxSize bounds a link, in bytes.
const MaxSize = 1 << 20

const kind = evidence.Rebuilderd

// Read reads a link and judges each of its signatures. The time is not used:
// neither the links nor their keys know one.
func Read(b evidence.Bundle, keys []evidence.Key, _ time.Time) (*evidence.Statement, error) {
	s, err := b.Open(kind, MaxSize)
	if err != nil {
		return nil, err
	}
	block, err := metablock.Parse(kind, b.Body)
	if err != nil {
		return nil, err
	}
	if err := block.Fill(s); err != nil {
		return nil, err
	}
	for i, sig := range block.Signatures {
		raw, err := metablock.Hex(kind, "signatures["+strconv.Itoa(i)+"].sig", sig.Sig, ed25519.SignatureSize)
		if err != nil {
			return nil, err
		}
		s.Verdicts = append(s.Verdicts, judge(keys, block.Canonical, raw, sig.KeyID))
	}
	return s, nil
}

// judge tells a broken signature from one by a key that is not pinned: when the
// id is that of a pinned key, the key should have verified it.
func judge(keys []evidence.Key, msg, sig []byte, keyID string) evidence.Verdict {
	v := evidence.JudgeKeys(keys, msg, sig, keyID)
	if v.Status != evidence.NoKey {
		return v
	}
	for _, k := range keys {
		if id, ok := KeyID(k); ok && id == keyID {
			v.Status, v.Reason = evidence.Bad, "claims to be by "+k.String()+" and does not verify"
		}
	}
	return v
}

// KeyID is the id that in-toto gives an Ed25519 key: the SHA-256 of the
// canonical JSON of its description. It is for display and for finding files.
func KeyID(k evidence.Key) (id string, ok bool) {
	pub := k.Ed25519()
	if pub == nil {
		return "", false
	}
	canonical, err := cjson.EncodeCanonical(map[string]any{
		"keyid_hash_algorithms": []string{"sha256", "sha512"},
		"keytype":               "ed25519",
		"keyval":                map[string]string{"public": hex.EncodeToString(pub)},
		"scheme":                "ed25519",
	})
	if err != nil {
		return "", false
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), true
}
