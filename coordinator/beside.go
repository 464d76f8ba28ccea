package coordinator

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/rest"
)

// beside reads a stream that decides nothing for as long as the coordinator runs.
// Nothing that goes wrong here ends the coordinator: no vote and no signature
// depends on it.
func (c *Coordinator) beside(ctx context.Context, what string, read func(context.Context) error) error {
	select {
	case <-c.attached:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		err := read(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.log.Warn("reading of "+what+" was interrupted", "error", err)
		if err := rest.For(ctx, attachPause); err != nil {
			return err
		}
	}
}

// takeEach gives the messages of a stream to take, in order, until something fails.
func (c *Coordinator) takeEach(ctx context.Context, stream string, o jetstream.OrderedConsumerConfig, take func([]jetstream.Msg) error) error {
	o.MaxResetAttempts = 5
	consumer, err := c.conn.JS().OrderedConsumer(ctx, stream, o)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	return c.follow(ctx, consumer, func(ctx context.Context, in *inbox) error {
		for {
			messages, err := in.take(ctx)
			if err != nil {
				return context.Cause(ctx)
			}
			if err := take(messages); err != nil {
				return err
			}
		}
	})
}
