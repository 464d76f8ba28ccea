package statement

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/go-json-experiment/json"
)

// FileDigests is the signable that a batch of signatures is made from: the
// SHA-256 digests of the files inside of the artifact, as a [DigestSet].
const FileDigests = "files:sha256"

// MaxDigests is how many digests one [DigestSet] has at most. A statement holds
// that many once: they are 427 kB of its payload, and 570 kB of its envelope.
const MaxDigests = 10_000

const digestSize = len(SHA256{})

// DigestSet is a set of SHA-256 digests in its one order: sorted, each once. The
// zero set is empty; no signable is.
type DigestSet struct {
	joined []byte
}

// NewDigestSet sorts the digests and takes each once: files of one content are one
// digest. It refuses an empty list, and more than [MaxDigests] different ones.
func NewDigestSet(list []SHA256) (DigestSet, error) {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b SHA256) int { return bytes.Compare(a[:], b[:]) })
	sorted = slices.Compact(sorted)
	if err := checkCount(len(sorted)); err != nil {
		return DigestSet{}, err
	}
	joined := make([]byte, 0, len(sorted)*digestSize)
	for _, d := range sorted {
		joined = append(joined, d[:]...)
	}
	return DigestSet{joined}, nil
}

// jsonDigests is the value of the signable.
type jsonDigests struct {
	Digests *string `json:"digests"` // the digests one behind the other, base64
}

// ParseDigestSet reads the value of the signable, without white space. It refuses
// every spelling but that of [DigestSet.Signable]: votes are compared as bytes.
func ParseDigestSet(value []byte) (DigestSet, error) {
	var v jsonDigests
	if err := json.Unmarshal(value, &v, json.RejectUnknownMembers(true)); err != nil {
		return DigestSet{}, err
	}
	if v.Digests == nil {
		return DigestSet{}, errors.New("digests: is missing")
	}
	joined, err := base64.StdEncoding.Strict().DecodeString(*v.Digests)
	if err != nil {
		return DigestSet{}, errors.New("digests: not base64")
	}
	if len(joined)%digestSize != 0 {
		return DigestSet{}, fmt.Errorf("digests: %d bytes, want a multiple of %d", len(joined), digestSize)
	}
	if err := checkCount(len(joined) / digestSize); err != nil {
		return DigestSet{}, err
	}
	set := DigestSet{joined}
	for i := 1; i < set.Len(); i++ {
		if bytes.Compare(set.bytes(i-1), set.bytes(i)) >= 0 {
			return DigestSet{}, fmt.Errorf("digests: number %d is not greater than the one before it", i)
		}
	}
	if !bytes.Equal(set.value(), value) {
		return DigestSet{}, errors.New("digests: not in its one form")
	}
	return set, nil
}

func checkCount(n int) error {
	if n < 1 || n > MaxDigests {
		return fmt.Errorf("digests: %d different ones, want 1 to %d", n, MaxDigests)
	}
	return nil
}

// Len returns how many digests the set has.
func (s DigestSet) Len() int { return len(s.joined) / digestSize }

// At returns the i-th digest, counted from 0. It panics when there is none.
func (s DigestSet) At(i int) SHA256 { return SHA256(s.bytes(i)) }

// Range returns the digests from first up to, and not including, end, each with its
// number in the set. It panics when the set has not all of them.
func (s DigestSet) Range(first, end int) iter.Seq2[int, SHA256] {
	_ = s.joined[first*digestSize : end*digestSize]
	return func(yield func(int, SHA256) bool) {
		for i := first; i < end && yield(i, s.At(i)); i++ {
		}
	}
}

// Find returns the number of a digest in the set.
func (s DigestSet) Find(d SHA256) (i int, found bool) {
	return sort.Find(s.Len(), func(i int) int { return bytes.Compare(d[:], s.bytes(i)) })
}

// Signable returns the set as statements carry it.
func (s DigestSet) Signable() Signable { return Signable{FileDigests, s.value()} }

func (s DigestSet) bytes(i int) []byte { return s.joined[i*digestSize : (i+1)*digestSize] }

func (s DigestSet) value() []byte {
	b := []byte(`{"digests":"`)
	b = base64.StdEncoding.AppendEncode(b, s.joined)
	return append(b, `"}`...)
}

func checkDigestSet(value []byte, _ uint64) error {
	_, err := ParseDigestSet(value)
	return err
}
