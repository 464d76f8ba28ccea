package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	hints "quorate/internal/hint"
	"quorate/internal/pgpsig"
	"quorate/internal/sqlite"
)

// Exit codes, as every command of Quorate has them.
const (
	exitOK      = 0
	exitFailure = 1 // ours, the network's, or a token that is away
	exitUsage   = 2 // usage or configuration: a person must change something
	exitVerify  = 6 // something does not verify
)

// usageError is a mistake in how the command was called.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// report shows an error to a person and returns the exit code for programs.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	text, hint := hints.Split(err.Error())
	if more := advice(err); hint == "" {
		hint = more
	}
	fmt.Fprintln(w, "quorate-signer:", text)
	if hint != "" {
		fmt.Fprintln(w, "hint:", hint)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var u usageError
	var t *token.Error
	switch {
	case hsmsigner.IsOtherKey(err), errors.Is(err, pgpsig.ErrSignatureCheck), errors.Is(err, token.ErrBadSignature):
		return exitVerify
	case errors.As(err, &u), errors.Is(err, hsmsigner.ErrConfig), errors.Is(err, ledger.ErrMissing):
		return exitUsage
	case errors.Is(err, sqlite.ErrWrongDatabase), errors.Is(err, sqlite.ErrNewerDatabase), errors.Is(err, sqlite.ErrMigrationChanged):
		return exitUsage
	case errors.As(err, &t) && !token.IsUnavailable(err):
		return exitUsage
	}
	return exitFailure
}

// advice says what to do about errors that come without a hint.
func advice(err error) string {
	if errors.Is(err, token.ErrTokenMade) { // whatever else it is
		return "keep both PINs, they are this token's; set the user PIN with the module's own tool, or remove the token with it and begin again"
	}
	if sqlite.IsFull(err) || errors.Is(err, syscall.ENOSPC) {
		return "the disk is full: make room; nothing that was signed is lost"
	}
	for sentinel, hint := range map[error]string{
		token.ErrPINIncorrect:   "the PIN was tried once; correct the pin file before the next try, tokens lock after a few",
		token.ErrPINLocked:      "the security officer can set a new user PIN",
		token.ErrPINFinalTry:    "enter the right PIN once by hand, with the token's own tool",
		token.ErrTokenNotFound:  "check module, label and serial; for SoftHSM also SOFTHSM2_CONF",
		token.ErrTokenAmbiguous: "give the serial number as well",
		token.ErrKeyNotFound:    "quorate-signer key list shows what is in the token",
		token.ErrKeyAmbiguous:   "rename or remove one of them with the module's own tool",
		token.ErrTokenExists:    "choose another label, or remove the token with the module's own tool",
		token.ErrNoFreeSlot:     "the module has no uninitialised token left",
		token.ErrModule:         "check the path of the PKCS#11 library",
	} {
		if errors.Is(err, sentinel) {
			return hint
		}
	}
	return ""
}
