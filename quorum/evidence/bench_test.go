package evidence_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	pgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"quorate/quorum/evidence/guixsigs"
)

// BenchmarkGuixSigs reads and judges every list, key files included.
func BenchmarkGuixSigs(b *testing.B) {
	dir := dataDir(b, "guix.sigs")
	all := bundles(b, dir)
	b.ResetTimer()
	for b.Loop() {
		keys := loadKeys(b, filepath.Join(dir, "builder-keys"))
		for _, bundle := range all {
			if _, err := guixsigs.Read(bundle, keys.ring, judged); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(all)*b.N)/b.Elapsed().Seconds(), "signatures/s")
}

// BenchmarkGuixSigsGoCrypto is the yardstick: go-crypto's own verification of the
// same signatures, key files included, with its checks as they come.
func BenchmarkGuixSigsGoCrypto(b *testing.B) {
	dir := dataDir(b, "guix.sigs")
	all := bundles(b, dir)
	files, err := filepath.Glob(filepath.Join(dir, "builder-keys", "*.gpg"))
	if err != nil {
		b.Fatal(err)
	}
	config := &packet.Config{Time: func() time.Time { return judged }, RejectCurves: map[packet.Curve]bool{}}
	b.ResetTimer()
	for b.Loop() {
		var ring pgp.EntityList
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				b.Fatal(err)
			}
			el, err := pgp.ReadArmoredKeyRing(bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			ring = append(ring, el...)
		}
		for _, bundle := range all {
			// The answer is not asked for: it refuses what the test of verdicts counts.
			_, _, _ = pgp.VerifyArmoredDetachedSignature(ring, bytes.NewReader(bundle.Body), bytes.NewReader(bundle.Signature), config)
		}
	}
	b.ReportMetric(float64(len(all)*b.N)/b.Elapsed().Seconds(), "signatures/s")
}
