package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/conc/pool"

	"quorate/coordinator/store"
	"quorate/internal/bus"
	"quorate/internal/bus/embedded"
	"quorate/quorum"
)

// Options say how to run a coordinator.
type Options struct {
	// State is the directory that [Init] made.
	State string

	// Now is the clock; nil is time.Now. Whoever moves it calls
	// [Coordinator.Wake].
	Now func() time.Time

	// Log gets what people should know; nil is slog.Default().
	Log *slog.Logger
}

// Coordinator is a running coordinator.
type Coordinator struct {
	*setup
	log *slog.Logger
	now func() time.Time

	lock   *os.File // held until the end
	db     *store.DB
	server *embedded.Server // nil with a NATS server of one's own
	conn   *bus.Conn
	web    *http.Server
	listen net.Listener

	wroteURL bool // the file bus-url is ours to remove

	metrics  *metrics
	events   *broadcast
	tail     *tail
	progress *progress

	decideWake chan struct{} // capacity 1
	askWake    chan struct{} // capacity 1
	retryAlarm atomic.Bool   // an alarm could not be published
	lag        atomic.Uint64 // messages that the stream still has for us
	target     atomic.Uint64 // end of the stream when it was first attached to
	caughtUp   atomic.Bool   // everything up to target is recorded and decided
	users      usersState
	quota      quota
	newKeys    chan changedKeys
	proved     []proved // owned by the loop that applies

	deciding round // owned by the goroutine that decides

	memory *quorum.Memory // of statements that are evidence

	files     *files        // nil: none are kept
	logs      *files        // of builds; nil exactly if files is
	filesWake chan struct{} // capacity 1
	comparing chan struct{} // one token for each answer that explains a difference
	answers   chan struct{} // one token for each answer about a whole target

	logsForgot time.Time // owned by the goroutine that asks for files

	attached chan struct{} // closed when the record is being read
	attach   sync.Once
	stop     context.CancelFunc
	done     chan struct{} // closed after err is set and all is closed
	err      error
}

// rememberedBytes bounds the statements that are not parsed and verified again, as they
// were received: the evidence of a few targets of the largest size.
const rememberedBytes = 16 << 20

// Start starts a coordinator and returns when its interfaces are there. With the
// embedded bus that includes the streams; with a bus elsewhere it goes on trying
// to reach that. It runs until [Coordinator.Close], the end of ctx, or an error,
// which [Coordinator.Wait] returns.
func Start(ctx context.Context, o Options) (*Coordinator, error) {
	c, err := newCoordinator(o)
	if err != nil {
		return nil, err
	}
	if err := c.open(); err != nil {
		c.release()
		return nil, fmt.Errorf("start coordinator: %w", diskError(err))
	}
	ctx, c.stop = context.WithCancel(ctx)
	go c.run(ctx)
	if c.server == nil {
		return c, nil
	}
	select {
	case <-c.attached:
		return c, nil
	case <-c.done:
		if c.err == nil {
			return nil, fmt.Errorf("start coordinator: %w", context.Cause(ctx))
		}
		return nil, c.err
	}
}

func newCoordinator(o Options) (*Coordinator, error) {
	c := &Coordinator{log: o.Log, now: o.Now, memory: quorum.NewMemory(rememberedBytes),
		decideWake: make(chan struct{}, 1), askWake: make(chan struct{}, 1),
		comparing: make(chan struct{}, comparing), answers: make(chan struct{}, answering), filesWake: make(chan struct{}, 1),
		attached: make(chan struct{}), done: make(chan struct{}), newKeys: make(chan changedKeys)}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.now == nil {
		c.now = time.Now
	}
	var err error
	c.setup, err = loadSetup(o.State, c.now())
	return c, err
}

// open takes hold of everything that can fail, in the order in which it depends
// on each other.
func (c *Coordinator) open() (err error) {
	if err := c.openDB(); err != nil {
		return err
	}
	if err := c.prepareProjection(); err != nil {
		return err
	}
	if err := c.openBus(false); err != nil {
		return err
	}
	if c.listen, err = net.Listen("tcp", c.config.Listen); err != nil {
		return configError("change 'listen' in "+filepath.Join(c.dir, fileConfig)+", or stop what uses the address", "listen: %w", err)
	}
	if err := c.openState(); err != nil {
		return err
	}
	if c.config.Files.Keep > 0 {
		if c.files, err = openFiles(c.path(dirFiles), c.config.Files); err != nil {
			return err
		}
		if c.logs, err = openFiles(c.path(dirLogs), c.config.Files.logConfig()); err != nil {
			return err
		}
	}
	c.web = c.newServer()
	return c.placeHooks()
}

func (c *Coordinator) openDB() (err error) {
	if c.lock, err = lockFile(filepath.Join(c.dir, fileLock)); err != nil {
		return configError("is another coordinator running on "+c.dir+"?", "lock state directory: %w", err)
	}
	if c.db, err = store.Open(c.path(fileDB)); err != nil {
		c.db = nil
		return c.databaseError(err)
	}
	return nil
}

// openState makes what is kept in memory, from the database.
func (c *Coordinator) openState() error {
	cur, err := c.db.Cursor()
	if err != nil {
		return err
	}
	if c.tail, err = newTail(c.db); err != nil {
		return err
	}
	c.events, c.progress = newBroadcast(), newProgress()
	c.progress.setRecorded(cur.Recorded)
	c.metrics = newMetrics(c)
	return c.loadQuota()
}

// prepareProjection throws the projection away when policy or certificates are
// not those it was made by. The record itself stays; the engine projects it anew.
func (c *Coordinator) prepareProjection() error {
	cur, err := c.db.Cursor()
	if err != nil {
		return err
	}
	return c.db.Update(func(tx *store.Tx) error {
		if err := tx.SavePolicy(c.policy.Digest, c.policyRaw, c.now()); err != nil {
			return err
		}
		for digest, data := range c.former {
			if err := tx.SavePolicy(digest, data, c.now()); err != nil {
				return err
			}
		}
		if cur.Basis == c.basis {
			return nil
		}
		if cur.Recorded > 0 {
			c.log.Info("policy, certificates or this program changed, the record is projected anew", "messages", cur.Recorded, "policy", c.policy.Version)
		}
		return tx.ClearProjection(c.basis)
	})
}

// openBus connects to the bus, which is in this process unless configured
// otherwise. A private one opens no socket: nobody else can send to it.
func (c *Coordinator) openBus(private bool) (err error) {
	o := bus.Options{URL: c.config.NATS.URL, Name: userName, SeedFile: filepath.Join(c.dir, fileSeed), CAFile: c.optional(c.config.NATS.CA), Retry: !private, Logger: c.log}
	if o.URL == "" {
		if err := c.startEmbedded(private); err != nil {
			return err
		}
		o.InProcess, o.Retry = c.server.InProcess(), false
	}
	if c.conn, err = bus.Connect(o); err != nil || c.server == nil {
		return err
	}
	return c.addSubjects()
}

// addSubjects lets the streams of a former version take what is sent since. Only
// the embedded server's are ours to change.
func (c *Coordinator) addSubjects() error {
	ctx, cancel := context.WithTimeout(context.Background(), attachLimit)
	defer cancel()
	lacking, err := bus.LackingSubjects(ctx, c.conn.JS(), c.config.NATS.Replicas)
	if err != nil || len(lacking) == 0 {
		return err
	}
	for _, s := range lacking {
		c.log.Info("stream is from a former version and gets its new subjects", "stream", s.Name, "subjects", s.Subjects)
	}
	return c.server.UpdateStreams(ctx, lacking)
}

func (c *Coordinator) startEmbedded(private bool) error {
	host, port, err := splitListen(c.config.NATS.Listen)
	if err != nil {
		return configError("nats.listen = \""+defaultBusListen+"\"", "nats.listen: %w", err)
	}
	seen, users, err := readUsers(c.dir)
	if err != nil {
		return err
	}
	c.users.seen = seen
	c.users.cert = c.lookAtCertificate()
	c.server, err = embedded.Start(embedded.Options{StoreDir: filepath.Join(c.dir, dirBus), Host: host, Port: port, Users: users, Logger: c.log, DontListen: private,
		CertFile: c.optional(c.config.NATS.TLSCert), KeyFile: c.optional(c.config.NATS.TLSKey)})
	if err != nil && strings.Contains(err.Error(), "Error listening on port") { // the server has no error value for it
		return configError("change 'listen' of [nats] in "+filepath.Join(c.dir, fileConfig)+", or stop what uses the address", "nats.listen: %w", err)
	}
	if err != nil || private {
		return err
	}
	return c.writeBusURL()
}

// writeBusURL tells people and scripts on this machine where the bus is. It is no
// secret. Whoever waits for the file sees all of it or none.
func (c *Coordinator) writeBusURL() error {
	c.wroteURL = true
	return replaceFile(c.path(fileBusURL), c.server.URL()+"\n")
}

// replaceFile writes a file for others on this machine.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func splitListen(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// run is the life of the coordinator. The first loop that ends with an error ends
// the others.
func (c *Coordinator) run(ctx context.Context) {
	batches := make(chan []entry, 1)
	p := pool.New().WithContext(ctx).WithCancelOnError().WithFirstError()
	p.Go(func(ctx context.Context) error { return c.read(ctx, batches) })
	p.Go(func(ctx context.Context) error { return c.decide(ctx, batches) })
	p.Go(c.askLoop)
	p.Go(c.watchUsers)
	p.Go(c.watchEnds)
	p.Go(c.serveBus)
	p.Go(c.readFiles)
	p.Go(c.askFiles)
	p.Go(c.readSignerAlarms)
	p.Go(c.serveHTTP)
	for _, h := range c.hooks {
		p.Go(func(ctx context.Context) error { return c.runHook(ctx, h) })
	}
	err := p.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	c.release()
	c.err = diskError(err)
	c.stop()
	close(c.done)
}

// release closes what open opened.
func (c *Coordinator) release() {
	if c.listen != nil {
		_ = c.listen.Close()
	}
	if c.conn != nil {
		c.conn.Close()
	}
	if c.wroteURL {
		_ = os.Remove(c.path(fileBusURL))
		_ = os.Remove(c.path(fileUsersIn))
	}
	if c.server != nil {
		c.server.Shutdown()
	}
	if c.db != nil {
		_ = c.db.Close()
	}
	if c.lock != nil {
		_ = c.lock.Close()
	}
}

// Wait returns when the coordinator has ended, with the reason unless it was
// asked to.
func (c *Coordinator) Wait() error {
	<-c.done
	return c.err
}

// Close ends the coordinator and waits for that.
func (c *Coordinator) Close() error {
	c.stop()
	return c.Wait()
}

// URL is the address of the HTTP interface.
func (c *Coordinator) URL() string { return "http://" + c.listen.Addr().String() }

// BusURL is the address of the bus.
func (c *Coordinator) BusURL() string {
	if c.server != nil {
		return c.server.URL()
	}
	return c.config.NATS.URL
}

// Wake makes the coordinator look at the clock and at the list of users now.
func (c *Coordinator) Wake() {
	c.wakeDecide()
	c.wakeAsk()
	c.newEvents()
	signal(c.filesWake)
}

// newEvents wakes those who listen; the tail first, which they read.
func (c *Coordinator) newEvents() {
	c.tail.changed()
	c.events.notify()
}

func (c *Coordinator) wakeDecide() { signal(c.decideWake) }
func (c *Coordinator) wakeAsk()    { signal(c.askWake) }
func (c *Coordinator) alarmLater() { c.retryAlarm.Store(true) }

// signal leaves a mark in a channel of capacity 1.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
