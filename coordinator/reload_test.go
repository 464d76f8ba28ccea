package coordinator_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sourcegraph/conc"

	"quorate/coordinator"
	"quorate/internal/pgpsig"
	"quorate/quorum"
)

func (w *world) putCertificate(data []byte) {
	w.t.Helper()
	check(w.t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), data, 0o600))
}

// scraped reads the metrics, which tell of the keys in force, again and again until
// stop.
func (w *world) scraped() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var g conc.WaitGroup
	g.Go(func() {
		for ctx.Err() == nil {
			r, err := http.Get(w.c.URL() + "/metrics")
			if err != nil {
				w.t.Errorf("metrics: %v", err)
				return
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	})
	return func() {
		cancel()
		g.Wait()
	}
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
	stop := w.scraped()
	check(t, c.ReloadKeys(limit(t)))
	stop()
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
