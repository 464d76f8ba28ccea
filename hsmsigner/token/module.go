package token

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"
)

// Constants that miekg/pkcs11 v1.1.2 lacks (PKCS#11 v3.1 appendix B).
const (
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEDDSA               = 0x1057
	ckkECEdwards           = 0x40
)

// cryptoki lists the calls that are used, and no other. *pkcs11.Ctx implements
// it; tests put a faulty one in front of the real one.
type cryptoki interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	InitToken(slot uint, pin, label string) error
	InitPIN(s pkcs11.SessionHandle, pin string) error
	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(s pkcs11.SessionHandle) error
	CloseAllSessions(slot uint) error
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	Logout(s pkcs11.SessionHandle) error
	FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, limit int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	SetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) error
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
	GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error
	Sign(s pkcs11.SessionHandle, message []byte) ([]byte, error)
}

// modules are the loaded libraries of this process, by resolved path. A
// library stays loaded for ever: unloading crashes some of them, and nothing
// is gained by it.
var modules = struct {
	sync.Mutex
	byPath map[string]*module
}{byPath: map[string]*module{}}

// module is one loaded library. Between acquire and release it belongs to one
// Token or one ceremony, which may finalise it.
type module struct {
	path string
	api  cryptoki
	busy bool // guarded by modules
}

// testOnlyWrap lets a test put faults between this package and the library.
var testOnlyWrap = func(c cryptoki) cryptoki { return c }

// acquire loads the library at path, takes it for the caller alone, and
// initialises it.
func acquire(path string) (*module, error) {
	m, err := take(path)
	if err != nil {
		return nil, err
	}
	m.api = testOnlyWrap(m.api)
	if err := m.api.Initialize(); err != nil {
		m.free()
		if isCode(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
			return nil, fmt.Errorf("%w: %s", ErrModuleInUse, path)
		}
		return nil, fmt.Errorf("initialise module %s: %w%s", path, err, softHint(path))
	}
	return m, nil
}

// CheckModule reports whether there is a file where the library should be, before
// anybody is asked for a PIN.
func CheckModule(path string) error {
	if _, err := resolve(path); err != nil {
		return wrap("open token", fmt.Errorf("%w: %q: %w", ErrModule, path, err))
	}
	return nil
}

// softHint is the most frequent reason why SoftHSM finds nothing.
func softHint(path string) string {
	if !strings.Contains(strings.ToLower(filepath.Base(path)), "softhsm") {
		return ""
	}
	conf := os.Getenv("SOFTHSM2_CONF")
	if conf == "" {
		return " (hint: SOFTHSM2_CONF is not set; it names SoftHSM's configuration, which says where the tokens are)"
	}
	return fmt.Sprintf(" (hint: SOFTHSM2_CONF is %q; is that SoftHSM's configuration, and does it name the folder with the tokens?)", conf)
}

// take returns a copy of the registered module, so that a test's wrapper ends
// with its user.
func take(path string) (*module, error) {
	resolved, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrModule, path, err)
	}
	modules.Lock()
	defer modules.Unlock()
	m := modules.byPath[resolved]
	if m == nil {
		ctx := pkcs11.New(resolved)
		if ctx == nil {
			return nil, noLibrary(path)
		}
		m = &module{path: resolved, api: ctx}
		modules.byPath[resolved] = m
	}
	if m.busy {
		return nil, fmt.Errorf("%w: %s", ErrModuleInUse, path)
	}
	m.busy = true
	return &module{path: resolved, api: m.api}, nil
}

// noLibrary says why the dynamic linker gave nothing: it does not tell.
func noLibrary(path string) error {
	if bare(path) {
		return fmt.Errorf("%w: %q is no PKCS#11 library in the system's library folders (hint: a path with a slash names a file anywhere)", ErrModule, path)
	}
	return fmt.Errorf("%w: %s is not a PKCS#11 library for this machine", ErrModule, path)
}

// bare reports whether path is a name that the dynamic linker searches for.
func bare(path string) bool { return !strings.ContainsRune(path, os.PathSeparator) }

// resolve makes two names of one library equal. A bare name is left to the
// dynamic linker's search path.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("no module path is configured")
	}
	if bare(path) {
		return path, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// release finalises the library and lets others have it.
func (m *module) release() error {
	err := m.api.Finalize()
	m.free()
	if err != nil && !isCode(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		return fmt.Errorf("finalise module: %w", err)
	}
	return nil
}

func (m *module) free() {
	modules.Lock()
	defer modules.Unlock()
	modules.byPath[m.path].busy = false
}

// restart finalises and initialises the library: the only cure for a token
// directory or a device that was away. No other goroutine may be inside.
func (m *module) restart() error {
	// An error here says that it was not initialised, which is what we want.
	_ = m.api.Finalize()
	err := m.api.Initialize()
	if err != nil && !isCode(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return fmt.Errorf("initialise module: %w", err)
	}
	return nil
}

// tokens lists the initialised tokens; names describes everything that was
// found, for error messages.
func (m *module) tokens() (found []slotToken, names []string, err error) {
	slots, err := m.api.GetSlotList(true)
	if err != nil {
		return nil, nil, fmt.Errorf("list slots: %w", err)
	}
	for _, slot := range slots {
		info, err := m.api.GetTokenInfo(slot)
		if err != nil {
			names = append(names, fmt.Sprintf("(unreadable: %v)", err))
			continue
		}
		if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		found = append(found, slotToken{slot, info})
		names = append(names, fmt.Sprintf("label %q serial %q", info.Label, info.SerialNumber))
	}
	if names == nil {
		names = []string{"nothing"}
	}
	return found, names, nil
}

type slotToken struct {
	slot uint
	info pkcs11.TokenInfo
}

// find chooses by label and serial; an empty one matches everything.
func (m *module) find(label, serial string) (slotToken, error) {
	found, names, err := m.tokens()
	if err != nil {
		return slotToken{}, err
	}
	var match []slotToken
	for _, t := range found {
		if (label == "" || t.info.Label == label) && (serial == "" || t.info.SerialNumber == serial) {
			match = append(match, t)
		}
	}
	want := fmt.Sprintf("want label %q serial %q, found %s", label, serial, strings.Join(names, ", "))
	switch len(match) {
	case 0:
		if len(found) == 0 {
			want += softHint(m.path)
		}
		return slotToken{}, fmt.Errorf("%w: %s", ErrTokenNotFound, want)
	case 1:
		return match[0], nil
	}
	return slotToken{}, fmt.Errorf("%w: %s", ErrTokenAmbiguous, want)
}
