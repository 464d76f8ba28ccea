package token

// Cryptoki is the interface to the module, for tests that put faults in it.
type Cryptoki = cryptoki

// WrapModule makes every module that is opened from now on pass through wrap,
// until the returned function is called.
func WrapModule(wrap func(Cryptoki) Cryptoki) (restore func()) {
	old := testOnlyWrap
	testOnlyWrap = wrap
	return func() { testOnlyWrap = old }
}

// Internals with vectors of their own.
var (
	ECKey  = ecKey
	RSAKey = rsaKey
)
