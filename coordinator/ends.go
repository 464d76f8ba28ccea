package coordinator

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/internal/ends"
)

// ends lists what ends by itself: the policy, the keys that it signs with, the keys
// of its builders that are in use, and the embedded server's certificate.
func (c *Coordinator) ends() []ends.End {
	all := []ends.End{{What: ends.Policy, At: c.policy.Expires}}
	for _, name := range policyKeys(c.policy) {
		if at, ok := c.key(name).Expires(); ok {
			all = append(all, ends.End{What: ends.Key, Name: name, At: at})
		}
	}
	for _, o := range c.policy.Operators {
		for _, b := range o.Builders {
			// One that has ended or was revoked may have been meant to: it is no news.
			k := b.Keys[0]
			if !k.NotAfter.IsZero() && k.Revoked.IsZero() && c.now().Before(k.NotAfter) {
				all = append(all, ends.End{What: ends.Builder, Name: b.Name, At: k.NotAfter})
			}
		}
	}
	if at, ok := c.busCertificateEnds(); ok {
		all = append(all, ends.End{What: ends.BusCertificate, At: at})
	}
	return all
}

// busCertificateEnds reads the file, which is replaced while the server runs; the
// reload complains of one that cannot be read.
func (c *Coordinator) busCertificateEnds() (at time.Time, ok bool) {
	n := c.config.NATS
	if n.URL != "" || n.TLSCert == "" {
		return at, false
	}
	data, err := os.ReadFile(c.path(n.TLSCert))
	if err != nil {
		return at, false
	}
	block, _ := pem.Decode(data) // the server's own comes first
	if block == nil {
		return at, false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return at, false
	}
	return cert.NotAfter, true
}

func (c *Coordinator) watchEnds(ctx context.Context) error {
	ends.Watch(ctx, c.log, c.ends, c.now)
	return ctx.Err()
}

var (
	endsDesc    = prometheus.NewDesc("quorate_expires_timestamp_seconds", "When something ends by itself, by kind and name.", []string{"what", "name"}, nil)
	versionDesc = prometheus.NewDesc("quorate_policy_version", "Version of the policy in force.", nil, nil)
)

// endsCollector reads the ends when it is asked for them. Names are the policy's.
type endsCollector struct{ c *Coordinator }

func (e *endsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- endsDesc
	ch <- versionDesc
}

func (e *endsCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, float64(e.c.policy.Version))
	for _, end := range e.c.ends() {
		ch <- prometheus.MustNewConstMetric(endsDesc, prometheus.GaugeValue, float64(end.At.Unix()), end.What, end.Name)
	}
}
