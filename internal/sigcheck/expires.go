package sigcheck

import "time"

// Expires returns when the first of the key's certificates ends; ok is false if
// none ever does.
func (k *Key) Expires() (t time.Time, ok bool) {
	if k.OpenPGP != nil {
		t, ok = k.OpenPGP.Expires()
	}
	if k.X509 != nil && (!ok || k.X509.NotAfter.Before(t)) {
		return k.X509.NotAfter, true
	}
	return t, ok
}
