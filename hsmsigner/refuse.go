package hsmsigner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"quorate/hsmsigner/ledger"
	"quorate/internal/wire"
	"quorate/quorum"
	"quorate/quorum/statement"
)

// maxMessage bounds a refusal's text, in bytes: part of it comes from whoever
// made the request.
const maxMessage = 1024

// refuse is the one way to a no: it is recorded, logged and, where it can be
// addressed, answered. A no that came only because ctx ended is none.
func (s *Signer) refuse(ctx context.Context, t *trace, r *quorum.Request, d *denial) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	d.Message = clip(strings.ToValidUTF8(d.Message, "?"), maxMessage)
	t.refused(s.log, d)
	reply := Reply{ID: r.ID, Refusal: d.Refusal}
	if answerable(r) {
		reply.Channel = r.Channel
	}
	if err := s.ledger.Refuse(ctx, refusalRow(r, reply.Channel, d, s.now().UTC())); err != nil {
		// A no needs no ledger to be safe, and the asker should hear it.
		s.metrics.ledgerFailed()
		s.log.Error("refusal not recorded", "request", r.ID, "code", d.Code, "error", err)
	}
	if reply.Channel == "" {
		return reply, nil
	}
	p := s.Policy()
	data, err := json.Marshal(&quorum.Answer{Version: quorum.Version, ID: r.ID, Channel: r.Channel, Target: r.Target,
		Stage: r.Stage, Artifact: r.Artifact, Digest: r.Digest,
		Policy: quorum.PolicyRef{Version: p.Version, Digest: p.Digest}, Refusal: d.Refusal, At: s.now().UTC()}, json.Deterministic(true))
	if err != nil {
		return reply, fmt.Errorf("write refusal: %w", err)
	}
	reply.Answer = data
	if d.alarm != "" {
		reply.Alarms = append(reply.Alarms, s.alarm(r, d))
	}
	s.testOnlyStage("refused")
	return reply, nil
}

// salvage reads of a request that was not understood who is to hear so. It
// gives an empty request where even that cannot be read. Lists are passed over:
// there may be millions of things in them.
func salvage(data []byte) *quorum.Request {
	var h struct {
		ID       statement.SHA256 `json:"id"`
		Channel  string           `json:"channel"`
		Target   string           `json:"target"`
		Stage    string           `json:"stage"`
		Artifact string           `json:"artifact"`
		Digest   quorum.Digests   `json:"digest"`
	}
	if len(data) > quorum.MaxRequest || json.Unmarshal(data, &h) != nil {
		return new(quorum.Request)
	}
	return &quorum.Request{ID: h.ID, Channel: h.Channel, Target: h.Target, Stage: h.Stage, Artifact: h.Artifact, Digest: h.Digest}
}

// answerable reports whether a refusal can be addressed and stays small.
// Nothing of the request is believed yet.
func answerable(r *quorum.Request) bool {
	return r.Case().Check() == nil && len(r.Artifact) <= statement.MaxName
}

func (s *Signer) alarm(r *quorum.Request, d *denial) wire.Alarm {
	return wire.Alarm{Version: quorum.Version, Code: d.alarm, Channel: r.Channel, Target: r.Target, Stage: r.Stage,
		Artifact: r.Artifact, Message: d.Message, From: s.name, At: s.now().UTC()}
}

// refusalRow is what the ledger keeps of a no.
func refusalRow(r *quorum.Request, channel string, d *denial, at time.Time) ledger.Refusal {
	return ledger.Refusal{Request: r.ID, Channel: channel, Target: clip(r.Target, statement.MaxTarget),
		Artifact: clip(r.Artifact, statement.MaxName), SHA256: r.Digest.SHA256,
		Code: string(d.Code), Message: d.Message, At: at}
}

// clip shortens a text to n bytes at most and shows that it did.
func clip(s string, n int) string {
	const cut = "..."
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(cut)], "") + cut // no half character
}
