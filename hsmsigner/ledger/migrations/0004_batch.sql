-- A batch is one request with many signatures, which are answered in parts. Each
-- part is an answer by itself and is kept as it was published; its signatures are
-- in it, and have no rows of their own. A batch of which parts are missing is one
-- that was not finished: it goes on when it is asked for again.
CREATE TABLE batch (
	request        BLOB NOT NULL PRIMARY KEY CHECK (length(request) = 32),
	channel        TEXT NOT NULL,
	target         TEXT NOT NULL,
	stage          TEXT NOT NULL,
	artifact       TEXT NOT NULL,
	sha256         BLOB NOT NULL,
	sha512         BLOB NOT NULL,
	format         TEXT NOT NULL,
	key            TEXT NOT NULL,
	fingerprint    TEXT NOT NULL,
	signatures     INTEGER NOT NULL CHECK (signatures > 0), -- that were asked for
	parts          INTEGER NOT NULL CHECK (parts > 0),      -- that they are answered in
	-- Of the part that came first: a later one may be of another policy and evidence,
	-- and says so itself.
	policy_version INTEGER NOT NULL,
	policy_digest  BLOB NOT NULL CHECK (length(policy_digest) = 32),
	evidence       BLOB NOT NULL CHECK (length(evidence) = 32),
	at             TEXT NOT NULL,
	-- As for answers: not even a bug can store one for what is not committed.
	FOREIGN KEY (channel, target, artifact, sha256, sha512)
		REFERENCES commitment (channel, target, artifact, sha256, sha512)
) STRICT;

CREATE INDEX batch_at ON batch (at);

CREATE TABLE answer_part (
	request     BLOB NOT NULL REFERENCES batch (request),
	part        INTEGER NOT NULL CHECK (part >= 0),
	signatures  INTEGER NOT NULL CHECK (signatures > 0),
	body        BLOB NOT NULL,
	body_digest BLOB NOT NULL CHECK (length(body_digest) = 32),
	at          TEXT NOT NULL,
	PRIMARY KEY (request, part)
) STRICT;

-- Of the part that came first, too.
CREATE TABLE batch_statement (
	request   BLOB NOT NULL REFERENCES batch (request),
	statement BLOB NOT NULL CHECK (length(statement) = 32),
	PRIMARY KEY (request, statement)
) STRICT;

CREATE TRIGGER batch_stays           BEFORE UPDATE ON batch           BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER batch_kept            BEFORE DELETE ON batch           BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER answer_part_stays     BEFORE UPDATE ON answer_part     BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER answer_part_kept      BEFORE DELETE ON answer_part     BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER batch_statement_stays BEFORE UPDATE ON batch_statement BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER batch_statement_kept  BEFORE DELETE ON batch_statement BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
