package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	builderagent "quorate/builder-agent"
	"quorate/internal/render"
	"quorate/quorum/statement"
)

// maxSums bounds a file of digests, in bytes: with long names it has some 10,000
// lines of 4 KiB, and as many again for files of one content.
const maxSums = 80 << 20

// checkInner looks at the flags before anything is hashed.
func (c *attestCmd) checkInner() error {
	if err := c.checkPatterns("--inner", c.Inner); err != nil {
		return err
	}
	switch {
	case c.InnerDigests == "":
		return nil
	case len(c.Inner) > 0:
		return usageError("", "--inner reads the digests from the files, --inner-digests says them: give one of them")
	case len(c.Files) != 1:
		return usageError("attest each of them in a call of its own", "--inner-digests is about one file, and there are %d", len(c.Files))
	}
	return nil
}

// readInner reads the digests of --inner-digests; none without the flag.
func (c *attestCmd) readInner() ([]statement.SHA256, error) {
	if c.InnerDigests == "" {
		return nil, nil
	}
	name, data, err := "standard input", []byte(nil), error(nil)
	if c.InnerDigests == "-" {
		data, err = io.ReadAll(io.LimitReader(os.Stdin, maxSums+1))
	} else {
		name = render.Text(c.InnerDigests)
		data, err = readInput(c.InnerDigests, maxSums)
	}
	if err != nil {
		return nil, err
	}
	if len(data) > maxSums {
		return nil, usageError("", "--inner-digests: %s has more than %d bytes", name, maxSums)
	}
	list, err := parseSums(data)
	if err != nil {
		return nil, usageError("as sha256sum writes it: 64 hex digits, two spaces or a space and *, the name", "--inner-digests: %s: %w", name, err)
	}
	return list, nil
}

// addInner puts the digests that were given into the vote.
func (c *attestCmd) addInner(artifacts []statement.Artifact, given []statement.SHA256) error {
	if c.InnerDigests == "" || len(artifacts) != 1 {
		return nil
	}
	if err := builderagent.AddInner(&artifacts[0], given); err != nil {
		return usageError("one request signs 1 to 10,000 files; without --inner-digests the file can be signed in every format but ima and sshsig-files", "--inner-digests: %w", err)
	}
	return nil
}

var errSum = errors.New("is not a digest and a name")

// parseSums reads the output of sha256sum(1). Of a name there must be something; what it
// is plays no part.
func parseSums(data []byte) (list []statement.SHA256, err error) {
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		// A backslash before the digest says that there are escapes in the name.
		line = bytes.TrimPrefix(line, []byte(`\`))
		const hexDigits = 2 * len(statement.SHA256{})
		if len(line) < hexDigits+3 || line[hexDigits] != ' ' || line[hexDigits+1] != ' ' && line[hexDigits+1] != '*' {
			return nil, fmt.Errorf("line %d %w", n, errSum)
		}
		digest, err := statement.ParseSHA256(string(line[:hexDigits]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, digest)
	}
	return list, nil
}
