package bus_test

import (
	"testing"
)

// A builder that asks and asks takes no place from another one: while its first
// question is being answered, it gets no second.
func TestFloodOfReceiptQuestions(t *testing.T) {
	b := newBroker(t)
	coord := b.coordinator()
	asked, release := make(chan string, 100), make(chan struct{})
	stop := must(coord.ServeHave(func(builder string, _ []byte) ([]byte, error) {
		asked <- builder
		if builder == "alice" {
			<-release
		}
		return []byte("answer"), nil
	}))(t)
	defer stop()
	alice, bob := b.as("alice"), b.as("bob")
	for range 50 {
		check(t, alice.NATS().PublishRequest("quorate.have.alice", "_INBOX_alice.x", nil))
	}
	check(t, alice.NATS().Flush())
	if who := <-asked; who != "alice" {
		t.Fatalf("asked by %s", who)
	}
	must(bob.Request(testContext(t), "quorate.have.bob", nil))(t)
	must(bob.Request(testContext(t), "quorate.have.bob", nil))(t)
	for _, want := range []string{"bob", "bob"} {
		if who := <-asked; who != want {
			t.Errorf("a second question of %s is being answered", who)
		}
	}
	close(release)
}
