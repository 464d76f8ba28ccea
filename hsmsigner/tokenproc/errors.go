package tokenproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/token"
)

type sentinel struct {
	name string
	err  error
}

// sentinels are the errors that callers tell apart. Their names are the
// protocol; an error goes through the pipe as its text and the names of those
// it is.
var sentinels = []sentinel{
	{"module", token.ErrModule},
	{"module-in-use", token.ErrModuleInUse},
	{"token-not-found", token.ErrTokenNotFound},
	{"token-ambiguous", token.ErrTokenAmbiguous},
	{"token-exists", token.ErrTokenExists},
	{"no-free-slot", token.ErrNoFreeSlot},
	{"key-not-found", token.ErrKeyNotFound},
	{"key-ambiguous", token.ErrKeyAmbiguous},
	{"key-unsupported", token.ErrKeyUnsupported},
	{"key-exists", token.ErrKeyExists},
	{"mechanism", token.ErrMechanism},
	{"digest", token.ErrDigest},
	{"bad-signature", token.ErrBadSignature},
	{"pin-incorrect", token.ErrPINIncorrect},
	{"pin-locked", token.ErrPINLocked},
	{"pin-final-try", token.ErrPINFinalTry},
	{"pin-expired", token.ErrPINExpired},
	{"closed", token.ErrClosed},
	{"canceled", context.Canceled},
	{"deadline-exceeded", context.DeadlineExceeded},
	{"pin-source", errPINSource},
}

// errPINSource marks an error of Config.PIN on its way to the child and back;
// the parent has kept the error itself.
var errPINSource = errors.New("pin source failed")

type pinSourceError struct{ error }

func (pinSourceError) Is(target error) bool { return target == errPINSource }

// errorMessage is an error of token, or the reason why there is no PIN.
type errorMessage struct {
	Op    string   `json:"op"`
	Class string   `json:"class"`
	Text  string   `json:"text"`
	Is    []string `json:"is"`
}

// maxText is more than any message worth reading.
const maxText = 4 << 10

func encodeError(err error) errorMessage {
	m := errorMessage{Class: token.Permanent.String(), Text: err.Error()}
	if e, ok := err.(*token.Error); ok {
		m.Op, m.Class, m.Text = e.Op, e.Class.String(), e.Err.Error()
	}
	m.Op, m.Text = clip(m.Op, maxText), clip(m.Text, maxText)
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			m.Is = append(m.Is, s.name)
		}
	}
	return m
}

// clip bounds a text and makes it one that JSON can carry.
func clip(s string, limit int) string {
	return strings.ToValidUTF8(s[:min(len(s), limit)], "\uFFFD")
}

func (m errorMessage) frame(id uint64) frame {
	data, err := json.Marshal(m)
	if err != nil {
		data = []byte("{}") // clip has removed what cannot be written
	}
	return frame{kindError, id, data}
}

func parseError(body []byte) (*token.Error, error) {
	var m errorMessage
	if err := decode("error", body, &m); err != nil {
		return nil, err
	}
	out := &token.Error{Op: m.Op, Class: token.Permanent}
	switch m.Class {
	case token.Permanent.String():
	case token.Unavailable.String():
		out.Class = token.Unavailable
	default:
		return nil, fmt.Errorf("%w: error: class %q", errProtocol, m.Class)
	}
	far := &farError{text: m.Text}
	for _, name := range m.Is {
		i := slices.IndexFunc(sentinels, func(s sentinel) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: error: unknown name %q", errProtocol, name)
		}
		far.is = append(far.is, sentinels[i].err)
	}
	out.Err = far
	return out, nil
}

// farError is an error that happened in the child.
type farError struct {
	text string
	is   []error
}

func (e *farError) Error() string { return e.text }

func (e *farError) Unwrap() []error { return e.is }

// isPIN reports whether a PIN was refused, so that none must be tried again.
func isPIN(err error) bool {
	return errors.Is(err, token.ErrPINIncorrect) || errors.Is(err, token.ErrPINLocked) || errors.Is(err, token.ErrPINExpired)
}

// wrap makes a token.Error of an error of ours. One of the child comes with the
// same Op, and is done.
func wrap(op string, err error) error {
	var e *token.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e):
		class := token.Permanent
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errProtocol) {
			class = token.Unavailable
		}
		return &token.Error{Op: op, Class: class, Err: err}
	case e.Op == op:
		return err
	}
	return &token.Error{Op: op, Class: e.Class, Err: err}
}

// unavailable makes an error that is worth another try later.
func unavailable(op string, err error) error {
	return &token.Error{Op: op, Class: token.Unavailable, Err: err}
}
