package hsmsigner_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
)

// extended is the certificate of the key with another end.
func extended(t *testing.T, label string, end time.Time) []byte {
	t.Helper()
	key := hsmsigner.Key{Label: label, Certificate: certificate(t, label)}
	return must(key.Extend(t.Context(), soft.token, end, time.Now()))(t).Bytes()
}

// The end of a key is told weeks before, when a signer starts and when it reads a
// certificate; and is a metric.
func TestEndsAreToldAhead(t *testing.T) {
	ownToken(t)
	end := time.Now().Add(20 * 24 * time.Hour).Truncate(time.Second)
	s := &healthy{site: newSite(t), log: newJournal(t)}
	for i, k := range s.config.Keys {
		if k.Label == "p256" {
			s.config.Keys[i].Certificate = writeFile(t, t.TempDir()+"/p256.pgp", extended(t, "p256", end), 0o600)
		}
	}
	s.config.Health = hsmsigner.HealthConfig{Listen: "127.0.0.1:0"}
	s.service = must(hsmsigner.Open(t.Context(), s.config, nil, slog.New(slog.NewTextHandler(s.log, nil))))(t)
	t.Cleanup(func() { check(t, s.service.Close()) })
	s.reach(hsmsigner.HealthAddress(s.service))
	s.run()
	line := `level=WARN msg="ends soon" what=key name=p256 end=` + end.UTC().Format(time.RFC3339)
	s.log.await(t, line)
	if got := s.metric(`key_expires_timestamp_seconds{key="p256"}`); got != float64(end.Unix()) {
		t.Errorf("the metric is %v, want %d", got, end.Unix())
	}
	if _, body := s.get("/metrics"); strings.Count(body, "\nquorate_signer_key_expires_timestamp_seconds{") != 1 {
		t.Error("a key without an end has one in the metrics")
	}
	check(t, s.service.Reload())
	if got := strings.Count(s.log.String(), line); got != 2 {
		t.Errorf("warned %d times after a reload, want 2", got)
	}
	if got := strings.Count(s.log.String(), "ends soon"); got != 2 {
		t.Errorf("%d warnings, of which 2 are of the key", got)
	}
}
