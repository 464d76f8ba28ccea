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

// MinVote is the least number of bytes that a file's vote is stored in: a name of one
// byte behind its length, and both digests.
const MinVote = 98

// encodeFiles packs the votes of one statement: for each file the length of its
// name, the name, and both digests; and behind it, where it has signables, a zero,
// which is no length of a name, their count and each in the same way. One value beside the statement, because a
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
		b = appendSignables(b, f.Signables)
	}
	return b
}

func appendSignables(b []byte, list []quorum.SignableDigest) []byte {
	if len(list) == 0 {
		return b
	}
	b = binary.AppendUvarint(append(b, 0), uint64(len(list)))
	for i := range list {
		b = binary.AppendUvarint(b, uint64(len(list[i].Name)))
		b = append(b, list[i].Name...)
		b = append(b, list[i].SHA256[:]...)
	}
	return b
}

var errDamaged = errors.New("stored votes are damaged")

func decodeFiles(b []byte) ([]quorum.File, error) {
	var files []quorum.File
	for len(b) > 0 {
		name, rest, ok := cutName(b, 96)
		if !ok {
			return nil, errDamaged
		}
		f := quorum.File{Name: name, SHA256: statement.SHA256(rest[:32]), SHA512: statement.SHA512(rest[32:96])}
		if b = rest[96:]; len(b) > 0 && b[0] == 0 {
			if f.Signables, b, ok = cutSignables(b[1:]); !ok {
				return nil, errDamaged
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// cutName takes a name off, behind which at least more bytes must come.
func cutName(b []byte, more uint64) (name string, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)) || uint64(len(b)-used) < n+more {
		return "", nil, false
	}
	return string(b[used : used+int(n)]), b[used+int(n):], true
}

func cutSignables(b []byte) (list []quorum.SignableDigest, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 {
		return nil, nil, false
	}
	for b = b[used:]; n > 0; n-- {
		name, rest, ok := cutName(b, 32)
		if !ok {
			return nil, nil, false
		}
		list = append(list, quorum.SignableDigest{Name: name, SHA256: statement.SHA256(rest[:32])})
		b = rest[32:]
	}
	return list, b, true
}
