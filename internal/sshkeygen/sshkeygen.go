// Package sshkeygen has a person's SSH key sign, by calling ssh-keygen: so keys in
// an agent, behind a passphrase and in a security token work, and no private key is
// ever read here.
package sshkeygen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"quorate/quorum/sshsig"
)

// ErrMissing says that there is no ssh-keygen.
var ErrMissing = errors.New("ssh-keygen is not installed (hint: it comes with OpenSSH, 8.2 or newer)")

// Sign returns an armoured signature by the key in the file over the message, in
// that namespace. The file has a private key, or a public one whose private key is
// in an SSH agent. What ssh-keygen says, such as that a token must be touched, goes
// to prompt.
func Sign(ctx context.Context, key, namespace string, message []byte, prompt io.Writer) ([]byte, error) {
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return nil, ErrMissing
	}
	if _, err := os.Stat(key); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if strings.HasPrefix(key, "-") {
		key = "./" + key
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-Y", "sign", "-n", namespace, "-f", key)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(message), &out, io.MultiWriter(&limited{&said, 4 << 10}, &prompts{prompt})
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("sign with %s: %w", key, reason(err, said.String()))
	}
	return check(out.Bytes(), namespace, message)
}

// progress is what ssh-keygen says of each message, which is news to nobody. Its -q is not
// used for that: it may also keep back that a token must be touched.
const progress = "Signing data on standard input\n"

// prompts passes on what ssh-keygen says, but for its progress.
type prompts struct{ w io.Writer }

func (p *prompts) Write(b []byte) (int, error) {
	if string(b) == progress {
		return len(b), nil
	}
	return p.w.Write(b)
}

// reason prefers what ssh-keygen said to its exit code.
func reason(err error, said string) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return fmt.Errorf("ssh-keygen: %s", last)
	}
	return fmt.Errorf("ssh-keygen: %w", err)
}

// check reads the signature as others will.
func check(armored []byte, namespace string, message []byte) ([]byte, error) {
	s, err := sshsig.Parse(armored)
	if err == nil {
		err = s.Verify(namespace, message)
	}
	if err != nil {
		return nil, fmt.Errorf("what ssh-keygen made: %w", err)
	}
	return armored, nil
}

// limited keeps the first bytes and drops the rest.
type limited struct {
	b    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.b.Write(p[:n])
	l.left -= n
	return len(p), nil
}
