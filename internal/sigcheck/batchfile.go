package sigcheck

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"quorate/quorum"
	"quorate/quorum/format"
	"quorate/quorum/statement"
)

// MaxBatchFile bounds the file of a batch, in bytes: no answer can have more.
const MaxBatchFile = quorum.MaxParts * quorum.MaxAnswer

// Batch is what the file of a batch format has: a signature for each digest of the
// set, in its order.
type Batch struct {
	Set    statement.DigestSet
	Values [][]byte
}

// AppendBatchLine writes one line of the file: the digest in hex, a space, the
// signature in base64.
func AppendBatchLine(b []byte, digest statement.SHA256, value []byte) []byte {
	b = hex.AppendEncode(b, digest[:])
	b = append(b, ' ')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '\n')
}

// ParseBatch reads the file. It takes the one form in which [AppendBatchLine] writes
// it, in the order of the set.
func ParseBatch(data []byte) (*Batch, error) {
	if len(data) > MaxBatchFile {
		return nil, fmt.Errorf("batch: %d bytes, at most %d", len(data), MaxBatchFile)
	}
	b := &Batch{}
	var digests []statement.SHA256
	for len(data) > 0 {
		n := len(digests) + 1
		if n > statement.MaxDigests {
			return nil, fmt.Errorf("batch: more than %d lines", statement.MaxDigests)
		}
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		digest, value, err := parseBatchLine(line)
		switch {
		case !ended:
			return nil, fmt.Errorf("batch: line %d is cut off", n)
		case err != nil:
			return nil, fmt.Errorf("batch: line %d: %w", n, err)
		case n > 1 && bytes.Compare(digests[n-2][:], digest[:]) >= 0:
			return nil, fmt.Errorf("batch: line %d: the digest is not greater than the one before it", n)
		}
		digests, b.Values, data = append(digests, digest), append(b.Values, value), rest
	}
	var err error
	if b.Set, err = statement.NewDigestSet(digests); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	return b, nil
}

func parseBatchLine(line []byte) (digest statement.SHA256, value []byte, err error) {
	left, right, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return digest, nil, errors.New("is not a digest, a space and a signature")
	}
	if digest, err = statement.ParseSHA256(string(left)); err != nil {
		return digest, nil, err
	}
	value, err = base64.StdEncoding.Strict().DecodeString(string(right))
	if err != nil || len(value) == 0 || bytes.ContainsAny(right, "\r\n") {
		return digest, nil, errors.New("the signature is not base64")
	}
	return digest, value, nil
}

// verifyBatch checks each signature in the file of a batch, on all processors, and
// that it has one for each digest that was agreed on.
func (k *Key) verifyBatch(f format.Name, file File, data []byte) (*Result, error) {
	if file.Agreed == nil {
		return nil, fmt.Errorf("%w: %s needs the digests that builders agreed on", ErrUnchecked, f)
	}
	b, err := ParseBatch(data)
	if err != nil {
		return nil, err
	}
	if i, err := k.VerifyValues(f, b.Set, 0, b.Values); err != nil {
		return nil, fmt.Errorf("line %d: %w", i+1, err)
	}
	if err := file.Agreed(b.Set); err != nil {
		return nil, err
	}
	fingerprint, err := k.Fingerprint(f)
	return &Result{Fingerprint: fingerprint, Count: b.Set.Len()}, err
}
