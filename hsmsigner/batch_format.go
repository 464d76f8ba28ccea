package hsmsigner

import (
	"quorate/internal/sigcheck"
	"quorate/internal/sigformat"
	"quorate/internal/sigformat/imasig"
	"quorate/internal/sigformat/sshsig"
	"quorate/quorum/format"
	"quorate/quorum/policy"
	"quorate/quorum/statement"
)

// batchFunc prepares what makes the signatures of one batch with the key.
type batchFunc func(k Key) (valueFunc, error)

// valueFunc makes the signature over the file with the digest. It is called by many
// goroutines at once. With a key that does not verify what it answers, it does not
// either: the part that the signature becomes one of is verified.
type valueFunc func(k *sigformat.Key, digest statement.SHA256) ([]byte, error)

// batchFormats are the formats of which one output is many signatures, all those of
// [format.IsBatch]. [sigcheck.Key.VerifyValue] checks them.
var batchFormats = map[policy.Format]batchFunc{
	format.IMA:      makeIMA,
	format.SSHFiles: makeSSHFiles,
}

func makeIMA(k Key) (valueFunc, error) {
	id, err := imasig.KeyID(k.public, k.X509)
	return func(h *sigformat.Key, digest statement.SHA256) ([]byte, error) {
		return imasig.Make(h, id, digest)
	}, err
}

func makeSSHFiles(Key) (valueFunc, error) {
	return func(h *sigformat.Key, digest statement.SHA256) ([]byte, error) {
		return sshsig.MakeBlob(h, sigcheck.Namespace, digest)
	}, nil
}
