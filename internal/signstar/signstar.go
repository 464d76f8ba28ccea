// Package signstar reads Signstar's signing requests and writes its responses
// (Signstar, resources/docs/request.md and response.md, version 1), so that a
// client of Signstar can ask Quorate for a signature.
//
// Guarantees: a request is read whole or refused. All of "required" must be
// understood, as its specification demands; "optional" may hold anything that is
// JSON and changes nothing. Not guaranteed: that the state is of any file that
// somebody built. Finalise it and look the digest up.
package signstar

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"quorate/internal/pgpsig"
	"quorate/quorum/hashstate"
	"quorate/quorum/statement"
)

// MaxRequest is the size of the largest request that is read, in bytes. Its state
// takes about one kilobyte.
const MaxRequest = 64 << 10

// Version is that of the responses.
const Version = "1.0.0"

// output is the one kind of signature that a request can ask for here.
const output = "OpenPGPv4"

// Request is what a client wants signed.
type Request struct {
	State  hashstate.State  // of the file, at its end
	SHA512 statement.SHA512 // of the file: the state, finalised
}

// request is the form on the wire. Pointers tell what is missing.
type request struct {
	Version  string         `json:"version"`
	Required *required      `json:"required"`
	Optional jsontext.Value `json:"optional"`
}

type required struct {
	Input *struct {
		Type    string   `json:"type"`
		Content []uint16 `json:"content"` // bytes, as numbers
	} `json:"input"`
	Output *struct {
		Type string `json:"type"`
	} `json:"output"`
}

// A version is that of semver.org 2.0.0, as far as it matters here.
var versionForm = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)([-+][0-9A-Za-z.+-]+)?$`)

// ParseRequest reads a request. The error names the field that is wrong.
func ParseRequest(data []byte) (*Request, error) {
	r, err := parseRequest(data)
	if err != nil {
		return nil, fmt.Errorf("signstar request: %w", err)
	}
	return r, nil
}

func parseRequest(data []byte) (*Request, error) {
	if len(data) > MaxRequest {
		return nil, fmt.Errorf("more than %d bytes", MaxRequest)
	}
	// The version comes first: of another one nothing else is known.
	var v struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	if err := checkVersion(v.Version); err != nil {
		return nil, err
	}
	var r request
	if err := json.Unmarshal(data, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	if r.Optional != nil && r.Optional.Kind() != '{' {
		return nil, errors.New("optional: not an object")
	}
	return r.Required.read()
}

func checkVersion(v string) error {
	m := versionForm.FindStringSubmatch(v)
	switch {
	case v == "":
		return errors.New("version: missing")
	case m == nil:
		return fmt.Errorf("version: %.40q is not one of semver", v)
	case m[1] != "1":
		return fmt.Errorf("version: %.40q is not supported, want 1.x.y", v)
	}
	return nil
}

func (r *required) read() (*Request, error) {
	switch {
	case r == nil:
		return nil, errors.New("required: missing")
	case r.Input == nil:
		return nil, errors.New("required.input: missing")
	case r.Output == nil:
		return nil, errors.New("required.output: missing")
	case r.Input.Type != hashstate.SignstarType:
		return nil, fmt.Errorf("required.input.type: %.80q is not supported, want %q", r.Input.Type, hashstate.SignstarType)
	case r.Output.Type != output:
		return nil, fmt.Errorf("required.output.type: %.80q is not supported, want %q", r.Output.Type, output)
	}
	content := make([]byte, len(r.Input.Content))
	for i, n := range r.Input.Content {
		if n > 255 {
			return nil, fmt.Errorf("required.input.content: number %d is %d, more than a byte", i, n)
		}
		content[i] = byte(n)
	}
	st, err := hashstate.FromSignstar(content)
	if err != nil {
		return nil, fmt.Errorf("required.input.content: %w", err)
	}
	sum, err := st.Sum()
	if err != nil {
		return nil, fmt.Errorf("required.input.content: %w", err)
	}
	return &Request{State: st, SHA512: statement.SHA512(sum)}, nil
}

// Response writes what Signstar answers with: an OpenPGP signature, always
// armoured.
func Response(sig []byte) ([]byte, error) {
	binary, err := pgpsig.Dearmor(sig)
	if err != nil {
		return nil, fmt.Errorf("signstar response: %w", err)
	}
	return json.Marshal(struct {
		Version   string `json:"version"`
		Signature string `json:"signature"`
	}{Version, string(pgpsig.Armor(binary))})
}
