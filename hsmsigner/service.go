package hsmsigner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/tokenproc"
	"quorate/internal/bus"
	"quorate/quorum/policy"
)

// Service is a signer with everything it needs, opened from a configuration.
type Service struct {
	config *Config
	log    *slog.Logger
	token  *tokenproc.Proxy
	ledger *ledger.Ledger
	conn   *bus.Conn
	signer *Signer
	health *health // nil: off
}

// Open opens all parts, the cheap ones first, so that a mistake in a file costs
// no try of the PIN. A question for the PIN goes to prompt.
//
// Errors that wrap [ErrConfig] need a person.
func Open(ctx context.Context, c *Config, prompt io.Writer, log *slog.Logger) (*Service, error) {
	v := &Service{config: c, log: log}
	if err := v.open(ctx, prompt); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

func (v *Service) open(ctx context.Context, prompt io.Writer) error {
	p, err := LoadPolicy(v.config.Policy, time.Now())
	if err != nil {
		return err
	}
	keys, err := LoadKeys(v.config.Keys)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if v.ledger, err = ledger.Open(ctx, v.config.Ledger); err != nil {
		return err
	}
	// With Retry only what a person must change is an error: a server that is
	// away is waited for.
	v.conn, err = bus.Connect(bus.Options{URL: v.config.NATS, Name: v.config.Name, SeedFile: v.config.SeedFile,
		CAFile: v.config.CAFile, Retry: true, Logger: v.log})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if v.config.Health.Listen != "" {
		if v.health, err = startHealth(v.config.Health, v.conn, v.ledger, v.log); err != nil {
			return err
		}
	}
	if v.token, err = awaitToken(ctx, v.config.Token, prompt, v.log); err != nil {
		return err
	}
	v.signer, err = New(Options{Token: v.token, Workers: v.token.Stats().Workers, Ledger: v.ledger, Policy: p, Keys: keys,
		Name: v.config.Name, Logger: v.log, Metrics: v.metrics()})
	return err
}

// metrics are the counters that health shows; nil if nobody looks.
func (v *Service) metrics() *Metrics {
	if v.health == nil {
		return nil
	}
	return v.health.metrics
}

// LoadPolicy reads the signer's own copy of the policy.
func LoadPolicy(path string, at time.Time) (*policy.Policy, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: policy: %w (hint: the signer needs its own copy of the policy file)", ErrConfig, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: policy: %w", ErrConfig, err)
	}
	if info.Size() > policy.MaxSize {
		return nil, fmt.Errorf("%w: policy: %s has %d bytes, at most %d", ErrConfig, path, info.Size(), policy.MaxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: policy: %w", ErrConfig, err)
	}
	p, err := policy.Load(data, at)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return p, nil
}

// Run serves until ctx is done.
func (v *Service) Run(ctx context.Context) error {
	p := v.signer.Policy()
	v.log.Info("signer started", "name", v.config.Name, "keys", len(v.config.Keys), "policy", p.Version,
		"policy_digest", p.Digest, "policy_expires", p.Expires)
	v.warnUnnamed(p)
	defer v.startCanaries(ctx)()
	defer v.watchEnds(ctx)()
	err := NewServer(v.signer, v.conn, v.config.Ledger+".attempts").Run(ctx)
	v.log.Info("signer stopped")
	return err
}

// startCanaries begins what health is told by. What it returns ends it.
func (v *Service) startCanaries(ctx context.Context) (stop func()) {
	if v.health == nil {
		return func() {}
	}
	every := v.config.Health.Canary
	if every == 0 {
		every = defaultCanary
	}
	c := newCanaries(v.signer, time.Duration(every), v.log)
	v.health.working.Store(&working{v.signer, v.token, c})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// warnUnnamed says which keys nobody may ask for.
func (v *Service) warnUnnamed(p *policy.Policy) {
	for _, k := range v.config.Keys {
		if !names(p, k.Label) {
			v.log.Warn("policy does not name this key; requests for it are refused", "key", k.Label)
		}
	}
}

func names(p *policy.Policy, key string) bool {
	for _, c := range p.Channels {
		for _, o := range c.Sign {
			if o.Key == key {
				return true
			}
		}
	}
	return false
}

// Close closes what is open, in the order that loses nothing.
func (v *Service) Close() error {
	var errs []error
	if v.health != nil { // it asks all the others
		errs = append(errs, v.health.close())
	}
	if v.conn != nil {
		v.conn.Close()
	}
	if v.token != nil {
		errs = append(errs, v.token.Close())
	}
	if v.ledger != nil {
		errs = append(errs, v.ledger.Close())
	}
	return errors.Join(errs...)
}
