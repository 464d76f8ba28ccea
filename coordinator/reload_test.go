package coordinator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/coordinator"
	"quorate/internal/pgpsig"
	"quorate/quorum"
)

func (w *world) putCertificate(data []byte) {
	w.t.Helper()
	check(w.t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), data, 0o600))
}

// A coordinator that had an old copy of the certificate accepts what it refused once
// it has read the new one, without being started again; a bad file changes nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	w := newWorld(t)
	ended := must(pgpsig.Extend(w.cert, time.Now().Add(-time.Hour), time.Now().Add(-2*time.Hour), softToken(w.sign)))(t)
	w.putCertificate(ended.Bytes())
	s, r := w.ready()
	c := w.c
	s.answer(r, nil)
	w.sync()
	w.newest(coordinator.CodeSignatureInvalid)
	w.wantState(quorum.Agreed)

	w.putCertificate(w.cert.Bytes()[:100])
	if err := c.ReloadKeys(limit(t)); err == nil || !strings.Contains(err.Error(), "core-key.asc") {
		t.Errorf("half a certificate: %v", err)
	}
	w.wantState(quorum.Agreed)
	w.putCertificate(w.cert.Bytes())
	check(t, c.ReloadKeys(limit(t)))
	w.sync()
	w.wantState(quorum.Signed)
	if list := get[rejectedList](w, "/v1/rejected"); len(list.Rejected) != 0 {
		t.Errorf("still rejected: %+v", list.Rejected)
	}

	// The next start finds what it left.
	check(t, c.ReloadKeys(limit(t)))
	w.stop()
	w.start()
	w.sync()
	w.wantState(quorum.Signed)
}
