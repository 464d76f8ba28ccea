package hsmsigner

import "github.com/prometheus/client_golang/prometheus"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("quorate_signer_"+name, help, labels, nil)
}

// What is read when somebody asks for it.
var (
	descTokenUp       = desc("token_up", "1 if the token's process takes requests.")
	descLogins        = desc("token_logins_total", "Logins to the token: the generation of its sessions.")
	descRestarts      = desc("token_restarts_total", "Processes of the token that were started to replace one.")
	descDeadlines     = desc("token_deadlines_total", "Processes of the token that were killed for a signature that took too long.")
	descRetries       = desc("token_retries_total", "Operations of the token that were tried again.")
	descQueue         = desc("token_queue", "Operations that wait for the token.")
	descBusy          = desc("token_busy_workers", "Sessions of the token that sign.")
	descWorkers       = desc("token_workers", "Sessions of the token that can sign at the same time.")
	descPolicy        = desc("policy_version", "Version of the policy in force.")
	descExpiry        = desc("policy_expires_timestamp_seconds", "When the policy in force expires.")
	descCanary        = desc("canary_success_timestamp_seconds", "When the key signed its newest good canary; 0 if it never did.", "key")
	descKeyExpiry     = desc("key_expires_timestamp_seconds", "When the first of the key's certificates ends, or the OpenPGP one was revoked; 0 if for all time, absent if never.", "key")
	descCanaryFailure = desc("canary_failures_total", "Canaries that the key did not sign, or signed badly.", "key")
)

// healthCollector reads the states that somebody else counts.
type healthCollector struct{ *health }

func (c *healthCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descTokenUp, descLogins, descRestarts, descDeadlines, descRetries, descQueue, descBusy, descWorkers,
		descPolicy, descExpiry, descKeyExpiry, descCanary, descCanaryFailure} {
		ch <- d
	}
}

func (c *healthCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	now := c.working.Load()
	if now == nil {
		gauge(descTokenUp, 0)
		return
	}
	p, s := now.token.Process(), now.token.Stats()
	up := 0.0
	if p.Up {
		up = 1
	}
	gauge(descTokenUp, up)
	counter(descLogins, s.Generation)
	counter(descRestarts, p.Restarts)
	counter(descDeadlines, p.Deadlines)
	counter(descRetries, s.Retries)
	gauge(descQueue, float64(s.QueueDepth+now.signer.turns.depth()))
	gauge(descBusy, float64(s.Busy))
	gauge(descWorkers, float64(s.Workers))
	policy := now.signer.Policy()
	gauge(descPolicy, float64(policy.Version))
	gauge(descExpiry, float64(policy.Expires.Unix()))
	for label, k := range now.signer.keys() {
		if end, ok := k.ends(); ok {
			gauge(descKeyExpiry, float64(max(end.Unix(), 0)), label)
		}
		r := now.canaries.result(label)
		at := 0.0
		if !r.success.IsZero() {
			at = float64(r.success.UnixMilli()) / 1000
		}
		gauge(descCanary, at, label)
		counter(descCanaryFailure, r.failures, label)
	}
}
