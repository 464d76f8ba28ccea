package tokenproc

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
)

// maxStderr is how much of a child's standard error is kept: the beginning,
// where a dying program says why.
const maxStderr = 2 << 10

// stderr keeps the beginning of what a child says to people.
type stderr struct {
	file *os.File

	mu   sync.Mutex
	head []byte
}

// read reads on after the head is full, so that the child never waits for us.
func (s *stderr) read() {
	_, _ = io.Copy(s, s.file) // it ends with the child, however that ends
}

func (s *stderr) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = append(s.head, p[:min(len(p), maxStderr-len(s.head))]...)
	return len(p), nil
}

// text is what is kept, without the PIN: modules that are asked to be verbose
// are known to print it. A PIN that cannot be read cannot be removed either, so
// then there is no text.
func (s *stderr) text(pin func() ([]byte, error)) string {
	s.mu.Lock()
	head := bytes.Clone(s.head)
	s.mu.Unlock()
	if len(head) == 0 {
		return ""
	}
	if pin != nil {
		secret, err := pin()
		if err != nil {
			return "(withheld)"
		}
		head = redact(head, secret)
		clear(secret)
	}
	// A Go program that dies in a module says why, and then where, at length.
	head, _, _ = bytes.Cut(head, []byte("\n\ngoroutine "))
	return clip(strings.TrimSpace(string(head)), maxStderr)
}

const redacted = "[pin]"

// redact also removes the beginning of a PIN that the end of the text cuts off.
func redact(text, secret []byte) []byte {
	if len(secret) == 0 {
		return text
	}
	text = bytes.ReplaceAll(text, secret, []byte(redacted))
	if len(text) < maxStderr-len(secret) {
		return text
	}
	for n := len(secret) - 1; n > 0; n-- {
		if bytes.HasSuffix(text, secret[:n]) {
			return append(text[:len(text)-n], redacted...)
		}
	}
	return text
}
