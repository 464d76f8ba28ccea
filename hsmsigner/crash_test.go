package hsmsigner_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"quorate/hsmsigner"
	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/hsmsigner/token/softhsm"
	"quorate/internal/bus"
	"quorate/quorum"
)

// The environment of a child, which is this test binary once more.
const (
	childConfig = "HSMSIGNER_TEST_CONFIG" // its configuration file
	childStage  = "HSMSIGNER_TEST_STAGE"  // it kills itself behind this step
	childAwake  = "HSMSIGNER_TEST_AWAKE"  // it works longer than the bus waits
)

// childMain is a signer as the command runs it. It says each step on standard
// output.
func childMain(config string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	c, err := hsmsigner.LoadConfig(config)
	if err != nil {
		log.Error("child", "error", err)
		return 1
	}
	v, err := hsmsigner.Open(context.Background(), c, os.Stderr, log)
	if err != nil {
		log.Error("child", "error", err)
		return 1
	}
	hsmsigner.SetStage(hsmsigner.SignerOf(v), func(stage string) {
		fmt.Println(stage)
		if stage == os.Getenv(childStage) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // not a step further
		}
	})
	run := v.Run
	if os.Getenv(childAwake) != "" {
		run = func(ctx context.Context) error { return hsmsigner.RunAwake(ctx, v) }
	}
	if err := run(context.Background()); err != nil {
		log.Error("child", "error", err)
	}
	return 1
}

// stages are the steps of a request in their order.
var stages = []string{"checked", "committed", "signed", "stored", "published", "acknowledged"}

// TestKillBetweenSteps kills a signer behind each step while the bus delivers the
// request again and again. In the end there is one answer, and all that was ever
// published is that one.
func TestKillBetweenSteps(t *testing.T) {
	s := newSite(t)
	s.impatient("p256", 300*time.Millisecond)
	r := s.ask("p256").request(t) // ECDSA: a second signature would have other bytes
	s.publish(encode(t, r))
	for _, stage := range stages[:len(stages)-1] {
		s.child(stage)
	}
	s.publish(append(encode(t, r), ' ')) // and once more, in other bytes
	s.child("acknowledged")
	s.child("acknowledged")

	l := must(ledger.Open(t.Context(), s.config.Ledger))(t)
	defer l.Close()
	stored, found, err := l.Answer(t.Context(), r.ID)
	check(t, err)
	if !found {
		t.Fatal("no answer in the ledger")
	}
	signatures := 0
	check(t, l.Records(t.Context(), func(rec ledger.Record) error { signatures += len(rec.Signatures); return nil }))
	if signatures != 1 {
		t.Errorf("%d signatures in the ledger", signatures)
	}
	answers := s.recorded()
	if len(answers) == 0 {
		t.Fatal("no answer in the record")
	}
	for _, a := range answers {
		sameBytes(t, a, stored)
	}
	sig := must(quorum.ParseAnswer(stored))(t).Signatures[0].Signature
	newJudge(t, certFile("p256")).accept(s.ask("p256").content, sig)
}

// child runs a signer until it killed itself behind the step.
func (s *site) child(stage string) {
	s.t.Helper()
	cmd := exec.Command(must(os.Executable())(s.t))
	cmd.Env = append(os.Environ(), childConfig+"="+s.configPath, childStage+"="+stage)
	var log strings.Builder
	cmd.Stderr = &log
	out := must(cmd.StdoutPipe())(s.t)
	check(s.t, cmd.Start())
	timer := time.AfterFunc(testLimit, func() { cmd.Process.Kill() }) // only ends a test that hangs
	defer timer.Stop()
	var seen []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		seen = append(seen, lines.Text())
	}
	io.Copy(io.Discard, out)
	err := cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !slices.Contains(seen, stage) || !status.Signaled() {
		s.t.Fatalf("child did not reach %q: %v, steps %v\n%s", stage, err, seen, log.String())
	}
	if strings.Contains(log.String(), userPIN) {
		s.t.Error("the log shows the PIN")
	}
}

// impatient has the bus deliver requests again after a short while, instead of
// after a minute.
func (s *site) impatient(key string, wait time.Duration) {
	s.t.Helper()
	s.impatientOf(bus.SignerConsumerName(key), wait)
}

func (s *site) impatientOf(name string, wait time.Duration) {
	s.t.Helper()
	consumer := must(s.coord.JS().Consumer(s.t.Context(), bus.StreamRequests, name))(s.t)
	config := consumer.CachedInfo().Config
	config.AckWait = wait
	_, err := s.coord.JS().CreateOrUpdateConsumer(s.t.Context(), bus.StreamRequests, config)
	check(s.t, err)
}

// recorded returns every answer that is in the record.
func (s *site) recorded() (answers [][]byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), testLimit)
	defer cancel()
	consumer := must(s.coord.JS().OrderedConsumer(ctx, bus.StreamRecord, jetstream.OrderedConsumerConfig{}))(s.t)
	stream := must(s.coord.JS().Stream(ctx, bus.StreamRecord))(s.t)
	for range stream.CachedInfo().State.Msgs {
		msg := must(consumer.Next(jetstream.FetchMaxWait(testLimit)))(s.t)
		answers = append(answers, msg.Data())
	}
	return answers
}

// What a process of this test binary is for, besides a test and a signer.
const (
	childRole = "HSMSIGNER_TEST_ROLE"
	initRole  = "init-token"
)

// initMain makes a token without keys.
func initMain() int {
	module, err := softhsm.Find()
	if err == nil {
		err = token.InitToken(module, tokenLabel, []byte(soPIN), []byte(userPIN))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runSelf(t testing.TB, role string, env ...string) {
	t.Helper()
	cmd := exec.Command(must(os.Executable())(t))
	cmd.Env = append(append(os.Environ(), childRole+"="+role), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
}
