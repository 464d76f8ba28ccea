package coordinator

import (
	"io/fs"
	"os"
	"slices"
)

// certFiles is what tells one version of the embedded bus's certificate and key from
// another: they are renewed in place.
type certFiles []fs.FileInfo

func (f certFiles) same(o certFiles) bool {
	return slices.EqualFunc(f, o, sameVersion)
}

// lookAtCertificate is taken before the files are read: what is replaced meanwhile is
// read once more.
func (c *Coordinator) lookAtCertificate() (seen certFiles) {
	n := c.config.NATS
	if n.TLSCert == "" {
		return nil
	}
	for _, path := range []string{c.path(n.TLSCert), c.path(n.TLSKey)} {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		seen = append(seen, info)
	}
	return seen
}
