-- Digests are raw bytes, times are RFC 3339 in UTC. Nothing is ever changed or
-- removed: the triggers at the end hold our own mistakes off, not an attacker
-- who can write the file.

-- One digest for ever: the name of an artifact of a target belongs to the first
-- digest that had its quorum. The stage is not part of it: two stages of a file
-- with one name would be two digests.
CREATE TABLE commitment (
	channel  TEXT NOT NULL,
	target   TEXT NOT NULL,
	artifact TEXT NOT NULL,
	sha256   BLOB NOT NULL CHECK (length(sha256) = 32),
	sha512   BLOB NOT NULL CHECK (length(sha512) = 64),
	stage    TEXT NOT NULL, -- of the request that came first
	request  BLOB NOT NULL CHECK (length(request) = 32),
	at       TEXT NOT NULL,
	PRIMARY KEY (channel, target, artifact),
	UNIQUE (channel, target, artifact, sha256, sha512)
) STRICT;

-- One answer for each request, as it was published.
CREATE TABLE answer (
	request        BLOB NOT NULL PRIMARY KEY CHECK (length(request) = 32),
	channel        TEXT NOT NULL,
	target         TEXT NOT NULL,
	stage          TEXT NOT NULL,
	artifact       TEXT NOT NULL,
	sha256         BLOB NOT NULL,
	sha512         BLOB NOT NULL,
	policy_version INTEGER NOT NULL,
	policy_digest  BLOB NOT NULL CHECK (length(policy_digest) = 32),
	evidence       BLOB NOT NULL CHECK (length(evidence) = 32),
	body           BLOB NOT NULL,
	body_digest    BLOB NOT NULL CHECK (length(body_digest) = 32), -- SHA-256: a damaged file is noticed
	at             TEXT NOT NULL,
	-- So that not even a bug can store an answer about a digest that is not committed.
	FOREIGN KEY (channel, target, artifact, sha256, sha512)
		REFERENCES commitment (channel, target, artifact, sha256, sha512)
) STRICT;

CREATE INDEX answer_at ON answer (at);

CREATE TABLE signature (
	request     BLOB NOT NULL REFERENCES answer (request),
	format      TEXT NOT NULL,
	key         TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	bytes       BLOB NOT NULL,
	signed_at   TEXT NOT NULL,
	PRIMARY KEY (request, format, key)
) STRICT;

-- The statements that the signer saw, by their SHA-256. Their bytes are in the record.
CREATE TABLE statement (
	request   BLOB NOT NULL REFERENCES answer (request),
	statement BLOB NOT NULL CHECK (length(statement) = 32),
	PRIMARY KEY (request, statement)
) STRICT;

-- Every no. What stands in it came from whoever sent the request.
CREATE TABLE refusal (
	seq      INTEGER PRIMARY KEY,
	request  BLOB NOT NULL CHECK (length(request) = 32),
	channel  TEXT NOT NULL, -- empty: the request was too malformed to be answered
	target   TEXT NOT NULL,
	artifact TEXT NOT NULL,
	sha256   BLOB NOT NULL CHECK (length(sha256) = 32),
	code     TEXT NOT NULL,
	message  TEXT NOT NULL,
	at       TEXT NOT NULL
) STRICT;

CREATE TRIGGER commitment_stays BEFORE UPDATE ON commitment BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER commitment_kept  BEFORE DELETE ON commitment BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER answer_stays     BEFORE UPDATE ON answer     BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER answer_kept      BEFORE DELETE ON answer     BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER signature_stays  BEFORE UPDATE ON signature  BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER signature_kept   BEFORE DELETE ON signature  BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER statement_stays  BEFORE UPDATE ON statement  BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER statement_kept   BEFORE DELETE ON statement  BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER refusal_stays    BEFORE UPDATE ON refusal    BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER refusal_kept     BEFORE DELETE ON refusal    BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
