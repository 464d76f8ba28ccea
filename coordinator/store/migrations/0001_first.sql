-- What the coordinator knows. Three kinds of tables, named in the comments:
--   record      the received bytes; never changed, never removed
--   projection  follows from record, policy and certificates; can be thrown away
--   own         what this coordinator did or promised; other coordinators differ
-- Times are nanoseconds since 1970 in UTC, digests are bytes.

-- own: the one row that says how far this database has come.
CREATE TABLE cursor (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    stream    INTEGER NOT NULL, -- creation time of the stream; 0: none seen yet
    recorded  INTEGER NOT NULL, -- last sequence in record
    projected INTEGER NOT NULL, -- last sequence whose effects are in the projection
    basis     BLOB    NOT NULL, -- digest of what admission and verification went by
    considered INTEGER NOT NULL, -- reading of the clock up to which revocations were applied
    epoch     TEXT    NOT NULL  -- of this database; part of event ids
) STRICT;

-- record: one row for each message of the stream. A repeated payload has no
-- bytes of its own: first is the sequence that has them.
CREATE TABLE record (
    seq      INTEGER PRIMARY KEY,
    subject  TEXT    NOT NULL,
    received INTEGER NOT NULL,
    sha256   BLOB UNIQUE, -- identity; NULL for repetitions and for messages on somebody else's subject
    first    INTEGER,
    raw      BLOB
) STRICT;

-- projection: admitted statements, clustered by case because a decision reads a
-- whole case. files holds the votes: see votes.go for the encoding.
CREATE TABLE statement (
    case_id  BLOB    NOT NULL,
    seq      INTEGER NOT NULL,
    id       BLOB    NOT NULL,
    payload  BLOB    NOT NULL, -- digest of what is in the envelope
    operator TEXT    NOT NULL,
    builder  TEXT    NOT NULL,
    received INTEGER NOT NULL,
    revoked  INTEGER, -- from when on the key is revoked
    started  INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    status   TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    files    BLOB    NOT NULL,
    PRIMARY KEY (case_id, seq)
) STRICT, WITHOUT ROWID;

-- projection: messages that can never be accepted. Their bytes are in record.
CREATE TABLE rejected (
    seq     INTEGER PRIMARY KEY,
    code    TEXT NOT NULL,
    message TEXT NOT NULL
) STRICT;

-- projection: cases whose verdicts are older than their statements. Written in
-- the transaction that makes them so: a crash before the decision loses nothing.
CREATE TABLE dirty (
    case_id BLOB PRIMARY KEY,
    channel TEXT NOT NULL,
    target  TEXT NOT NULL,
    stage   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- projection: cases with at least one admitted statement.
CREATE TABLE target_case (
    id      BLOB PRIMARY KEY,
    channel TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    stage   TEXT    NOT NULL,
    updated INTEGER NOT NULL,
    state   TEXT    NOT NULL,
    counts  TEXT    NOT NULL, -- JSON: verdicts by state
    UNIQUE (channel, target, stage)
) STRICT, WITHOUT ROWID;

-- projection: the verdicts.
CREATE TABLE artifact (
    case_id BLOB NOT NULL,
    name    TEXT NOT NULL,
    state   TEXT NOT NULL,
    until   INTEGER, -- the clock alone changes the verdict then
    verdict TEXT NOT NULL, -- JSON
    PRIMARY KEY (case_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_until ON artifact (until) WHERE until IS NOT NULL;

-- projection: which artifacts a digest was ever voted for.
CREATE TABLE vote_digest (
    sha256   BLOB NOT NULL,
    case_id  BLOB NOT NULL,
    artifact TEXT NOT NULL,
    PRIMARY KEY (sha256, case_id, artifact)
) STRICT, WITHOUT ROWID;

-- projection: verified signatures; the first one of each output.
CREATE TABLE signature (
    case_id     BLOB    NOT NULL,
    artifact    TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    sha256      BLOB    NOT NULL, -- of the signed file
    sha512      BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL,
    signed_at   INTEGER NOT NULL,
    request_id  BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    signature   BLOB    NOT NULL,
    PRIMARY KEY (case_id, artifact, format, key)
) STRICT, WITHOUT ROWID;

-- projection: the latest answer to each request.
CREATE TABLE answer (
    request_id BLOB PRIMARY KEY,
    seq        INTEGER NOT NULL,
    received   INTEGER NOT NULL,
    code       TEXT    NOT NULL, -- empty: signed
    message    TEXT    NOT NULL,
    retryable  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- own: what is to be asked of the signers, and what was.
CREATE TABLE request (
    case_id     BLOB    NOT NULL,
    artifact    TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    id          BLOB,             -- of the latest question; NULL: not asked yet
    sha256      BLOB    NOT NULL, -- digest that is to be signed
    evidence    BLOB    NOT NULL, -- digest of the votes that it would be asked with
    attempts    INTEGER NOT NULL,
    asked       INTEGER NOT NULL,
    asked_seq   INTEGER NOT NULL, -- position of the projection when it was asked
    handled_seq INTEGER NOT NULL, -- latest answer that was taken into account
    next        INTEGER,          -- when it is (again) to be asked; NULL: not by itself
    problem     TEXT    NOT NULL, -- why it could not even be asked
    PRIMARY KEY (case_id, artifact, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_next ON request (next) WHERE next IS NOT NULL;
CREATE INDEX request_id ON request (id) WHERE id IS NOT NULL;

-- own: alarms raised, so that none is raised twice and none is lost.
CREATE TABLE alarm (
    id        BLOB PRIMARY KEY,
    channel   TEXT    NOT NULL,
    body      BLOB    NOT NULL, -- the message as it is published
    published INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alarm_due ON alarm (id) WHERE published = 0;

-- own: the latest changes of verdicts, for readers that come back.
CREATE TABLE event (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
) STRICT;

-- own: every policy file this coordinator has run with.
CREATE TABLE policy (
    digest BLOB PRIMARY KEY,
    loaded INTEGER NOT NULL,
    raw    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
