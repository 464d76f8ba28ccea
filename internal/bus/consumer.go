package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// AgentConsumerName is the durable consumer that builder reads jobs with.
func AgentConsumerName(builder string) string { return "agent-" + builder }

// UrgentConsumerName is the durable consumer that builder reads those jobs with that
// go before the others.
func UrgentConsumerName(builder string) string { return "urgent-" + builder }

// SignerConsumerName is the durable consumer that all signers holding key share.
func SignerConsumerName(key string) string { return "signer-" + key }

// BatchConsumerName is the durable consumer with which they read the requests for
// batches.
func BatchConsumerName(key string) string { return "batch-" + key }

// batchesOut is how many batches of a key are with signers at a time, all of them
// together. A request for one has several megabytes.
const batchesOut = 8

// EnsureAgentConsumer creates or updates the consumer through which builder
// reads the jobs of its channels. The coordinator calls it, so that an agent
// needs no right to create consumers: whoever may create one may also read any
// subject of the stream, or have it delivered anywhere.
//
// A new builder also sees the jobs still kept from before it came: its vote may
// be the missing one. A job comes back a minute after an agent last said it was
// in progress, for as long as the job is kept.
func EnsureAgentConsumer(ctx context.Context, js jetstream.JetStream, builder string, channels []string) error {
	if !ValidName(builder) {
		return fmt.Errorf("ensure agent consumer: %q: %w", builder, ErrInvalidName)
	}
	// A consumer without a filter would get every channel's jobs.
	if len(channels) == 0 {
		return fmt.Errorf("ensure agent consumer for %s: no channels", builder)
	}
	for _, c := range []struct {
		name    string
		subject func(channel string) (string, error)
	}{{AgentConsumerName(builder), JobSubject}, {UrgentConsumerName(builder), UrgentJobSubject}} {
		filters := make([]string, 0, len(channels))
		for _, channel := range channels {
			s, err := c.subject(channel)
			if err != nil {
				return fmt.Errorf("ensure agent consumer for %s: %w", builder, err)
			}
			filters = append(filters, s)
		}
		slices.Sort(filters)
		if err := ensureConsumer(ctx, js, StreamJobs, c.name, slices.Compact(filters), 0); err != nil {
			return err
		}
	}
	return nil
}

// EnsureSignerConsumer creates or updates the consumers through which signers
// read requests for key, and those for batches. Several signer processes may share
// them: each request goes to one of them, and to another one if that one does not
// answer.
func EnsureSignerConsumer(ctx context.Context, js jetstream.JetStream, key string) error {
	for _, c := range []struct {
		name    string
		subject func(key string) (string, error)
		out     int
	}{{SignerConsumerName(key), RequestSubject, 0}, {BatchConsumerName(key), BatchSubject, batchesOut}} {
		s, err := c.subject(key)
		if err != nil {
			return fmt.Errorf("ensure signer consumer: %w", err)
		}
		if err := ensureConsumer(ctx, js, StreamRequests, c.name, []string{s}, c.out); err != nil {
			return err
		}
	}
	return nil
}

// ensureConsumer wants a durable consumer. out bounds the messages that are delivered
// and not acknowledged; 0 leaves it to the server.
func ensureConsumer(ctx context.Context, js jetstream.JetStream, stream, name string, filters []string, out int) error {
	_, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Name: name, Durable: name, FilterSubjects: filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
		DeliverPolicy: jetstream.DeliverAllPolicy, MaxAckPending: out,
	})
	if err != nil {
		return fmt.Errorf("ensure consumer %s on %s: %w", name, stream, err)
	}
	return nil
}

// RemoveAgentConsumer drops the consumer of a builder that has left. One that
// does not exist is no error.
func RemoveAgentConsumer(ctx context.Context, js jetstream.JetStream, builder string) error {
	for _, name := range []string{AgentConsumerName(builder), UrgentConsumerName(builder)} {
		err := js.DeleteConsumer(ctx, StreamJobs, name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("remove agent consumer of %s: %w", builder, err)
		}
	}
	return nil
}

// AgentConsumer binds to this builder's own consumer of jobs. It asks for
// nothing but the consumer's state, the only right a builder has.
func (c *Conn) AgentConsumer(ctx context.Context) (jetstream.Consumer, error) {
	return c.bind(ctx, StreamJobs, AgentConsumerName(c.name))
}

// UrgentConsumer binds to this builder's own consumer of the jobs that go before
// the others.
func (c *Conn) UrgentConsumer(ctx context.Context) (jetstream.Consumer, error) {
	return c.bind(ctx, StreamJobs, UrgentConsumerName(c.name))
}

// SignerConsumer binds to the shared consumer of requests for key.
func (c *Conn) SignerConsumer(ctx context.Context, key string) (jetstream.Consumer, error) {
	if !ValidName(key) {
		return nil, fmt.Errorf("bind signer consumer: %q: %w", key, ErrInvalidName)
	}
	return c.bind(ctx, StreamRequests, SignerConsumerName(key))
}

// BatchConsumer binds to the shared consumer of requests for batches by key.
func (c *Conn) BatchConsumer(ctx context.Context, key string) (jetstream.Consumer, error) {
	if !ValidName(key) {
		return nil, fmt.Errorf("bind batch consumer: %q: %w", key, ErrInvalidName)
	}
	return c.bind(ctx, StreamRequests, BatchConsumerName(key))
}

func (c *Conn) bind(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	var consumer jetstream.Consumer
	err := c.guard(ctx, outsideAPI+apiInfo+stream+"."+name, func(ctx context.Context) (err error) {
		consumer, err = c.outside.Consumer(ctx, stream, name)
		return err
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("bind consumer %s on %s: %w (hint: the coordinator creates it; is this name in its policy?)", name, stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("bind consumer %s on %s: %w", name, stream, err)
	}
	return consumer, nil
}
