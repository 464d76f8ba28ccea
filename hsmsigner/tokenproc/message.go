package tokenproc

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/token"
)

// version is in the first frame: a command of one's own may start another
// version of the program.
const version = 2

// openMessage is a token.Config without the PIN.
type openMessage struct {
	Version int    `json:"version"`
	Module  string `json:"module"`
	Label   string `json:"label"`
	Serial  string `json:"serial"`
	Workers int    `json:"workers"`
	PIN     bool   `json:"pin"` // there is one to ask for
	// Grace is how long the child may take to end after its input was closed.
	Grace int64 `json:"grace"` // nanoseconds
}

func (m openMessage) grace() time.Duration { return time.Duration(m.Grace) }

// counts are those of token.Stats that only the child knows.
type counts struct {
	Generation     uint64 `json:"generation"`
	Reopens        uint64 `json:"reopens"`
	ReopenFailures uint64 `json:"reopenFailures"`
	Retries        uint64 `json:"retries"`
}

func countsOf(s token.Stats) counts {
	return counts{s.Generation, s.Reopens, s.ReopenFailures, s.Retries}
}

func (c counts) add(o counts) counts {
	return counts{c.Generation + o.Generation, c.Reopens + o.Reopens, c.ReopenFailures + o.ReopenFailures, c.Retries + o.Retries}
}

// stateMessage is what the child knows of its token.
type stateMessage struct {
	Counts  counts       `json:"counts"`
	Workers int          `json:"workers"`
	Keys    []keyMessage `json:"keys"`
}

// keyMessage is a token.Key. A label is whatever the token says, so it need not
// be text.
type keyMessage struct {
	Label  []byte        `json:"label"`
	ID     []byte        `json:"id"`
	Type   token.KeyType `json:"type"`
	Public []byte        `json:"public"` // PKIX, DER
}

func encodeKey(k token.Key) (keyMessage, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return keyMessage{}, fmt.Errorf("key %q: %w", k.Label, err)
	}
	return keyMessage{[]byte(k.Label), k.ID, k.Type, der}, nil
}

func (m keyMessage) key() (token.Key, error) {
	pub, err := x509.ParsePKIXPublicKey(m.Public)
	if err != nil {
		return token.Key{}, fmt.Errorf("%w: key %q: %w", errProtocol, m.Label, err)
	}
	k := token.Key{Label: string(m.Label), ID: m.ID, Type: m.Type, Public: pub}
	if got, ok := typeOf(pub); !ok || got != m.Type {
		return token.Key{}, fmt.Errorf("%w: key %q: public key of type %q, want %q", errProtocol, m.Label, got, m.Type)
	}
	return k, nil
}

func encodeState(tok *token.Token) ([]byte, error) {
	s := tok.Stats()
	m := stateMessage{Counts: countsOf(s), Workers: s.Workers}
	for _, k := range tok.Keys() {
		key, err := encodeKey(k)
		if err != nil {
			return nil, err
		}
		m.Keys = append(m.Keys, key)
	}
	data, err := json.Marshal(m)
	if err == nil && len(data) > maxFrame-headSize {
		err = fmt.Errorf("the %d keys in the token are more than can be handled", len(m.Keys))
	}
	return data, err
}

// state is a stateMessage that was checked.
type state struct {
	counts  counts
	workers int
	keys    map[string]token.Key
}

// maxWorkers is that of package token.
const maxWorkers = 64

func parseState(body []byte) (*state, error) {
	var m stateMessage
	if err := decode("state", body, &m); err != nil {
		return nil, err
	}
	if m.Workers < 1 || m.Workers > maxWorkers {
		return nil, fmt.Errorf("%w: state: %d workers", errProtocol, m.Workers)
	}
	s := &state{m.Counts, m.Workers, map[string]token.Key{}}
	for _, km := range m.Keys {
		k, err := km.key()
		if err != nil {
			return nil, err
		}
		if _, twice := s.keys[k.Label]; twice {
			return nil, fmt.Errorf("%w: state: key %q twice", errProtocol, k.Label)
		}
		s.keys[k.Label] = k
	}
	return s, nil
}

// decode is strict: both ends are the same program, so whatever is unexpected
// means that one of them is broken.
func decode(what string, body []byte, to any) error {
	if err := json.Unmarshal(body, to, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %s: %w", errProtocol, what, err)
	}
	return nil
}

// logMessage is a log record of the child.
type logMessage struct {
	Level int       `json:"level"`
	Text  string    `json:"text"`
	Attrs []logAttr `json:"attrs"`
}

type logAttr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
