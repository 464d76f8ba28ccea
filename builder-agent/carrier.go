package builderagent

import (
	"context"
	"log/slog"

	"quorate/builder-agent/spool"
	"quorate/internal/bus"
)

// Carrier takes messages of any kind from a spool to a coordinator's receipt, as
// an agent does with its statements. One goroutine of the process that holds the
// spool's lock uses it.
type Carrier struct {
	c *courier
}

// NewCarrier makes a carrier that publishes each message where subject says.
func NewCarrier(sp *spool.Spool, conn *bus.Conn, subject func(raw []byte) (string, error), log *slog.Logger) *Carrier {
	c := newCourier(sp, conn, log)
	c.subject = func(e spool.Entry) (string, error) { return subject(e.Raw) }
	c.first = func(all []spool.Entry) []spool.Entry { return all }
	return &Carrier{c}
}

// Round does once all that can be done now. moved says that at least one message
// was published or settled. An error that wraps [bus.ErrUnavailable] may pass.
func (c *Carrier) Round(ctx context.Context) (moved bool, err error) { return c.c.round(ctx) }
