package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"quorate/internal/pgpsig"
	"quorate/internal/render"
	"quorate/internal/sigformat/cleartext"
	"quorate/internal/sigformat/text"
	"quorate/quorum/statement"
)

// maxMessage bounds a text that is put into a message, and the message. It is held
// in memory several times; apt's largest are a thousandth of it.
const maxMessage = 64 << 20

const (
	releaseName   = "Release"   // of a Debian archive
	inReleaseName = "InRelease" // how apt calls its clear-signed form
)

// text is the running hash of the file's canonical text. Few files have signatures
// over it, so the file is read once more, and must be the one that was hashed.
func (h *hashedFile) text() (hash.Hash, error) {
	f, err := openRegular(h.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum, hasher := sha256.New(), text.NewHasher()
	if _, err := io.Copy(io.MultiWriter(sum, hasher), f); err != nil {
		return nil, unreadable(h.path, err)
	}
	if statement.SHA256(sum.Sum(nil)) != h.sha256 {
		return nil, h.otherFile()
	}
	st, err := hasher.State()
	if err != nil {
		return nil, err
	}
	return st.Resume()
}

func (h *hashedFile) otherFile() error {
	return fmt.Errorf("%s is not the file any more that was read", render.Text(h.path))
}

// clearSigned is the file's text and a signature of it as one cleartext message, which
// has been verified.
func (h *hashedFile) clearSigned(c *pgpsig.Certificate, sig []byte) ([]byte, error) {
	if h.size > maxMessage {
		return nil, fmt.Errorf("%s has %d bytes, and a clear-signed message at most %d", render.Text(h.path), h.size, maxMessage)
	}
	doc, err := os.ReadFile(h.path)
	if err != nil {
		return nil, err
	}
	if statement.SHA256(sha256.Sum256(doc)) != h.sha256 {
		return nil, h.otherFile()
	}
	return cleartext.Frame(c, doc, sig)
}

// messagePath is where the message goes: apt wants InRelease beside Release.
func messagePath(path, dir string) string {
	if filepath.Base(path) == releaseName {
		return filepath.Join(filepath.Dir(beside(path, dir, "")), inReleaseName)
	}
	return beside(path, dir, ".asc")
}

// isMessage reports whether the bytes are a cleartext message, not a signature.
func isMessage(data []byte) bool {
	return bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----"))
}

// cutMessage takes the signature out of a message whose text is that of the file.
func (h *hashedFile) cutMessage(msg []byte) ([]byte, error) {
	doc, sig, err := cleartext.Split(msg)
	if err != nil {
		return nil, err
	}
	in, err := text.State(bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	running, err := h.text()
	if err != nil {
		return nil, err
	}
	if sum, err := in.Sum(); err != nil || !bytes.Equal(sum, running.Sum(nil)) {
		return nil, errors.New("the text of the message is not that of the file")
	}
	return sig, nil
}
