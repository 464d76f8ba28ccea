package listing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"quorate/internal/manifest"
)

const (
	// nestedWindow is the memory of a decompressor below the first one: several may
	// be at work, one inside of the other.
	nestedWindow = 64 << 20

	// nestedZip is how large a zip inside of an archive may be. Its list lies at its
	// end, so it is held in memory; a larger one is a member like any other.
	nestedZip = 16 << 20
)

var magicZip = []byte("PK\x03\x04")

// allowance is what may still be spent on archives inside of the artifact. When it
// is used up they are members like any other.
type allowance struct {
	members int
	bytes   int64
}

// tally hashes and counts what is read of a member, whoever reads it.
type tally struct {
	k   *work
	r   io.Reader
	h   hash.Hash
	n   int64
	err error // the first failure of r, other than its end
}

func (t *tally) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.r.Read(p)
	t.n += int64(n)
	t.h.Write(p[:n])
	if *t.k.left -= int64(n); *t.k.left < 0 {
		err = errUnpacked(t.k.limits.Unpacked)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

// content reads a member to its end, and what is inside of it if it is an archive.
// What is wrong with that archive spoils nothing but its own list.
func (k *work) content(name string, r io.Reader, h hash.Hash) (size int64, inside []manifest.Member, err error) {
	t := &tally{k: k, r: r, h: h}
	if k.depth < k.limits.Depth {
		head := k.head[:0]
		for len(head) < tarBlock && err == nil {
			var n int
			n, err = t.Read(k.head[len(head):tarBlock])
			head = k.head[:len(head)+n]
		}
		if isArchive(head) && k.nested.members > 0 && k.nested.bytes > 0 {
			k.nested.bytes -= opening(head)
			inside = k.inside(name, io.MultiReader(bytes.NewReader(bytes.Clone(head)), t), bytes.HasPrefix(head, magicZip))
		}
	}
	for t.err == nil && !errors.Is(err, io.EOF) {
		_, err = t.Read(k.buf)
	}
	return t.n, inside, t.err
}

// opening is what it costs to look into a member, in bytes: a package may have
// thousands that are compressed, such as manual pages, and no archives.
func opening(head []byte) int64 {
	switch compression(head) {
	case "":
		return 0
	case "gzip":
		return 256 << 10
	}
	return 4 << 20 // much memory, or a block of 900 kB
}

func isArchive(head []byte) bool { return isStream(head) || bytes.HasPrefix(head, magicZip) }

// inside lists the members of an archive that is a member itself; none when it
// cannot be read, or goes over what is allowed.
func (k *work) inside(name string, r io.Reader, isZip bool) (list []manifest.Member) {
	spent := *k.nested
	sub := &work{limits: k.limits, nested: k.nested, left: &k.nested.bytes, depth: k.depth + 1, prefix: name + "/", buf: make([]byte, bufferBytes), window: nestedWindow}
	sub.limits.Unpacked = k.nested.bytes
	defer func() {
		if p := recover(); p != nil {
			list = nil
		}
		if list == nil {
			k.nested.members = spent.members // nothing of it is listed
		}
	}()
	var err error
	if isZip {
		err = sub.zipInMemory(r)
	} else {
		_, err = sub.stream(bufio.NewReaderSize(r, bufferBytes))
	}
	if err != nil {
		return nil
	}
	return append(sub.list, sub.below...)
}

func (k *work) zipInMemory(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, nestedZip+1))
	if err != nil {
		return err
	}
	if len(data) > nestedZip {
		return fmt.Errorf("zip: more than %d bytes in an archive", nestedZip)
	}
	return k.zip(bytes.NewReader(data), int64(len(data)))
}

// put adds a member to the list of the artifact, or of the archive inside of it.
func (k *work) put(m manifest.Member) error {
	if k.depth == 0 {
		return k.out.Add(m)
	}
	if k.nested.members--; k.nested.members < 0 {
		return errors.New("more members in archives than are listed")
	}
	k.list = append(k.list, m)
	return nil
}

// nameIn is what a member is called in the artifact's list.
func (k *work) nameIn(name string) string {
	if k.prefix == "" {
		return name
	}
	return k.prefix + strings.TrimPrefix(name, "./")
}
