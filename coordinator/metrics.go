package coordinator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"quorate/quorum"
)

// Results of taking in a message.
const (
	resultAccepted = "accepted"
	resultRejected = "rejected"
	resultRepeated = "repeated"
)

// metrics are this coordinator's own; label values come from fixed sets, apart
// from the codes, which are the program's, and the channels, which are the
// policy's.
type metrics struct {
	registry *prometheus.Registry

	messages   *prometheus.CounterVec
	rejected   *prometheus.CounterVec
	requests   prometheus.Counter
	retries    prometheus.Counter
	refusals   *prometheus.CounterVec
	signatures prometheus.Counter
	gaps       prometheus.Counter
	uploads    *prometheus.CounterVec
	commit     prometheus.Histogram
	hooks      *prometheus.CounterVec
	alarms     *prometheus.CounterVec
	badAlarms  *prometheus.CounterVec
}

func newMetrics(c *Coordinator) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(),
		messages:   counterVec("quorate_messages_total", "Messages of the record taken in, by result.", "result"),
		rejected:   counterVec("quorate_rejected_total", "Messages refused, by code.", "code"),
		requests:   counter("quorate_requests_total", "Sign requests published."),
		retries:    counter("quorate_request_retries_total", "Sign requests published that had been asked before."),
		refusals:   counterVec("quorate_refusals_total", "Refusals by signers, by code.", "code"),
		signatures: counter("quorate_signatures_total", "Signatures verified and recorded."),
		gaps:       counter("quorate_record_gap_messages_total", "Messages that the stream no longer had when they were to be read."),
		uploads:    counterVec("quorate_uploads_total", "Files that builders uploaded because they differ, by what became of them.", "result"),
		hooks:      counterVec("quorate_webhook_events_total", "Attempts to deliver events to webhooks, by result.", "webhook", "result"),
		alarms:     counterVec("quorate_alarms_total", "Alarms raised, by who raised them and code.", "from", "code"),
		badAlarms:  counterVec("quorate_alarms_refused_total", "Messages of signers that are no alarm, by code.", "code"),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorate_commit_seconds",
			Help: "Time to apply and commit one batch of messages.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
	}
	m.registry.MustRegister(m.messages, m.rejected, m.requests, m.retries, m.refusals, m.signatures, m.gaps, m.uploads, m.commit, m.hooks, m.alarms, m.badAlarms,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quorate_lag_messages", Help: "Messages of the record not taken in yet."},
			func() float64 { return float64(c.lag.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quorate_over_quota_senders", Help: "Builders and importers that have sent their bytes of the day."},
			func() float64 { return float64(len(c.quota.over(c.now()))) }),
		&artifactCollector{c}, &endsCollector{c}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func (m *metrics) applied(a *application, took time.Duration) {
	m.commit.Observe(took.Seconds())
	for result, n := range a.results {
		m.messages.WithLabelValues(result).Add(float64(n))
	}
	for code, n := range a.codes {
		m.rejected.WithLabelValues(string(code)).Add(float64(n))
	}
}

func (m *metrics) answered(a *quorum.Answer) {
	if a.Refusal != nil {
		m.refusals.WithLabelValues(refusalLabel(a.Refusal.Code)).Inc()
	}
	if a.IsBatch() {
		m.signatures.Add(float64(len(a.Signatures[0].Values)))
		return
	}
	m.signatures.Add(float64(len(a.Signatures)))
}

func (m *metrics) asked(attempts int) {
	m.requests.Inc()
	if attempts > 1 {
		m.retries.Inc()
	}
}

// refusalLabel keeps what a signer may write from becoming a label.
func refusalLabel(code quorum.RefusalCode) string {
	switch code {
	case quorum.RefuseBadRequest, quorum.RefuseTooLarge, quorum.RefusePolicyMismatch, quorum.RefusePolicyExpired,
		quorum.RefuseEvidence, quorum.RefuseQuorum, quorum.RefuseHeld, quorum.RefuseState, quorum.RefuseOtherDigest,
		quorum.RefuseUnknownKey, quorum.RefuseKeyNotUsable, quorum.RefuseFormat, quorum.RefuseToken, quorum.RefuseSignatureCheck,
		quorum.RefuseLedger:
		return string(code)
	}
	return "other"
}

var artifactsDesc = prometheus.NewDesc("quorate_artifacts", "Artifacts by channel and state.", []string{"channel", "state"}, nil)

// artifactCollector reads the counts when it is asked for them.
type artifactCollector struct{ c *Coordinator }

func (a *artifactCollector) Describe(ch chan<- *prometheus.Desc) { ch <- artifactsDesc }

func (a *artifactCollector) Collect(ch chan<- prometheus.Metric) {
	counts, err := a.c.db.StateCounts()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(artifactsDesc, err)
		return
	}
	for _, channel := range a.c.policy.Channels {
		for state, n := range everyState(counts[channel.Name]) {
			ch <- prometheus.MustNewConstMetric(artifactsDesc, prometheus.GaugeValue, float64(n), channel.Name, string(state))
		}
	}
}
