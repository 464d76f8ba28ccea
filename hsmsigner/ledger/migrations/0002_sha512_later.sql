-- A commitment whose sha512 is all zeros was made for formats that need no
-- SHA-512: nobody had agreed on one. When a format that does is signed later, the
-- SHA-512 is bound here, to one value for ever like the rest.
CREATE TABLE commitment_sha512 (
	channel  TEXT NOT NULL,
	target   TEXT NOT NULL,
	artifact TEXT NOT NULL,
	sha512   BLOB NOT NULL CHECK (length(sha512) = 64 AND sha512 <> zeroblob(64)),
	request  BLOB NOT NULL CHECK (length(request) = 32), -- that brought it
	at       TEXT NOT NULL,
	PRIMARY KEY (channel, target, artifact),
	FOREIGN KEY (channel, target, artifact) REFERENCES commitment (channel, target, artifact)
) STRICT;

CREATE TRIGGER commitment_sha512_stays BEFORE UPDATE ON commitment_sha512 BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER commitment_sha512_kept  BEFORE DELETE ON commitment_sha512 BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
