package hsmsigner_test

import (
	"context"
	"crypto"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"quorate/hsmsigner"
	"quorate/hsmsigner/token"
)

// TestMeasureSpeed: the figures are of the key and format that were asked for, every
// step is among them, and nothing is left behind.
func TestMeasureSpeed(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	o := hsmsigner.SpeedOptions{Raw: soft.token, Token: w.token, Workers: 2, Key: keyConfigs()[1], Policy: w.policy, Dir: dir,
		Rounds: 1, Round: time.Millisecond, Publish: func(context.Context, hsmsigner.Reply) error { return nil }}
	s := must(hsmsigner.MeasureSpeed(t.Context(), o))(t)
	if s.Key != "p256" || s.Type != "p256" || s.Format != "openpgp" || s.Limit <= 0 || s.Rate <= 0 || s.Ratio <= 0 ||
		s.P50 <= 0 || s.P99 < s.P50 || s.AloneP50 <= 0 || s.BesideP99 <= 0 {
		t.Errorf("%+v", s)
	}
	var names []string
	whole := 0.0
	for _, c := range s.Steps {
		names = append(names, c.Name)
		whole += c.Share
	}
	if got := strings.Join(names, " "); got != "parse evidence ledger token check publish" || whole < 0.99 || whole > 1.01 {
		t.Errorf("steps %s, together %f", got, whole)
	}
	if left := must(os.ReadDir(dir))(t); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	o.Key = keyConfigs()[0]
	if rsa := must(hsmsigner.MeasureSpeed(t.Context(), o))(t); rsa.Type != token.RSA3072 {
		t.Errorf("an RSA key of 3072 bits is of type %q", rsa.Type)
	}
	if n := len(w.records()); n > 0 {
		t.Errorf("%d records in the signer's own ledger", n)
	}
}

// TestMeasureSpeedFormat: the format is what the policy wants of the key, as far as it
// can be measured.
func TestMeasureSpeedFormat(t *testing.T) {
	for sign, want := range map[string]string{"sshsig": "sshsig", "openpgp-cleartext": "openpgp"} {
		p := loadPolicy(t, policyText(t, 8, func(text string) string {
			return strings.ReplaceAll(text, `format = "openpgp", key = "p256"`, `format = "`+sign+`", key = "p256"`)
		}))
		s := must(hsmsigner.MeasureSpeed(t.Context(), hsmsigner.SpeedOptions{Raw: soft.token, Token: soft.token, Workers: 2,
			Key: keyConfigs()[1], Policy: p, Dir: t.TempDir(), Rounds: 1, Round: time.Millisecond}))(t)
		if string(s.Format) != want {
			t.Errorf("%s is measured for %s", s.Format, sign)
		}
	}
}

func TestMeasureSpeedFails(t *testing.T) {
	o := hsmsigner.SpeedOptions{Raw: soft.token, Workers: 2, Key: keyConfigs()[1], Dir: t.TempDir(), Rounds: 1, Round: time.Millisecond}
	for want, change := range map[string]func(){
		"refused: token-unavailable": func() {
			o.Token = &watchedToken{Token: soft.token, sign: func(context.Context, string, crypto.Hash, []byte) ([]byte, error) {
				return nil, errors.New("no")
			}}
		},
		"no such file": func() { o.Dir += "/gone" },
		"writes it":    func() { o.Key.Certificate += ".gone" },
		`key "p256"`: func() {
			o.Token = &watchedToken{key: func(string) (token.Key, error) { return token.Key{}, token.ErrKeyNotFound }}
		},
		"measure key \"p256\"": func() { o.Raw = nothing{} },
	} {
		before := o
		o.Token = soft.token
		change()
		if _, err := hsmsigner.MeasureSpeed(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		o = before
	}
}

type nothing struct{}

func (nothing) Exercise(context.Context, string, crypto.Hash, []byte) error { return errors.New("no") }
