package coordinator_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"quorate/coordinator"
)

// However many ask for whole targets at a time, a few answers are made: each takes
// many times its length in memory. What is small waits for none of them.
func TestAnswersAboutTargetsAreMadeAFewAtATime(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.publish(build{builder: "alice"})
	w.sync()
	end := coordinator.TakeTurns(w.c)
	heavy := []string{"/v1/targets/" + helloID, "/targets/" + helloID, "/targets/" + helloID + "/grid.svg",
		"/v1/targets/" + helloID + "/artifacts/hello/evidence", "/v1/artifacts/" + digest("hello, world").String(), "/"}
	for _, path := range heavy {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		req := must(http.NewRequestWithContext(ctx, "GET", w.c.URL()+path, nil))(t)
		if r, err := http.DefaultClient.Do(req); err == nil {
			r.Body.Close()
			t.Errorf("%s answers with %d while others have all turns", path, r.StatusCode)
		}
		cancel()
	}
	for _, path := range []string{"/healthz", "/v1/targets", "/metrics"} {
		if status, _ := w.fetch(path); status != 200 {
			t.Errorf("%s: status %d", path, status)
		}
	}
	end()
	for _, path := range heavy {
		if status, _ := w.fetch(path); status != 200 && status != 404 {
			t.Errorf("%s: status %d when there are turns again", path, status)
		}
	}
}
