package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"

	"quorate/quorum"
	"quorate/quorum/statement"
)

// CaseID names a case: the first 16 bytes of the SHA-256 over channel, target
// and stage, each behind its length in eight bytes. Every coordinator computes
// the same one, so links stay good on another machine.
type CaseID [16]byte

// NewCaseID computes the id of a case.
func NewCaseID(c statement.Case) CaseID {
	var b []byte
	for _, s := range []string{c.Channel, c.Target, c.Stage} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return CaseID(sum[:16])
}

// ParseCaseID reads the 32 hex digits that [CaseID.String] writes.
func ParseCaseID(s string) (CaseID, error) {
	var id CaseID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, errors.New("not 32 lower-case hex digits")
	}
	return CaseID(b), nil
}

func (id CaseID) String() string { return hex.EncodeToString(id[:]) }

// encodeFiles packs the votes of one statement: for each file the length of its
// name, the name, and both digests. One value beside the statement, because a
// row for each of 4,096 files would cost as much as the signature check.
func encodeFiles(files []quorum.File) []byte {
	size := 0
	for i := range files {
		size += len(files[i].Name) + 98
	}
	b := make([]byte, 0, size)
	for i := range files {
		f := &files[i]
		b = binary.AppendUvarint(b, uint64(len(f.Name)))
		b = append(b, f.Name...)
		b = append(b, f.SHA256[:]...)
		b = append(b, f.SHA512[:]...)
	}
	return b
}

func decodeFiles(b []byte) ([]quorum.File, error) {
	var files []quorum.File
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || uint64(len(b)-used) < n+96 {
			return nil, errors.New("stored votes are damaged")
		}
		b = b[used:]
		files = append(files, quorum.File{
			Name:   string(b[:n]),
			SHA256: statement.SHA256(b[n : n+32]),
			SHA512: statement.SHA512(b[n+32 : n+96]),
		})
		b = b[n+96:]
	}
	return files, nil
}
