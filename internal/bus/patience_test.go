package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/internal/bus"
)

// Whoever publishes, asks, reads or connects while users are enrolled sees no
// failure, although the server drops requests and connections at each reload.
func TestNobodyNoticesAReload(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	stop := must(coord.ServeHave(func(_ string, data []byte) ([]byte, error) { return data, nil }))(t)
	defer stop()
	alice, bob, hsm := b.as("alice"), b.as("bob"), b.as("hsm")
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	requests := must(hsm.SignerConsumer(ctx, "core-2026"))(t)
	var wg sync.WaitGroup
	loop := func(what string, op func(i string) error) {
		wg.Go(func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				if err := op(fmt.Sprint(what, n)); err != nil && ctx.Err() == nil {
					t.Errorf("%s %d: %v", what, n, err)
				}
			}
			t.Log(what, n)
		})
	}
	loop("statement", func(i string) error {
		_, err := alice.Publish(ctx, "quorate.statements.core.alice", i, []byte(i))
		return err
	})
	loop("question", func(i string) error {
		_, err := bob.Request(ctx, "quorate.have.bob", []byte(i))
		return err
	})
	loop("binding", func(string) error {
		_, err := bob.AgentConsumer(ctx)
		return err
	})
	loop("look", func(string) error {
		_, err := coord.StreamEnd(ctx, bus.StreamRecord)
		return err
	})
	loop("request", func(i string) error {
		if _, err := coord.Publish(ctx, "quorate.requests.core-2026", i, []byte(i)); err != nil {
			return err
		}
		return receive(ctx, requests, i)
	})
	connection := func(i string) error {
		c, err := bus.Connect(b.options("repo-add"))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Publish(ctx, "quorate.jobs.core", i, []byte(i))
		return err
	}
	// nats-server 2.15 looks at a connection while it still parses what the client
	// says of itself (reloadAuthorization, processConnect), which the detector sees.
	if raceDetector {
		t.Log("connecting during a reload is not tested with the race detector: the server has a race there")
	} else {
		loop("connection", connection)
	}
	for i := range 30 {
		name := fmt.Sprintf("new-%d", i)
		b.enrol(name, bus.RoleBuilder)
		check(t, b.Reload(b.users))
		check(t, publish(t, b.as(name), "quorate.statements.core."+name, name))
	}
	cancel()
	wg.Wait()
}

// receive fetches until the message comes. A pull may fail during a reload: its
// reader pulls again.
func receive(ctx context.Context, requests jetstream.Consumer, want string) error {
	for ctx.Err() == nil {
		batch, err := requests.Fetch(1, jetstream.FetchContext(ctx))
		if err != nil {
			continue
		}
		for m := range batch.Messages() {
			if string(m.Data()) != want {
				return fmt.Errorf("received %s, want %s", m.Data(), want)
			}
			return m.Ack()
		}
	}
	return ctx.Err()
}
