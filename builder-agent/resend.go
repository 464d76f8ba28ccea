package builderagent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"quorate/builder-agent/spool"
	"quorate/internal/bus"
	"quorate/internal/rest"
	"quorate/internal/wire"
	"quorate/quorum/statement"
)

// Resent says what [Resend] found of the statements that were confirmed once.
type Resent struct {
	Known    int                // still recorded, or rejected since
	Lacking  []statement.SHA256 // put back into the spool
	Outdated []statement.SHA256 // lacking, and not sent: a later one about the same target is recorded
	Damaged  []string           // files whose bytes are not what their name says
}

// Resend finds what a coordinator confirmed at since or later and has not any more,
// and puts it back into the spool, from where it is sent as it was. A coordinator
// that was restored from an old copy asks for that.
//
// A statement is not sent behind a later one about its target: of two the one that
// lies later in the record counts, and the older would undo the newer.
//
// An error that wraps [bus.ErrUnavailable] says that no coordinator answered; then
// nothing was changed.
func Resend(ctx context.Context, s *State, since time.Time, log *slog.Logger) (r Resent, err error) {
	list, damaged, err := s.Spool.Confirmed(since)
	if err != nil {
		return r, err
	}
	r.Damaged = damaged
	recorded, err := recordedOf(ctx, s, list, log)
	if err != nil {
		return r, err
	}
	later := map[statement.Case]bool{}
	var back []spool.Confirmed
	for _, c := range slices.Backward(list) {
		switch {
		case recorded[c.ID]:
			r.Known++
			later[c.Statement.Case] = true
		case later[c.Statement.Case]:
			r.Outdated = append(r.Outdated, c.ID)
		default:
			back = append(back, c)
			r.Lacking = append(r.Lacking, c.ID)
		}
	}
	slices.Reverse(back)
	slices.Reverse(r.Lacking)
	slices.Reverse(r.Outdated)
	return r, s.Spool.Return(back)
}

// recordedOf asks a coordinator what it has. It tries until one answers or ctx ends.
func recordedOf(ctx context.Context, s *State, list []spool.Confirmed, log *slog.Logger) (map[statement.SHA256]bool, error) {
	recorded := map[statement.SHA256]bool{}
	if len(list) == 0 {
		return recorded, nil
	}
	conn, err := connect(ctx, s, log)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := newCourier(s.Spool, conn, log)
	for batch := range slices.Chunk(list, wire.MaxHaveIDs) {
		ids := make([]statement.SHA256, len(batch))
		for i := range batch {
			ids[i] = batch[i].ID
		}
		answer, err := c.haveInTime(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range answer.Recorded {
			recorded[id] = true
		}
		for _, no := range answer.Rejected {
			recorded[no.Statement] = true // sending it again is of no use
		}
	}
	return recorded, nil
}

// haveInTime asks again while nobody answers, until ctx ends.
func (c *courier) haveInTime(ctx context.Context, ids []statement.SHA256) (answer *wire.HaveAnswer, err error) {
	for delay := firstDelay; ; delay = min(2*delay, shortDelay) {
		answer, err = c.have(ctx, ids)
		if !errors.Is(err, bus.ErrUnavailable) {
			return answer, err
		}
		if rest.For(ctx, jitter(delay)) != nil {
			return nil, err
		}
	}
}
