package coordinator_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quorate/internal/bus"
	"quorate/internal/pgpsig"
)

// What ends is told weeks before, in the log and as a metric, and what does not end
// or ended on purpose is not spoken of.
func TestEndsAreToldAhead(t *testing.T) {
	day := 24 * time.Hour
	start := time.Now().Truncate(time.Second)
	policyEnd, builderEnd, keyEnd := start.Add(10*day), start.Add(20*day), start.Add(29*day)
	text := policyText(t, 1, 3, "", nil)
	text = strings.Replace(text, "2100-01-01T00:00:00Z", policyEnd.UTC().Format(time.RFC3339), 1)
	limit := func(name string, at time.Time) {
		line := fmt.Sprintf("key = %q\n", keyText(t, name))
		text = strings.Replace(text, line, line+"not_after = "+at.UTC().Format(time.RFC3339)+"\n", 1)
	}
	limit("alice", builderEnd)
	limit("bob", start.Add(-day)) // long gone
	w, log := newWorldWith(t, text), new(logBuffer)
	w.log = slog.New(slog.NewTextHandler(log, nil))
	data := must(pgpsig.MakeCertificate(w.sign.Public(), start.Add(-day), "test <test@example.org>", softToken(w.sign), pgpsig.ExpiresAfter(keyEnd.Sub(start)+day)))(t)
	check(t, os.WriteFile(filepath.Join(w.state(), "core-key.asc"), data, 0o600))
	w.start()
	_, body := w.fetch("/metrics")
	w.stop()

	for _, e := range []struct {
		what, name string
		at         time.Time
	}{{"policy", "", policyEnd}, {"builder", "alice", builderEnd}, {"key", "core-key", keyEnd}} {
		if got := log.lines(`level=WARN msg="ends soon" what=`+e.what, "end="+e.at.UTC().Format(time.RFC3339), e.name); len(got) != 1 {
			t.Errorf("%d lines of %s %s", len(got), e.what, e.name)
		}
		line := fmt.Sprintf("quorate_expires_timestamp_seconds{name=%q,what=%q} %s\n", e.name, e.what, fmt.Sprint(float64(e.at.Unix())))
		if !strings.Contains(string(body), line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if got := log.lines("what="); len(got) != 3 {
		t.Errorf("%d lines of ends: %s", len(got), got)
	}
	if !strings.Contains(string(body), "quorate_policy_version 1\n") {
		t.Error("metrics lack quorate_policy_version")
	}
	if strings.Contains(string(body), `name="bob"`) {
		t.Error("a key that has ended is shown as one that will")
	}
}

// A certificate that is renewed in place is served without a restart, and one that
// cannot be used leaves the old one.
func TestBusCertificateIsRenewed(t *testing.T) {
	w, log := newWorld(t), new(logBuffer)
	w.log = slog.New(slog.NewTextHandler(log, nil))
	certPath, keyPath := filepath.Join(w.state(), "bus.pem"), filepath.Join(w.state(), "bus.key")
	writeTLS(t, certPath, keyPath)
	w.serveTLS("bus.pem", "bus.key")
	w.start()
	first := w.servedCertificate()
	log.await(t, "ends soon", "what=bus-certificate")

	check(t, os.WriteFile(certPath, []byte("half a certificate"), 0o600))
	if err := w.c.ReloadUsers(limit(t)); err != nil && !strings.Contains(err.Error(), "reload bus") {
		t.Errorf("got %v", err)
	}
	if !w.servedCertificate().Equal(first) {
		t.Error("half a certificate is served")
	}
	writeTLS(t, certPath, keyPath)
	check(t, w.c.ReloadUsers(limit(t)))
	// The coordinator looks by itself, too, and may be at it.
	for ctx := limit(t); w.servedCertificate().Equal(first); {
		if ctx.Err() != nil {
			t.Fatal("the old certificate is served still")
		}
	}
	o := bus.Options{URL: w.busTLS(), Name: "alice", SeedFile: w.path("alice.nk"), CAFile: certPath, Logger: quiet()}
	must(bus.Connect(o))(t).Close()
}
