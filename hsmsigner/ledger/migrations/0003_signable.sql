-- What is signed of a file beside its digests, such as its text: the digests do not
-- say what it is, so each is bound to the first value that had its quorum, for ever
-- like the rest. What was signed before this table was made left no value behind:
-- there the first one that comes is bound.
CREATE TABLE commitment_signable (
	channel  TEXT NOT NULL,
	target   TEXT NOT NULL,
	artifact TEXT NOT NULL,
	name     TEXT NOT NULL,
	sha256   BLOB NOT NULL CHECK (length(sha256) = 32), -- of the value
	request  BLOB NOT NULL CHECK (length(request) = 32), -- that brought it
	at       TEXT NOT NULL,
	PRIMARY KEY (channel, target, artifact, name),
	FOREIGN KEY (channel, target, artifact) REFERENCES commitment (channel, target, artifact)
) STRICT;

CREATE TRIGGER commitment_signable_stays BEFORE UPDATE ON commitment_signable BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER commitment_signable_kept  BEFORE DELETE ON commitment_signable BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
