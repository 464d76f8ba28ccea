package hsmsigner_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/jetstream"

	"quorate/hsmsigner"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/internal/wire"
	"quorate/quorum"
)

// testLimit only ends a test that hangs; no test waits for it to pass.
const testLimit = time.Minute

// site is a bus with a coordinator's connection, and the state folder of a
// signer that is made as people make it.
type site struct {
	*world     // for its requests; its own signer is not on the bus
	configPath string
	config     *hsmsigner.Config
	coord      *bus.Conn
	broker     *embedded.Server
	answers    jetstream.MessagesContext
	alarms     jetstream.MessagesContext
	cancel     context.CancelFunc // of the signer that serves
}

func newSite(t testing.TB) *site {
	t.Helper()
	return siteOf(t, newWorld(t), policyText(t, 7), keyConfigs())
}

// siteOf has a signer with that policy and those keys.
func siteOf(t testing.TB, w *world, policy string, keys []hsmsigner.KeyConfig) *site {
	t.Helper()
	s := &site{world: w}
	dir := filepath.Join(s.dir, "signer")
	policyFile := writeFile(t, filepath.Join(s.dir, "policy.toml"), []byte(policy), 0o600)
	nkey := must(hsmsigner.Init(t.Context(), dir, hsmsigner.Config{Name: "hsm", NATS: "nats://127.0.0.1:1",
		Policy: policyFile, Token: tokenConfig(), Keys: keys}))(t)
	coordSeed := filepath.Join(s.dir, "coord.seed")
	coordKey := must(bus.WriteSeedFile(coordSeed))(t)
	otherNKey := must(bus.WriteSeedFile(filepath.Join(s.dir, "other.seed")))(t)
	var labels []string
	for _, k := range keys {
		labels = append(labels, k.Label)
	}
	s.broker = must(embedded.Start(embedded.Options{StoreDir: filepath.Join(s.dir, "bus"), Logger: quiet(), Users: []bus.User{
		{Name: "coord", Role: bus.RoleCoordinator, NKey: coordKey},
		{Name: "hsm", Role: bus.RoleSigner, NKey: nkey, Keys: labels},
		{Name: "other", Role: bus.RoleSigner, NKey: otherNKey, Keys: labels},
	}}))(t)
	t.Cleanup(s.broker.Shutdown)
	s.setNATS(filepath.Join(dir, hsmsigner.ConfigFile))
	s.connect(coordSeed, labels)
	return s
}

// setNATS writes the bus's port, which is known only now, into the configuration.
func (s *site) setNATS(path string) {
	s.t.Helper()
	text := string(must(os.ReadFile(path))(s.t))
	writeFile(s.t, path, []byte(strings.Replace(text, "nats://127.0.0.1:1", s.broker.URL(), 1)), 0o600)
	s.configPath, s.config = path, must(hsmsigner.LoadConfig(path))(s.t)
}

func (s *site) connect(seed string, labels []string) {
	s.t.Helper()
	s.coord = must(bus.Connect(bus.Options{URL: s.broker.URL(), Name: "coord", SeedFile: seed, Logger: quiet()}))(s.t)
	s.t.Cleanup(s.coord.Close)
	check(s.t, bus.EnsureStreams(s.t.Context(), s.coord.JS(), 1))
	for _, label := range labels {
		check(s.t, bus.EnsureSignerConsumer(s.t.Context(), s.coord.JS(), label))
	}
	s.answers, s.alarms = s.read(bus.StreamRecord), s.read(bus.StreamSignerAlarms)
}

func (s *site) read(stream string) jetstream.MessagesContext {
	s.t.Helper()
	consumer := must(s.coord.JS().OrderedConsumer(s.t.Context(), stream, jetstream.OrderedConsumerConfig{}))(s.t)
	messages := must(consumer.Messages())(s.t)
	s.t.Cleanup(messages.Stop)
	return messages
}

// publish files a request as a coordinator does. The key in the subject is the
// one of the request if that can be read.
func (s *site) publish(data []byte) {
	s.t.Helper()
	key := "ed25519"
	if r, ref := quorum.ParseRequest(data); ref == nil && len(r.Outputs) > 0 {
		if _, err := bus.RequestSubject(r.Outputs[0].Key); err == nil && s.coordHas(r.Outputs[0].Key) {
			key = r.Outputs[0].Key
		}
	}
	subject := must(bus.RequestSubject(key))(s.t)
	_, err := s.coord.Publish(s.t.Context(), subject, bus.MsgID(data), data)
	check(s.t, err)
}

func (s *site) coordHas(key string) bool {
	_, ok := s.config.Key(key)
	return ok
}

// serve runs a signer on the bus, as the child of a test does, but here.
func (s *site) serve() (stop func()) {
	s.t.Helper()
	conn := must(bus.Connect(bus.Options{URL: s.config.NATS, Name: s.config.Name, SeedFile: s.config.SeedFile, Logger: quiet()}))(s.t)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	server := hsmsigner.NewServer(s.signer, conn, s.config.Ledger+".attempts")
	hsmsigner.Hurry(server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
		conn.Close()
	}
	s.t.Cleanup(stop)
	return stop
}

// nextAnswer waits for an answer in the record.
func (s *site) nextAnswer() ([]byte, *quorum.Answer) {
	s.t.Helper()
	msg := must(s.answers.Next(jetstream.NextMaxWait(testLimit)))(s.t)
	return msg.Data(), must(quorum.ParseAnswer(msg.Data()))(s.t)
}

// other connects as another signer of the same keys.
func (s *site) other() *bus.Conn {
	s.t.Helper()
	conn := must(bus.Connect(bus.Options{URL: s.broker.URL(), Name: "other", SeedFile: filepath.Join(s.dir, "other.seed"), Logger: quiet()}))(s.t)
	s.t.Cleanup(conn.Close)
	return conn
}

func (s *site) nextAlarm() *wire.Alarm {
	s.t.Helper()
	msg := must(s.alarms.Next(jetstream.NextMaxWait(testLimit)))(s.t)
	a := new(wire.Alarm)
	check(s.t, json.Unmarshal(msg.Data(), a, json.RejectUnknownMembers(true)))
	return a
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
