package coordinator

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"quorate/internal/bus"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// maxWebhooks bounds the webhooks: each reads every event.
const maxWebhooks = 16

// WebhookConfig is somebody who is told by HTTP. Deliveries follow the Standard
// Webhooks specification (standardwebhooks.com).
type WebhookConfig struct {
	Name string `toml:"name"` // in logs and metrics, and of its place in the events

	// URL gets a POST for each event: https, or http on loopback.
	URL string `toml:"url"`

	// Channels whose events are sent; empty: all.
	Channels []string `toml:"channels"`

	// Events are verdicts that something changes to (conflicting, unreachable,
	// disputed, signed, ...), "dissent" (held because an operator differs), "alarm"
	// and "act". Empty: conflicting, unreachable, dissent, disputed, signed, alarm
	// and act.
	Events []string `toml:"events"`

	// SecretFile holds whsec_ and 24 to 64 bytes in base64, mode 0600.
	SecretFile string `toml:"secret_file"`

	// PlainHTTP allows http to another machine: whoever is on the way can read
	// what is sent, and cannot forge it.
	PlainHTTP bool `toml:"plain_http"`
}

// What is sent when nothing is said.
var defaultEvents = []string{string(quorum.Conflicting), string(quorum.Unreachable), eventDissent, string(quorum.Disputed), string(quorum.Signed), eventAlarm, eventAct}

const (
	eventAlarm   = "alarm"
	eventAct     = "act"
	eventDissent = "dissent"
)

const secretPrefix = "whsec_"

// hook is a webhook that is ready to be used.
type hook struct {
	WebhookConfig
	secret []byte
}

// loadHooks reads the webhooks and their secrets.
func (s *setup) loadHooks() error {
	if n := len(s.config.Webhooks); n > maxWebhooks {
		return configError("", "%d webhooks, at most %d", n, maxWebhooks)
	}
	for i, c := range s.config.Webhooks {
		at := fmt.Sprintf("webhook[%d] %q", i, c.Name)
		if slices.ContainsFunc(s.hooks, func(h *hook) bool { return h.Name == c.Name }) {
			return configError("", "%s: the name stands twice", at)
		}
		if err := c.check(s); err != nil {
			return configError("compare with \"Webhooks\" in docs/operating.md", "%s: %w", at, err)
		}
		secret, err := readSecret(s.path(c.SecretFile))
		if err != nil {
			return configError("printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\" > FILE; chmod 600 FILE", "%s: secret_file: %w", at, err)
		}
		if len(c.Events) == 0 {
			c.Events = defaultEvents
		}
		s.hooks = append(s.hooks, &hook{c, secret})
	}
	return nil
}

func (c *WebhookConfig) check(s *setup) error {
	if !statement.ValidName(c.Name) {
		return fmt.Errorf("name: a name is 1 to 64 of A-Z a-z 0-9 _ - and begins with a letter or digit")
	}
	if c.SecretFile == "" {
		return fmt.Errorf("secret_file: missing")
	}
	for _, name := range c.Channels {
		if s.policy.Channel(name) == nil {
			return fmt.Errorf("channels: the policy has no channel %q", name)
		}
	}
	for _, e := range c.Events {
		if !slices.Contains([]string{eventAlarm, eventAct, eventDissent}, e) && !slices.Contains(quorum.States, quorum.State(e)) {
			return fmt.Errorf("events: %q is no verdict, and none of \"dissent\", \"alarm\" and \"act\"", e)
		}
	}
	return checkHookURL(c.URL, c.PlainHTTP)
}

// checkHookURL never quotes the URL: many have a token in them.
func checkHookURL(text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("url: want https://HOST/PATH")
	case u.User != nil:
		return fmt.Errorf("url: takes no user and password; the signature proves who sends")
	case u.Scheme == "http" && !plain && !isLoopback(u.Hostname()):
		return fmt.Errorf("url: http to another machine; use https, or write plain_http = true")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readSecret never puts any of the file's content in an error.
func readSecret(path string) ([]byte, error) {
	data, err := bus.ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	text, ok := strings.CutPrefix(strings.TrimSpace(string(data)), secretPrefix)
	secret, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(secret) < 24 || len(secret) > 64 {
		return nil, fmt.Errorf("%s: want whsec_ and 24 to 64 bytes in base64", path)
	}
	return secret, nil
}
