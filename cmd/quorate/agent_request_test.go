package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quorate/internal/api"
)

// What the coordinator would reject is not built at all.
func TestRequestAsksForWhatTheChannelIsFor(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/channels" {
			http.NotFound(rw, r)
			return
		}
		answer(rw, 200, api.Channels{Channels: []api.Channel{{Name: "core", Targets: []string{"pkg:alpm/arch/*", "pkg:generic/*"}}}})
	}))
	defer srv.Close()
	for _, c := range []struct{ channel, target, message, hint string }{
		{"core", "pkg:generic/hello@1.0", "", ""},
		{"core", "pkg:deb/hello@1.0", `"pkg:deb/hello@1.0" matches no target of channel "core"`, "the channel is for pkg:alpm/arch/*, pkg:generic/*"},
		{"extra", "pkg:generic/hello@1.0", `has no channel "extra"`, "the channels are core"},
	} {
		cmd := &requestCmd{serverFlags: serverFlags{Server: srv.URL}, Channel: c.channel, Target: c.target}
		err := cmd.checkChannel()
		var exit *exitError
		switch {
		case c.message == "" && err != nil:
			t.Errorf("%s in %s: %v", c.target, c.channel, err)
		case c.message != "" && (!errors.As(err, &exit) || exit.code != exitUsage || !strings.Contains(err.Error(), c.message) || exit.hint != c.hint):
			t.Errorf("%s in %s: %+v", c.target, c.channel, err)
		}
	}
}
