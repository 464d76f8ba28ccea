// Package token signs with keys that live in a PKCS#11 token. It is the only
// package that uses cgo, and everything PKCS#11 is behind its small API.
//
// A caller that signs needs six methods of [Token]; whoever puts the module
// into a child process, to be able to kill a call that hangs, implements these:
//
//	Key(label string) (Key, error)
//	Keys() []Key
//	Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
//	SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error)
//	Stats() Stats
//	Close() error
//
// What the package guarantees:
//
//   - A session is used by one goroutine at a time. A fixed number of workers
//     own one session each; one more session is only there to keep the login
//     alive, because closing the last session logs out (PKCS#11 v3.1 section
//     5.6.7).
//   - Every signature of Sign was verified with the public key that was read when
//     the key was first seen. A token that exchanges keys gets ErrBadSignature.
//   - Sessions that saw any error are thrown away. Lost sessions, a token that
//     went away and came back, and a module that must be initialised again are
//     healed inside Sign, within a bounded number of attempts.
//   - A PIN that the token refused is not tried again by the same Token, and no
//     PIN is tried when the token says that it is the last try.
//   - The token is chosen by label or serial number. Slot numbers change and
//     are never part of the configuration.
//   - PINs occur in no error and no log line.
//
// What it does not:
//
//   - A call inside the module cannot be cancelled. Sign returns when its
//     context ends, but the worker stays busy until the module answers; a
//     module that never answers has to be killed together with its process.
//     For the same reason Close waits for the calls under way.
//   - PINs are not wiped from memory: the binding needs them as Go strings and
//     copies them to C.
//   - It does not say what is signed. Policy, evidence and formats are the
//     caller's; whoever can call Sign has the key.
//
// Login and initialisation belong to the process (PKCS#11 v3.1 sections 5.4
// and 5.6), so one process can have one open Token per module; a second Open
// gets ErrModuleInUse.
package token
