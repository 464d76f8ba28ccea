package hsmsigner

import (
	"context"
	"crypto"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/hsmsigner/ledger"
	"quorate/hsmsigner/token"
	"quorate/quorum"
	"quorate/quorum/policy"
)

// Metrics are the counters of one signer. Label values come from its own
// configuration, policy and code, never from a request.
type Metrics struct {
	inWork       prometheus.Gauge
	signatures   *prometheus.CounterVec   // by key and format
	requests     *prometheus.HistogramVec // by key
	refusals     *prometheus.CounterVec   // by code
	repeated     prometheus.Counter
	batchSeconds *prometheus.HistogramVec // by key
	batchWaiting prometheus.Gauge
	tokenSeconds *prometheus.HistogramVec // by key
	tokenErrors  *prometheus.CounterVec   // by key and class
	ledgerErrors prometheus.Counter

	ledgerFailing atomic.Bool // its newest write failed

	mu      sync.Mutex
	failing map[string]bool // owned by mu; keys whose newest operation of the token failed
}

// NewMetrics makes counters for a signer.
func NewMetrics() *Metrics {
	// From a millisecond, which is a curve in software, to the deadline of a token.
	buckets := prometheus.ExponentialBuckets(0.001, 2, 16)
	return &Metrics{
		inWork: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_signer_requests_in_work",
			Help: "Requests that are worked on or wait for the token."}),
		signatures: counterVec("quorate_signer_signatures_total", "Signatures released, by key and format.", "key", "format"),
		requests: histogramVec("quorate_signer_request_seconds", "Time from a request to its stored answer, by key; signed ones only.",
			buckets, "key"),
		refusals: counterVec("quorate_signer_refusals_total", "Requests refused, by code.", "code"),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_signer_repeated_total",
			Help: "Requests that were answered from the ledger."}),
		batchSeconds: histogramVec("quorate_signer_batch_seconds", "Time from a request for a batch to its last stored part, by key; whole ones only.",
			prometheus.ExponentialBuckets(0.0625, 2, 16), "key"),
		batchWaiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorate_signer_batch_signatures_waiting",
			Help: "Signatures of batches in work that are not made yet."}),
		tokenSeconds: histogramVec("quorate_signer_token_seconds", "Time of one operation of the token with its wait for the token, by key.",
			buckets, "key"),
		tokenErrors: counterVec("quorate_signer_token_errors_total", "Operations of the token that failed, by key and class of the error.", "key", "class"),
		ledgerErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorate_signer_ledger_errors_total",
			Help: "Reads and writes of the ledger that failed."}),
		failing: map[string]bool{},
	}
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.inWork, m.signatures, m.requests, m.refusals, m.repeated, m.batchSeconds, m.batchWaiting, m.tokenSeconds, m.tokenErrors, m.ledgerErrors}
}

// signed counts a stored answer.
func (m *Metrics) signed(rec *ledger.Record, took time.Duration) {
	m.ledgerFailing.Store(false)
	seen := map[string]bool{}
	for _, s := range rec.Signatures {
		m.signatures.WithLabelValues(s.Key, s.Format).Inc()
		if !seen[s.Key] {
			m.requests.WithLabelValues(s.Key).Observe(took.Seconds())
		}
		seen[s.Key] = true
	}
}

// partSigned counts the signatures of a stored part.
func (m *Metrics) partSigned(o policy.Output, n int) {
	m.ledgerFailing.Store(false)
	m.signatures.WithLabelValues(o.Key, string(o.Format)).Add(float64(n))
}

func (m *Metrics) refused(code quorum.RefusalCode) {
	m.refusals.WithLabelValues(string(code)).Inc()
	if code == quorum.RefuseLedger {
		m.ledgerFailed()
	}
}

func (m *Metrics) ledgerFailed() {
	m.ledgerErrors.Inc()
	m.ledgerFailing.Store(true)
}

// tokenDid notes what came of the newest operation of a key.
func (m *Metrics) tokenDid(label string, failed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if failed {
		m.failing[label] = true
	} else {
		delete(m.failing, label)
	}
}

// failingKeys are those whose newest operation of the token failed.
func (m *Metrics) failingKeys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.failing))
}

// meteredToken measures what goes into the token.
type meteredToken struct {
	Token
	metrics *Metrics
}

// Classes of a failed operation of the token.
const (
	classUnavailable = "unavailable" // may go away by itself
	classPermanent   = "permanent"
	classCancelled   = "cancelled" // nobody waits for it any more
)

func (t meteredToken) Sign(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	start := time.Now()
	sig, err := t.Token.Sign(ctx, label, hash, digest)
	t.observe(ctx, label, start, err)
	return sig, err
}

func (t meteredToken) SignUnverified(ctx context.Context, label string, hash crypto.Hash, digest []byte) ([]byte, error) {
	start := time.Now()
	sig, err := t.Token.SignUnverified(ctx, label, hash, digest)
	t.observe(ctx, label, start, err)
	return sig, err
}

func (t meteredToken) observe(ctx context.Context, label string, start time.Time, err error) {
	if err == nil || ctx.Err() == nil { // one that was cut off says nothing
		t.metrics.tokenDid(label, err != nil)
	}
	switch {
	case err == nil:
		t.metrics.tokenSeconds.WithLabelValues(label).Observe(time.Since(start).Seconds())
	case ctx.Err() != nil:
		t.metrics.tokenErrors.WithLabelValues(label, classCancelled).Inc()
	case token.IsUnavailable(err):
		t.metrics.tokenErrors.WithLabelValues(label, classUnavailable).Inc()
	default:
		t.metrics.tokenErrors.WithLabelValues(label, classPermanent).Inc()
	}
}
