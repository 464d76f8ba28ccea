package statement

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"quorate/quorum/hashstate"
)

// TextState is the signable that an OpenPGP cleartext message is made from: the
// SHA-512 state, in the form of package hashstate, at the end of the file's text as
// a signature of type 0x01 hashes it there. Its lines have no spaces and tabs at
// their ends and are joined by CR LF, and the ending of the last is not hashed
// (RFC 4880 sections 5.2.4 and 7.1).
const TextState = "text:sha512-state"

// Signable is something of a file, besides its digests, that a signature can be
// made from. Nobody can tell from the digests whether it is that of the file, so
// it needs a quorum by itself.
type Signable struct {
	Name  string
	Value jsontext.Value // in its one form: equal signables are equal bytes
}

// Digest is the SHA-256 of the value.
func (s *Signable) Digest() SHA256 { return sha256.Sum256(s.Value) }

// Signable returns the signable of that name, or nil.
func (a *Artifact) Signable(name string) *Signable {
	for i := range a.Signables {
		if a.Signables[i].Name == name {
			return &a.Signables[i]
		}
	}
	return nil
}

// signables is the table of those that are known: what the value of each must be,
// without white space. size is that of the file.
var signables = map[string]func(value []byte, size uint64) error{
	TextState:   checkTextState,
	FileDigests: checkDigestSet,
}

func checkTextState(value []byte, size uint64) error {
	st, err := hashstate.Decode(hashstate.SHA512, value)
	if err != nil {
		return err
	}
	if st.Length > size && st.Length-size > size { // a CR for every LF doubles it at most
		return fmt.Errorf("the text has %d bytes, too many for a file of %d", st.Length, size)
	}
	if canonical, err := st.MarshalJSON(); err != nil || !bytes.Equal(canonical, value) {
		return errors.New("the members are not in the order h, tail, length")
	}
	return nil
}

// readSignables refuses what it does not know: nothing is dropped in silence from
// what a builder signed.
func (a *Artifact) readSignables(values map[string]jsontext.Value, path string) error {
	if len(values) == 0 {
		return nil
	}
	path += "annotations.signables"
	for _, name := range slices.Sorted(maps.Keys(values)) {
		check, value := signables[name], values[name]
		if check == nil {
			return refuse(CodeBadField, path, "%q is not known to this version", clip(name))
		}
		if err := value.Compact(); err != nil {
			return refuse(CodeBadSignable, path+"."+name, "%v", err)
		}
		if err := check(value, a.Size); err != nil {
			return refuse(CodeBadSignable, path+"."+name, "%v", err)
		}
		a.Signables = append(a.Signables, Signable{name, value})
	}
	return nil
}

// writeSignables gives them as they stand in a subject, an empty object for none.
func (a *Artifact) writeSignables() (map[string]jsontext.Value, error) {
	values := make(map[string]jsontext.Value, len(a.Signables))
	for _, s := range a.Signables {
		if _, twice := values[s.Name]; twice {
			return nil, fmt.Errorf("artifact %q: signable %q stands twice", a.Name, s.Name)
		}
		values[s.Name] = s.Value
	}
	return values, nil
}
