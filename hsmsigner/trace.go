package hsmsigner

import (
	"log/slog"
	"slices"
	"time"

	"quorate/hsmsigner/ledger"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// trace follows one request for its one line in the log, and its place in the
// counters: what was asked, what came of it, and how long each step took.
type trace struct {
	now         func() time.Time
	metrics     *Metrics
	start, last time.Time
	request     []slog.Attr
	steps       []slog.Attr
	watch       func(step string, took time.Duration) // nil, or told of each step
}

func (s *Signer) begin() *trace {
	at := s.now()
	return &trace{now: s.now, metrics: s.metrics, start: at, last: at, watch: s.watchSteps}
}

// ask notes what was asked. The values come from whoever sent the request.
func (t *trace) ask(r *quorum.Request) {
	t.request = []slog.Attr{slog.Any("request", r.ID), slog.String("channel", clip(r.Channel, statement.MaxName)),
		slog.String("target", clip(r.Target, statement.MaxTarget)), slog.String("stage", clip(r.Stage, statement.MaxName)),
		slog.String("artifact", clip(r.Artifact, statement.MaxName)), slog.Any("sha256", r.Digest.SHA256)}
	t.step("parse")
}

// note adds to what is logged of the request.
func (t *trace) note(attrs ...slog.Attr) { t.request = append(t.request, attrs...) }

// step notes the time since the step before.
func (t *trace) step(name string) {
	at := t.now()
	t.steps = append(t.steps, slog.Duration(name, at.Sub(t.last)))
	if t.watch != nil {
		t.watch(name, at.Sub(t.last))
	}
	t.last = at
}

// stopwatch tells whoever watches what each step takes that goes on beside others of
// its request.
func (s *Signer) stopwatch() func(step string) {
	if s.watchSteps == nil {
		return func(string) {}
	}
	last := s.now()
	return func(step string) {
		at := s.now()
		s.watchSteps(step, at.Sub(last))
		last = at
	}
}

func (t *trace) attrs(more ...slog.Attr) []any {
	var out []any
	for _, a := range append(append(slices.Clip(t.request), more...), slog.Duration("total", t.now().Sub(t.start)),
		slog.Attr{Key: "steps", Value: slog.GroupValue(t.steps...)}) {
		out = append(out, a)
	}
	return out
}

func (t *trace) signed(log *slog.Logger, rec *ledger.Record) {
	var made []string
	for _, sig := range rec.Signatures {
		made = append(made, sig.Format+":"+sig.Key)
	}
	t.metrics.signed(rec, t.now().Sub(t.start))
	log.Info("signed", t.attrs(slog.Any("signatures", made), slog.Any("evidence", rec.Evidence),
		slog.Uint64("policy", rec.PolicyVersion))...)
}

func (t *trace) repeated(log *slog.Logger) {
	t.metrics.repeated.Inc()
	log.Info("answered from ledger", t.attrs()...)
}

func (t *trace) refused(log *slog.Logger, d *denial) {
	more := []slog.Attr{slog.String("code", string(d.Code)), slog.String("message", d.Message),
		slog.Bool("retryable", d.Retryable)}
	if d.cause != nil {
		more = append(more, slog.Any("error", d.cause))
	}
	t.metrics.refused(d.Code)
	log.Warn("refused", t.attrs(more...)...)
}
