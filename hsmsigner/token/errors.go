package token

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// Class tells a caller what to do about an error.
type Class int

const (
	// Permanent errors come back when the same call is repeated.
	Permanent Class = iota
	// Unavailable errors may go away by themselves: try again later.
	Unavailable
)

func (c Class) String() string {
	if c == Unavailable {
		return "token unavailable"
	}
	return "permanent"
}

// Error is what everything in this package returns that talks to a module.
type Error struct {
	Op    string // what was tried
	Class Class
	Err   error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// IsUnavailable reports whether err is worth another try later.
func IsUnavailable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Class == Unavailable
}

// Errors that callers tell apart with errors.Is.
var (
	ErrModule         = errors.New("pkcs#11 module cannot be used")
	ErrModuleInUse    = errors.New("pkcs#11 module is already in use by this process")
	ErrTokenNotFound  = errors.New("token not found")
	ErrTokenAmbiguous = errors.New("more than one token matches")
	ErrTokenExists    = errors.New("a token with this label exists")
	ErrTokenMade      = errors.New("the token is initialised, and then something failed")
	ErrNoFreeSlot     = errors.New("no slot with an uninitialised token")
	ErrKeyNotFound    = errors.New("no private key with this label")
	ErrKeyAmbiguous   = errors.New("more than one private key with this label")
	ErrKeyUnsupported = errors.New("key type not supported")
	ErrKeyExists      = errors.New("a key with this label exists")
	ErrMechanism      = errors.New("mechanism not offered by the token")
	ErrDigest         = errors.New("digest does not fit the hash")
	ErrBadSignature   = errors.New("token returned a signature that does not verify")
	ErrPINIncorrect   = errors.New("pin is incorrect")
	ErrPINLocked      = errors.New("pin is locked")
	ErrPINFinalTry    = errors.New("pin has one try left, which is not used automatically")
	ErrPINExpired     = errors.New("pin has expired")
	ErrClosed         = errors.New("token is closed")
)

// Found by us, not by the module.
var (
	errAway       = errors.New("token is away")
	errObjectGone = fmt.Errorf("%w any more", ErrKeyNotFound)
	errStillGone  = fmt.Errorf("%w, nor after opening the token again", errObjectGone)
)

// remedy is what Sign does about an error of the module.
type remedy int

const (
	giveUp     remedy = iota // never retry
	newSession               // try again in a fresh session
	reopen                   // log in and find the keys again, then try again
	backOff                  // report as unavailable; trying now would make it worse
)

// remedies sorts return values (PKCS#11 v3.1 section 5.1). What is not listed
// is worth one reopen: vendors return their own codes for a lost connection.
var remedies = map[pkcs11.Error]remedy{
	pkcs11.CKR_SESSION_HANDLE_INVALID:    newSession,
	pkcs11.CKR_SESSION_CLOSED:            newSession,
	pkcs11.CKR_OPERATION_ACTIVE:          newSession,
	pkcs11.CKR_OPERATION_NOT_INITIALIZED: newSession,
	pkcs11.CKR_OBJECT_HANDLE_INVALID:     newSession,
	pkcs11.CKR_KEY_HANDLE_INVALID:        newSession,
	pkcs11.CKR_FUNCTION_CANCELED:         newSession,

	pkcs11.CKR_DEVICE_REMOVED:           reopen,
	pkcs11.CKR_DEVICE_ERROR:             reopen,
	pkcs11.CKR_TOKEN_NOT_PRESENT:        reopen,
	pkcs11.CKR_TOKEN_NOT_RECOGNIZED:     reopen,
	pkcs11.CKR_SLOT_ID_INVALID:          reopen,
	pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED: reopen,
	pkcs11.CKR_USER_NOT_LOGGED_IN:       reopen,
	pkcs11.CKR_USER_TYPE_INVALID:        reopen, // NetHSM's answer to a network fault during login
	pkcs11.CKR_GENERAL_ERROR:            reopen,
	pkcs11.CKR_FUNCTION_FAILED:          reopen,

	pkcs11.CKR_SESSION_COUNT: backOff,
	pkcs11.CKR_HOST_MEMORY:   backOff,
	pkcs11.CKR_DEVICE_MEMORY: backOff,

	pkcs11.CKR_PIN_INCORRECT:              giveUp,
	pkcs11.CKR_PIN_LOCKED:                 giveUp,
	pkcs11.CKR_PIN_EXPIRED:                giveUp,
	pkcs11.CKR_PIN_INVALID:                giveUp,
	pkcs11.CKR_PIN_LEN_RANGE:              giveUp,
	pkcs11.CKR_USER_PIN_NOT_INITIALIZED:   giveUp,
	pkcs11.CKR_KEY_TYPE_INCONSISTENT:      giveUp,
	pkcs11.CKR_KEY_SIZE_RANGE:             giveUp,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED: giveUp,
	pkcs11.CKR_MECHANISM_INVALID:          giveUp,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:    giveUp,
	pkcs11.CKR_DATA_INVALID:               giveUp,
	pkcs11.CKR_DATA_LEN_RANGE:             giveUp,
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:     giveUp,
	pkcs11.CKR_TOKEN_WRITE_PROTECTED:      giveUp,
}

func remedyFor(err error) remedy {
	var code pkcs11.Error
	switch {
	case errors.Is(err, errStillGone):
		return backOff
	case errors.Is(err, errAway), errors.Is(err, errObjectGone):
		return reopen
	case errors.Is(err, ErrBadSignature):
		return newSession // one confused session must not stop the key
	case errors.As(err, &code):
		if r, ok := remedies[code]; ok {
			return r
		}
		return reopen
	}
	return giveUp
}

// lostSession reports whether err is about the session rather than about the
// object that was asked for.
func lostSession(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	r, known := remedies[code]
	return known && r != giveUp
}

// isCode reports whether err is the given return value of the module.
func isCode(err error, code pkcs11.Error) bool {
	var c pkcs11.Error
	return errors.As(err, &c) && c == code
}

// wrap makes an Error, once: an inner one keeps its class.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Class: classOf(err), Err: err}
}

func classOf(err error) Class {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Class
	case errors.Is(err, ErrBadSignature):
		return Permanent
	case errors.Is(err, ErrTokenNotFound): // it may be plugged in
		return Unavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	case remedyFor(err) == giveUp:
		return Permanent
	}
	return Unavailable
}

// pinError names what the module said about a PIN.
func pinError(err error) error {
	for code, sentinel := range map[pkcs11.Error]error{
		pkcs11.CKR_PIN_INCORRECT: ErrPINIncorrect,
		pkcs11.CKR_PIN_INVALID:   ErrPINIncorrect,
		pkcs11.CKR_PIN_LEN_RANGE: ErrPINIncorrect,
		pkcs11.CKR_PIN_LOCKED:    ErrPINLocked,
		pkcs11.CKR_PIN_EXPIRED:   ErrPINExpired,
	} {
		if isCode(err, code) {
			return fmt.Errorf("%w: %w", sentinel, err)
		}
	}
	return err
}
