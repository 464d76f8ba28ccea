package bus

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ErrAddress says that something cannot be the address of a bus.
var ErrAddress = errors.New("not the address of a bus: want nats://HOST:PORT or tls://HOST:PORT")

// schemes are those that the client knows. With another one it would look for a
// bus there all the same, for ever.
var schemes = []string{"nats", "tls", "ws", "wss"}

// CheckAddress reports with [ErrAddress] what cannot be the address of a bus, or
// several with commas between them. One without a scheme is of NATS.
func CheckAddress(servers string) error {
	for server := range strings.SplitSeq(servers, ",") {
		u, err := parseServer(server)
		if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
			return fmt.Errorf("%q is %w", redacted(server), ErrAddress)
		}
	}
	return nil
}

// parseServer reads an address as the client does.
func parseServer(server string) (*url.URL, error) {
	server = strings.TrimSpace(server)
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	return url.Parse(server)
}

// redacted is the addresses as logs and errors may show them: a URL can have a
// password in it.
func redacted(servers string) string {
	shown := strings.Split(servers, ",")
	for i, server := range shown {
		if !strings.Contains(server, "@") {
			continue
		}
		u, err := parseServer(server)
		if err != nil {
			shown[i] = "(not a URL)"
			continue
		}
		shown[i] = u.Redacted()
	}
	return strings.Join(shown, ",")
}
