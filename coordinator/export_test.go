package coordinator

import "context"

// AwaitRecorded waits until the message with that place is committed.
func AwaitRecorded(ctx context.Context, c *Coordinator, seq uint64) error {
	return c.progress.await(ctx, func() bool { return c.progress.recorded() >= seq })
}

// AwaitDecided waits until everything recorded is decided.
func AwaitDecided(ctx context.Context, c *Coordinator) error {
	ticket := c.progress.ticket()
	c.wakeDecide()
	return c.progress.await(ctx, func() bool { return c.progress.decided.Load() > ticket })
}

// ExplainDisk gives an error that the coordinator ends with its hint.
var ExplainDisk = diskError

// Trim is what keeps a request small enough.
var Trim = trim

// RequestRoom is what a request needs besides its statements.
const RequestRoom = requestRoom

// AwaitAttached waits until the record is being read.
func AwaitAttached(ctx context.Context, c *Coordinator) error {
	select {
	case <-c.attached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitConnected waits until the bus answers again. A client notices a little
// later than the server that the connection is gone.
func AwaitConnected(ctx context.Context, c *Coordinator) error {
	for {
		if err := c.conn.Ready(ctx); err != nil {
			return err
		}
		if _, err := c.streamEnd(ctx); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
