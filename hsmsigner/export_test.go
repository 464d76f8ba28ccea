package hsmsigner

import (
	"context"
	"log/slog"
	"time"

	"quorate/internal/connlimit"
	"quorate/quorum"
)

// SetStage has f called after each step of s, so that a test can end the process
// there.
func SetStage(s *Signer, f func(stage string)) { s.testOnlyStage = f }

// SignerOf is the signer inside of a service.
func SignerOf(v *Service) *Signer { return v.signer }

// ServiceOf is a service around a signer, without a token and a bus.
func ServiceOf(c *Config, s *Signer, log *slog.Logger) *Service {
	return &Service{config: c, signer: s, log: log}
}

// Hurry makes a server's pauses short.
func Hurry(v *Server) {
	v.again, v.pullWait, v.keepAlive = time.Millisecond, 100*time.Millisecond, time.Millisecond
}

// Clip is clip.
var Clip = clip

// HoldParsing is as if a large request were being parsed, until release.
func HoldParsing(s *Signer) (release func()) {
	s.parsing <- struct{}{}
	return func() { <-s.parsing }
}

// HurryAbsent makes the pause before an absent token is looked for again short.
func HurryAbsent(t interface{ Cleanup(func()) }) {
	old := absentPause
	absentPause = time.Millisecond
	t.Cleanup(func() { absentPause = old })
}

// HealthAddress is where the service's health listens.
func HealthAddress(v *Service) string { return v.health.address() }

// TokenPID is the process of the service's token.
func TokenPID(v *Service) int { return v.token.Process().PID }

// Turns are what requests share a token of so many workers by.
type Turns = turns

// NewTurns is newTurns.
var NewTurns = newTurns

// Of is the token as the request may use it.
func (t *turns) Of(tok Token, r *quorum.Request) Token { return t.of(tok, r) }

// Waiting is how many operations wait for their turn, and Free how many may begin.
func (t *turns) Waiting() int { return t.depth() }

func (t *turns) Free() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.free
}

// PeekChannel is peekChannel.
var PeekChannel = peekChannel

// MaxAhead is maxAhead.
const MaxAhead = maxAhead

// SlotsFor is slotsFor.
var SlotsFor = slotsFor

// HealthPlaces is how many connections the service's health takes at a time; 0 is
// without a limit.
func HealthPlaces(v *Service) int {
	if l, ok := v.health.listener.(*connlimit.Listener); ok {
		return l.Most()
	}
	return 0
}

// TurnsOf is how the signer's requests share its token.
func TurnsOf(s *Signer) *Turns { return s.turns }

// RunAwake is [Service.Run] that tells the bus very often of what it works on.
func RunAwake(ctx context.Context, v *Service) error {
	server := NewServer(v.signer, v.conn, v.config.Ledger+".attempts")
	server.keepAlive = 20 * time.Millisecond
	return server.Run(ctx)
}
